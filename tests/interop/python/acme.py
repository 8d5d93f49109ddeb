"""Certificates by ACME, from Pebble: python3 acme.py POSTA

Pebble is Let's Encrypt's small authority for tests, as Debian packages it. Posta obtains certificates by both
challenges, renews one at the operator's wish and one by itself, keeps the key or takes a new one, and goes on where a
name fails. A front before Pebble says when to renew (RFC 9773), which the Pebble of Debian 13 does not.
Exits with 77 where this machine lets nobody make a root for it.
"""

import base64
import datetime
import hashlib
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

import peers
from serving import Serving

DIRECTORY, MANAGEMENT, HTTP, TLS, DNS, FRONT = 2941, 2942, 2943, 2944, 2945, 2950
# Where names lead. What is not here does not exist.
NAMES = {
    "localhost": "127.0.0.1",
    "mail.x.test": "127.0.0.1",
    "mta-sts.x.test": "127.0.0.1",
    "autoconfig.x.test": "127.0.0.9",
    "mta-sts.y.test": "127.0.0.1",
    "mta-sts.z.test": "127.0.0.1",
    "autoconfig.z.test": "127.0.0.1",
}
# The SHA-256 of the keys that TLSA records pin, by the name of the record.
PINNED = {}
# How long a certificate may take to be issued, in seconds.
PATIENCE = 60


def serve_names():
    """Answers questions for addresses (RFC 1035 §4.1) in a thread."""
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("127.0.0.1", DNS))

    def answer():
        while True:
            question, client = asked.recvfrom(4096)
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
                at += 1 + question[at]
            kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
            name = ".".join(labels)
            address = NAMES.get(name)
            exists = address or any(known.endswith("." + name) for known in (*NAMES, *PINNED)) or name in PINNED
            records = []
            if address and kind == 1:
                records = [b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04" + socket.inet_aton(address)]
            if kind == 52:
                # TLSA 3 1 1 (RFC 6698 §2.1), for no second: each change is seen at once.
                begin = b"\xc0\x0c\0\x34\0\x01\0\0\0\0\0\x23\x03\x01\x01"
                records = [begin + bytes.fromhex(key) for key in PINNED.get(name, [])]
            counts = struct.pack("!HHHHH", 0x8580 if exists else 0x8583, 1, len(records), 0, 0)
            asked.sendto(question[:2] + counts + question[12 : at + 5] + b"".join(records), client)

    threading.Thread(target=answer, daemon=True).start()


class Pebble:
    """The authority, with certificates that are valid for so many seconds."""

    def __init__(self, peer, place):
        self.peer, self.authority = peer, os.path.join(place, "authority.pem")
        make = "openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        peer.run("sh", "-c", f"mkdir -p /pebble && cd /pebble && {make} -keyout key.pem -out cert.pem 2>&1")
        shutil.copy(peer.path("/pebble/cert.pem"), self.authority)

    def start(self, validity):
        config = {
            "listenAddress": f"127.0.0.1:{DIRECTORY}",
            "managementListenAddress": f"127.0.0.1:{MANAGEMENT}",
            "certificate": "/pebble/cert.pem",
            "privateKey": "/pebble/key.pem",
            "httpPort": HTTP,
            "tlsPort": TLS,
            "certificateValidityPeriod": validity,
            # Newer versions of Pebble.
            "profiles": {"default": {"description": "as all", "validityPeriod": validity}},
            "domainBlocklist": ["mta-sts.z.test"],
        }
        self.peer.end()
        self.peer.write("/pebble/config.json", json.dumps({"pebble": config}))
        environment = ["env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0"]
        self.peer.start(*environment, "pebble", "-config", "/pebble/config.json", "-dnsserver", f"127.0.0.1:{DNS}")
        peers.wait_for(("127.0.0.1", DIRECTORY))
        peers.wait_for(("127.0.0.1", MANAGEMENT))

    def root(self):
        """Returns the authority's own certificate, which is another at each start."""
        ours = ssl.create_default_context(cafile=self.authority)
        with socket.create_connection(("127.0.0.1", MANAGEMENT)) as plain:
            with ours.wrap_socket(plain, server_hostname="localhost") as stream:
                stream.sendall(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = b"".join(iter(lambda: stream.recv(65536), b""))
        return answer.split(b"\r\n\r\n", 1)[1].decode()


class Front:
    """Stands before the authority, adds what it says of renewals, and remembers what each order replaces."""

    def __init__(self, pebble):
        self.replaced, self.due = [], set()
        ours = ssl.create_default_context(cafile=pebble.authority)
        front = self

        class Passing(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.startswith("/renewal/"):
                    return self.answer(200, {"Retry-After": "21600"}, front.window(self.path.split("/")[2]))
                authority = http.client.HTTPSConnection("localhost", DIRECTORY, context=ours)
                authority.request(self.command, self.path, body, dict(self.headers))
                answer = authority.getresponse()
                content = answer.read()
                if self.path == "/dir":
                    place = f"https://localhost:{FRONT}/renewal"
                    content = json.dumps({**json.loads(content), "renewalInfo": place}).encode()
                if self.path.startswith("/order-plz"):
                    payload = json.loads(base64.urlsafe_b64decode(json.loads(body)["payload"] + "=="))
                    front.replaced.append(payload.get("replaces"))
                    if "replaces" in payload and answer.status == 201:
                        # The order says what it replaces (RFC 9773 §5).
                        content = json.dumps({**json.loads(content), "replaces": payload["replaces"]}).encode()
                dropped = ("content-length", "transfer-encoding", "connection")
                kept = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
                return self.answer(answer.status, kept, content)

            def answer(self, status, headers, content):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

            do_GET = do_HEAD = do_POST = pass_on

        server = http.server.ThreadingHTTPServer(("127.0.0.1", FRONT), Passing)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.peer.path("/pebble/cert.pem"), pebble.peer.path("/pebble/key.pem"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.timezone.utc)
        self.later, self.past = (now + 7 * day, now + 8 * day), (now - 2 * day, now - day)

    def window(self, name):
        """Returns when the certificate of this name should be renewed (RFC 9773 §4.2)."""
        start, end = self.past if name in self.due else self.later
        form = "%Y-%m-%dT%H:%M:%SZ"
        window = {"start": start.strftime(form), "end": end.strftime(form)}
        return json.dumps({"suggestedWindow": window}).encode()


class Posta:
    """The server under test."""

    def __init__(self, program, place):
        self.program, self.place = program, place
        self.config = os.path.join(place, "posta.toml")

    def configure(self, http, https):
        listeners = [("https", https, "implicit"), ("pop3", 2946, "implicit"), ("smtp", 2948, "starttls")]
        listeners += [("http", http, "none")] if http else []
        text = (
            f'hostname = "mail.x.test"\ndata = "{self.place}/data"\n'
            f'[acme]\nenabled = true\ncontact = "ana@x.test"\ndirectory = "https://localhost:{FRONT}/dir"\n'
            f'[tls]\nauthorities = ["{self.place}/authority.pem"]\n[dns]\nservers = ["127.0.0.1:{DNS}"]\ndnssec = false\n'
        )
        for protocol, port, tls in listeners:
            text += f'[[listen]]\nprotocol = "{protocol}"\naddress = "127.0.0.1:{port}"\ntls = "{tls}"\n'
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        self.server = Serving(self.program, self.config, 2946)

    def stop(self):
        self.server.stop()

    def run(self, *arguments, text="", fails=False):
        """Runs a command. Returns what it printed and what it complained of."""
        ran = subprocess.run(
            [self.program, *arguments, "--config", self.config],
            input=text,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert (ran.returncode != 0) == fails, (arguments, ran.stdout, ran.stderr, self.server.log())
        return ran.stdout, ran.stderr

    def certificates(self):
        listed, _ = self.run("certificate", "list", "--json")
        return {line["name"]: line for line in json.loads(listed)}

    def wait(self, name, is_there=lambda line: line["state"] == "valid"):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            line = self.certificates().get(name)
            if line and is_there(line):
                return line
            time.sleep(0.5)
        raise AssertionError(f"{name}: {self.certificates()}\n{self.server.log()}")

    def shown(self, port, name, root=None):
        """Returns the certificate that a client is shown which asks for `name`, or for none. With a root, the chain
        and the name are checked."""
        context = ssl.create_default_context(cadata=root) if root and name else ssl._create_unverified_context()
        context.set_alpn_protocols(["http/1.1"])
        with socket.create_connection(("127.0.0.1", port)) as plain:
            with context.wrap_socket(plain, server_hostname=name) as stream:
                return stream.getpeercert(binary_form=True)


def serial_and_key(certificate):
    pem = ssl.DER_cert_to_PEM_cert(certificate)
    ask = lambda *what: subprocess.run(["openssl", *what], input=pem.encode(), capture_output=True, check=True).stdout
    key = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"],
        input=ask("x509", "-noout", "-pubkey"),
        capture_output=True,
        check=True,
    ).stdout
    return ask("x509", "-noout", "-serial").decode().strip(), hashlib.sha256(key).hexdigest()


def name_of(certificate):
    """Returns the name of a certificate in questions about its renewal (RFC 9773 §4.1)."""
    pem = ssl.DER_cert_to_PEM_cert(certificate).encode()
    show = ["openssl", "x509", "-noout", "-ext", "authorityKeyIdentifier", "-serial"]
    shown = subprocess.run(show, input=pem, capture_output=True, check=True).stdout.decode()
    key = next(line.strip() for line in shown.splitlines() if line.strip().count(":") > 10)
    serial = next(line.split("=")[1] for line in shown.splitlines() if line.startswith("serial="))
    serial = bytes.fromhex(serial)
    # The serial number is positive: DER puts a zero before a first octet of 128 or more.
    serial = b"\0" + serial if serial[0] >= 128 else serial
    key = bytes.fromhex(key.removeprefix("keyid:").replace(":", ""))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (key, serial))


def obtains_by_http(posta, pebble):
    posta.configure(http=HTTP, https=2947)
    added = subprocess.run(
        [posta.program, "account", "add", "ana@x.test", "--password-stdin", "--config", posta.config],
        input="parola",
        text=True,
        check=False,
    )
    assert added.returncode == 0
    posta.start()
    posta.wait("mail.x.test")
    line = posta.wait("mta-sts.x.test")
    assert line["days-left"] >= 29, line
    assert sorted(posta.certificates()) == ["mail.x.test", "mta-sts.x.test"], "the others do not lead here"
    root = pebble.root()
    for port in (2946, 2947):
        for name in ("mail.x.test", "mta-sts.x.test"):
            posta.shown(port, name, root)
    own = posta.shown(2946, "mail.x.test", root)
    assert posta.shown(2946, None) == own, "clients that name no host are shown the server's own"
    assert posta.shown(2946, "other.test") == own
    records, _ = posta.run("domain", "dns", "x.test")
    assert f"TLSA 3 1 1 {serial_and_key(own)[1]}" in records, records


def renews_at_once(posta):
    before = posta.shown(2946, "mail.x.test")
    said, _ = posta.run("certificate", "renew", "mail.x.test")
    assert "mail.x.test" in said and "valid" in said, said
    after = posta.shown(2946, "mail.x.test")
    (old, key), (new, same) = serial_and_key(before), serial_and_key(after)
    assert old != new and key == same, "another certificate of the same key"
    _, why = posta.run("certificate", "renew", "other.test", fails=True)
    assert "obtains no certificate for other.test" in why, why


def renews_when_the_authority_says(posta, front):
    """Far ahead of the end of the certificate, at a moment of the window that the authority suggests."""
    name = "mta-sts.x.test"

    def is_later(line):
        next_attempt = datetime.datetime.fromisoformat(line["next"])
        return front.later[0].replace(microsecond=0) <= next_attempt <= front.later[1]

    # A server asks as soon as it starts, and then now and then.
    posta.stop()
    posta.start()
    posta.wait(name, is_later)
    first = posta.shown(2946, name)
    posta.run("certificate", "renew", name)
    second = posta.shown(2946, name)
    assert front.replaced[-1] == name_of(first), (front.replaced, name_of(first))
    # Now the authority wants this one to be renewed at once, as before it revokes many.
    front.due.add(name_of(second))
    posta.stop()
    posta.start()
    deadline = time.monotonic() + PATIENCE
    while posta.shown(2946, name) in (first, second):
        assert time.monotonic() < deadline, posta.server.log()
        time.sleep(0.5)
    orders = len(front.replaced)
    assert front.replaced[-1] == name_of(second), (front.replaced, name_of(second))
    # Of the new one it wants nothing before next week.
    posta.stop()
    posta.start()
    posta.wait(name, is_later)
    assert len(front.replaced) == orders, front.replaced


def takes_new_keys(posta):
    """A certificate's, at once where no TLSA record pins the old one and else when there is one of the new; and the
    account's."""
    name, pin = "mta-sts.x.test", "_25._tcp.mta-sts.x.test"
    before = serial_and_key(posta.shown(2946, name))[1]
    PINNED[pin] = [before]
    _, why = posta.run("certificate", "renew", name, "--new-key", fails=True)
    assert f"{pin}. IN TLSA 3 1 1 " in why, why
    waiting = posta.certificates()[name]["next-key-sha256"]
    assert waiting in why and waiting != before, (waiting, why)
    assert serial_and_key(posta.shown(2946, name))[1] == before, "the old key stays until then"
    PINNED[pin] = [before, waiting]
    said, _ = posta.run("certificate", "renew", name, "--new-key")
    assert "The key is a new one" in said, said
    assert serial_and_key(posta.shown(2946, name))[1] == waiting
    assert "next-key-sha256" not in posta.certificates()[name]
    posta.run("certificate", "new-account-key")
    assert "the key of the account was replaced" in posta.server.log()
    # The authority takes the new key, and would refuse the old one.
    posta.run("certificate", "renew", "mail.x.test")
    _, why = posta.run("certificate", "renew", "--new-key", fails=True)
    assert "NAME" in why, why


def renews_by_itself(posta, pebble):
    """The authority has forgotten the account, too. What the front says of renewals is later than these certificates
    last, and is not waited for."""
    pebble.start(validity=30)
    posta.run("certificate", "renew", "mail.x.test")
    before = serial_and_key(posta.shown(2946, "mail.x.test"))
    deadline = time.monotonic() + PATIENCE
    while serial_and_key(posta.shown(2946, "mail.x.test"))[0] == before[0]:
        assert time.monotonic() < deadline, posta.server.log()
        time.sleep(1)
    assert serial_and_key(posta.shown(2946, "mail.x.test"))[1] == before[1]
    pebble.start(validity=30 * 24 * 3600)
    posta.wait("mail.x.test", lambda line: line["days-left"] >= 29)
    _, why = posta.run("certificate", "renew", "mail.x.test", fails=True)
    assert "is not asked about mail.x.test before" in why, why


def obtains_by_tls(posta, pebble):
    posta.stop()
    posta.configure(http=None, https=TLS)
    posta.start()
    root = pebble.root()
    # It was issued before, and is there from the first connection on.
    posta.shown(TLS, "mail.x.test", root)
    posta.run("domain", "add", "y.test")
    posta.wait("mta-sts.y.test")
    posta.shown(TLS, "mta-sts.y.test", root)


def goes_on_where_a_name_fails(posta):
    posta.run("domain", "add", "z.test")
    # The authority blocks the one; the other is issued all the same.
    posta.wait("autoconfig.z.test")
    line = posta.wait("mta-sts.z.test", lambda line: line["failures"] > 0)
    assert line["state"] == "missing" and "policy" in line["problem"].lower(), line
    _, why = posta.run("certificate", "renew", "mta-sts.z.test", fails=True)
    assert "mta-sts.z.test: the authority refuses" in why, why
    assert "no certificate was issued" in posta.server.log()


def is_not_asked_too_often(posta):
    """The server is moved to where the authority does not find it."""
    posta.stop()
    posta.configure(http=None, https=2949)
    posta.start()
    for _ in range(4):
        _, why = posta.run("certificate", "renew", "mta-sts.y.test", fails=True)
        assert "could not check the name" in why, why
    _, why = posta.run("certificate", "renew", "mta-sts.y.test", fails=True)
    assert "is not asked about mta-sts.y.test before" in why, why
    line = posta.certificates()["mta-sts.y.test"]
    assert line["state"] == "valid" and line["failures"] == 4, line


def main():
    if not peers.possible():
        print("no root of its own can be made for Pebble here: overlay mounts are not allowed")
        sys.exit(77)
    place = tempfile.mkdtemp(prefix="posta-acme-")
    serve_names()
    pebble = Pebble(peers.Peer(["pebble", "openssl"]), place)
    pebble.start(validity=30 * 24 * 3600)
    front, posta = Front(pebble), Posta(sys.argv[1], place)
    try:
        obtains_by_http(posta, pebble)
        renews_at_once(posta)
        renews_when_the_authority_says(posta, front)
        takes_new_keys(posta)
        renews_by_itself(posta, pebble)
        obtains_by_tls(posta, pebble)
        goes_on_where_a_name_fails(posta)
        is_not_asked_too_often(posta)
        posta.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("certificates by ACME: all well")


if __name__ == "__main__":
    main()
