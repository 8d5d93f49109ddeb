"""rspamd, opendkim and clamav-milter as filters: python3 filters.py POSTA

Each is Debian's own. GTUBE is refused by rspamd and EICAR by clamav-milter, in their words; opendkim's and
rspamd's fields arrive. Then each is killed in the middle of a message, with both settings of on-failure. ClamAV's
database is one signature, written here. Exits with 77 where this machine lets nobody make a root for them.
"""

import json
import os
import poplib
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time

import peers

PASSWORD = "parola"
SMTP, POP3 = 2825, 2810
# Where each filter listens, and where a proxy stands before it that can cut a conversation.
RSPAMD, OPENDKIM, CLAMAV, CLAMD = 2833, 2891, 2892, 2893
CUT = 2900
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
# In two halves, so that no scanner takes this file for the thing itself.
EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}" + "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def roots():
    peer = peers.Peer(["rspamd", "opendkim", "clamav-milter", "clamav-daemon"])
    peer.write(
        "/etc/rspamd/override.d/options.inc",
        'disable_hyperscan = true;\ndns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }\n'
        'local_addrs = ["198.51.100.0/24"];\n',
    )
    peer.write("/etc/rspamd/override.d/worker-normal.inc", f'bind_socket = "127.0.0.1:{RSPAMD}";\ncount = 1;\n')
    for worker in ("controller", "proxy", "fuzzy"):
        peer.write(f"/etc/rspamd/override.d/worker-{worker}.inc", "enabled = false;\n")
    peer.write("/etc/rspamd/override.d/milter_headers.conf", 'use = ["x-spamd-result"];\nskip_local = false;\n')
    peer.write(
        "/etc/opendkim.conf",
        f"Socket inet:{OPENDKIM}@127.0.0.1\nMode v\nSyslog no\nAlwaysAddARHeader yes\nAuthservID filter.test\n"
        "InternalHosts 198.51.100.1\nExternalIgnoreList 198.51.100.1\nNameservers 127.0.0.1\n",
    )
    signature = EICAR.encode().hex()
    peer.write("/var/lib/clamav/eicar.ndb", f"Posta.Eicar:0:*:{signature}\n")
    peer.write(
        "/etc/clamav/clamd.conf",
        f"TCPSocket {CLAMD}\nTCPAddr 127.0.0.1\nForeground true\nDatabaseDirectory /var/lib/clamav\nUser root\nScanMail true\n",
    )
    peer.write(
        "/etc/clamav/clamav-milter.conf",
        f"MilterSocket inet:{CLAMAV}@127.0.0.1\nClamdSocket tcp:127.0.0.1:{CLAMD}\nForeground true\nUser root\n"
        "OnInfected Reject\nRejectMsg Infected by %v\nAddHeader Add\nOnFail Defer\nMaxFileSize 50M\n",
    )
    return peer


class Filter:
    """A filter that runs in a peer's root and can be killed."""

    def __init__(self, peer, port, *command):
        self.peer, self.port, self.command = peer, port, command
        self.start()

    def start(self):
        self.peer.start(*self.command)
        self.server = self.peer.started[-1][0]

    def ready(self):
        try:
            peers.wait_for(("127.0.0.1", self.port), 60)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {self.peer.said()}") from error

    def kill(self):
        try:
            os.killpg(self.server.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.server.wait()


class Cutter:
    """Stands before a filter, and kills it once so many octets have gone there."""

    def __init__(self, port, target, octets):
        self.target, self.octets = target, octets
        self.has_cut = False
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target.port))
        threading.Thread(target=self.answers, args=(client, server), daemon=True).start()
        passed = 0
        try:
            while octets := client.recv(16384):
                passed += len(octets)
                if passed > self.octets and not self.has_cut:
                    self.has_cut = True
                    self.target.kill()
                server.sendall(octets)
        except OSError:
            pass
        client.close()

    @staticmethod
    def answers(client, server):
        try:
            while octets := server.recv(16384):
                client.sendall(octets)
        except OSError:
            pass
        # What the client sends now goes nowhere: it is to see that the filter is gone.
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


class Posta:
    """A server with these filters: kind, port, on-failure."""

    def __init__(self, program, filters):
        self.program = program
        self.directory = tempfile.mkdtemp(prefix="posta-filters-")
        self.config = os.path.join(self.directory, "posta.toml")
        tables = "".join(
            f'[[filters]]\nkind = "{kind}"\naddress = "127.0.0.1:{port}"\non-failure = "{on_failure}"\n'
            for kind, port, on_failure in filters
        )
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'hostname = "mx.x.test"\ndata = "{self.directory}/data"\n[dns]\nservers = ["127.0.0.1:9"]\n'
                f"[checks]\nenabled = false\n{tables}"
                f'[[listen]]\nprotocol = "smtp"\naddress = "127.0.0.1:{SMTP}"\n'
                f'[[listen]]\nprotocol = "pop3"\naddress = "127.0.0.1:{POP3}"\n'
            )
        add = [program, "account", "add", "ana@x.test", "--password-stdin", "--config", self.config]
        subprocess.run(add, input=PASSWORD.encode() + b"\n", check=True, stdout=subprocess.DEVNULL)
        self.server = subprocess.Popen([program, "serve", "--config", self.config])
        peers.wait_for(("127.0.0.1", SMTP))

    def send(self, subject, body):
        """Returns the reply to the end of the data."""
        with smtplib.SMTP("127.0.0.1", SMTP, "c.test", timeout=60) as client:
            client.ehlo("c.test")
            client.mail("s@y.test")
            client.rcpt("ana@x.test")
            fields = f"From: s@y.test\r\nTo: ana@x.test\r\nSubject: {subject}\r\nMessage-ID: <{subject}@y.test>\r\n"
            fields += "Date: Thu, 15 Jan 2004 17:38:50 +0000\r\n"
            code, text = client.data(f"{fields}\r\n{body}\r\n")
            return f"{code} {text.decode()}"

    def trace(self, named):
        ran = subprocess.run(
            [self.program, "trace", named, "--config", self.config], stdout=subprocess.PIPE, check=True
        )
        return ran.stdout.decode()

    def inbox(self):
        client = poplib.POP3("127.0.0.1", POP3)
        client.user("ana")
        client.pass_(PASSWORD)
        count = client.stat()[0]
        found = [b"\r\n".join(client.retr(number + 1)[1]).decode() for number in range(count)]
        client.quit()
        return found

    def stop(self):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def expect(what, found, *parts):
    for part in parts:
        assert part in found, f"{what}: {part!r} is not in {found!r}"


def judged(program, filters):
    """Each filter's verdict and fields, all three asked in turn."""
    kinds = [("rspamd", RSPAMD), ("milter", OPENDKIM), ("milter", CLAMAV)]
    posta = Posta(program, [(kind, port, "tempfail") for kind, port in kinds])
    try:
        expect("clean mail", posta.send("clean", "hello"), "250 2.0.0")
        (message,) = posta.inbox()
        expect("clean mail", message, "X-Spamd-Result:", "Authentication-Results: filter.test", "X-Virus-Status: Clean")
        story = posta.trace("s@y.test")
        expect("its story", story, "asked the filters", f"rspamd 127.0.0.1:{RSPAMD}: ", f"milter 127.0.0.1:{CLAMAV}: accepted")
        expect("GTUBE", posta.send("gtube", GTUBE), "554 5.7.1 Gtube pattern")
        expect("EICAR", posta.send("eicar", EICAR), "550 5.7.1", "Infected by Posta.Eicar")
        expect("their story", posta.trace("s@y.test"), "reject, score", "Infected by Posta.Eicar")
        assert len(posta.inbox()) == 1
        big = posta.send("large", "0123456789abcdef\r\n" * 150_000)
        expect("a large message", big, "250 2.0.0")
    finally:
        posta.stop()
    print("rspamd refuses spam, clamav-milter a virus; fields of all three arrive", flush=True)


def killed(program, filters):
    """Each filter is killed when it has half of a message."""
    body = "0123456789abcdef\r\n" * 120_000
    for number, (name, (kind, target)) in enumerate(filters.items()):
        for on_failure, reply in (("accept", "250 2.0.0"), ("tempfail", "451 4.7.1")):
            port = CUT + 2 * number + (on_failure == "accept")
            target.ready()
            # opendkim wants no body of a message without a signature: it is killed in the header section.
            cutter = Cutter(port, target, 600 if name == "opendkim" else 1_000_000)
            posta = Posta(program, [(kind, port, on_failure)])
            try:
                expect(f"{name}, killed, {on_failure}", posta.send("killed", body), reply)
                assert cutter.has_cut, f"{name} was not asked"
                arrived = posta.inbox()
                assert len(arrived) == (on_failure == "accept"), f"{name}, {on_failure}: {len(arrived)} arrived"
                expect(f"{name}'s story", posta.trace("s@y.test"), "failed: ")
            finally:
                posta.stop()
                cutter.close()
            target.start()
        print(f"{name}: killed in the middle of a message, with both settings", flush=True)


def main(program):
    began = time.monotonic()
    peer = roots()
    print(f"installed in {time.monotonic() - began:.0f} s", flush=True)
    clamd = Filter(peer, CLAMD, "clamd", "-c", "/etc/clamav/clamd.conf")
    clamd.ready()
    filters = {
        "rspamd": ("rspamd", Filter(peer, RSPAMD, "rspamd", "-f", "-i")),
        "opendkim": ("milter", Filter(peer, OPENDKIM, "opendkim", "-f", "-x", "/etc/opendkim.conf")),
        "clamav-milter": ("milter", Filter(peer, CLAMAV, "clamav-milter", "-c", "/etc/clamav/clamav-milter.conf")),
    }
    for _, target in filters.values():
        target.ready()
    judged(program, filters)
    killed(program, filters)


if __name__ == "__main__":
    if not peers.possible():
        print("no root of its own can be made for a filter here: overlay mounts are not allowed")
        sys.exit(77)
    main(sys.argv[1])
