"""Posta relays to Postfix, Exim and OpenSMTPD, and to servers that misbehave: python3 relays.py POSTA

With a real name server whose zone is signed. Each peer gets mail in TLS, in plaintext and protected by
DANE; Postfix and Exim deliver to Posta by DANE in return, with Unbound to prove what DNS says. What cannot be
proved, or is disproved, stays in the queue. Exits with 77 where this machine lets nobody make a root.
"""

import asyncio
import email.parser
import email.policy
import glob
import hashlib
import json
import os
import poplib
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import names
import peers

PASSWORD = "parola"
# Octets of a message that no socket's buffer holds.
LARGE = 16 * 2**20
PEERS = {"pf": "127.0.0.11", "ex": "127.0.0.12", "os": "127.0.0.13"}
OURS = "127.0.0.20"
WEB = "127.0.0.21"
BAD = {
    "grey": "127.0.0.30", "refuses": "127.0.0.31", "hang-greeting": "127.0.0.32", "hang-ehlo": "127.0.0.33",
    "hang-mail": "127.0.0.34", "hang-rcpt": "127.0.0.35", "hang-data": "127.0.0.36", "hang-end": "127.0.0.37",
    "mute": "127.0.0.38", "nonsense": "127.0.0.39", "endless": "127.0.0.40", "busy": "127.0.0.41", "no-tls": "127.0.0.42",
    "hang-content": "127.0.0.43",
}


def tlsa(certificate):
    """3 0 1: the server's own certificate, by its hash."""
    der = ssl.PEM_cert_to_DER_cert(certificate)
    return f"3 0 1 {hashlib.sha256(der).hexdigest()}"


def authority(directory):
    """One that Posta believes, and browsers do not."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", f"{directory}/ca.key",
         "-out", f"{directory}/ca.pem", "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE"],
        check=True, stderr=subprocess.DEVNULL,
    )


def certificate(directory, name, also=()):
    key, cert = os.path.join(directory, f"{name}.key"), os.path.join(directory, f"{name}.pem")
    names_ = ",".join(f"DNS:{other}" for other in (f"mx.{name}.test", *also))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
         "-keyout", key, "-out", cert, "-subj", f"/CN=mx.{name}.test", "-addext", f"subjectAltName={names_}",
         "-addext", "basicConstraints=critical,CA:FALSE", "-CA", f"{directory}/ca.pem", "-CAkey", f"{directory}/ca.key"],
        check=True, stderr=subprocess.DEVNULL,
    )
    with open(cert, encoding="ascii") as file:
        text = file.read()
    with open(key, encoding="ascii") as file:
        return text, file.read()


def zone(certificates, own):
    lines = [names.ZONE]
    for name, address in {**PEERS, **BAD, "xx": OURS}.items():
        lines.append(f"{name} MX 10 mx.{name}\nmx.{name} A {address}")
        lines.append(f"plain.{name} MX 10 mx.{name}")
        # The same server under a name for which nothing is said of its certificate.
        lines.append(f"any.{name} MX 10 any-mx.{name}\nany-mx.{name} A {address}")
    for name, text in {**certificates, "xx": own}.items():
        lines.append(f"_25._tcp.mx.{name} TLSA {tlsa(text)}")
    wrong = f"TLSA 3 0 1 {'ab' * 32}"
    lines.append(f"wrong MX 10 mx.wrong\nmx.wrong A {PEERS['pf']}\n_25._tcp.mx.wrong {wrong}")
    lines.append(f"forged MX 10 mx.forged\nmx.forged A {PEERS['pf']}")
    # One family of its addresses is forged, so that nobody asks for the certificate; and the answer to
    # who does is taken away.
    lines.append(f"half MX 10 mx.half\nmx.half A {PEERS['pf']}\nmx.half AAAA 2001:db8::1\n_25._tcp.mx.half {wrong}")
    lines.append(f"stripped MX 10 mx.stripped\nmx.stripped A {PEERS['pf']}\n_25._tcp.mx.stripped {wrong}")
    # Servers under other names: what is said of the certificate stands at what those stand for.
    lines.append("alias MX 10 mx.alias\nmx.alias CNAME mx.pf\nalias2 MX 10 mx.alias2\nmx.alias2 CNAME mx.wrong")
    # What the policy on the web says of them: good is named and has a certificate, liar is named, evil is not.
    for name in ("good", "liar", "evil"):
        lines.append(f"{name} MX 10 mx.{name}\nmx.{name} A {PEERS['pf']}\nmta-sts.{name} A {WEB}")
        lines.append(f'_mta-sts.{name} TXT "v=STSv1; id=1;"')
    # IPv6 leads nowhere there.
    lines.append(f"six MX 10 mx.six\nmx.six A {PEERS['pf']}\nmx.six AAAA ::ffff:192.0.2.1")
    return "\n".join(lines) + "\n"


def postfix(cert, key):
    peer = peers.Peer(["postfix"])
    os.makedirs(peer.path("/mail"))
    os.chown(peer.path("/mail"), 5000, 5000)
    peer.write("/etc/postfix/cert.pem", key + cert)
    peer.run("sh", "-c", "postfix set-permissions 2>/dev/null || true")
    domains = "pf.test, any.pf.test, plain.pf.test, wrong.test, forged.test, six.test, good.test, liar.test, evil.test, half.test, stripped.test, alias.test, alias2.test"
    peer.write(
        "/etc/postfix/main.cf",
        "compatibility_level = 3.6\nmyhostname = mx.pf.test\nmydestination =\nalias_maps =\n"
        # The address is in no list of interfaces, so only master.cf names it.
        "inet_interfaces = 127.0.0.1\nmaillog_file = /var/log/postfix.log\n"
        f"virtual_mailbox_domains = {domains}\nvirtual_mailbox_base = /mail\nvirtual_mailbox_maps = static:user/\n"
        "virtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\n"
        "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = /etc/postfix/cert.pem\n"
        "smtp_tls_security_level = dane\nsmtp_dns_support_level = dnssec\nsmtp_tls_loglevel = 1\n"
        f"smtp_bind_address = {PEERS['pf']}\nsmtp_host_lookup = dns\n",
    )
    master = peer.run("cat", "/etc/postfix/master.cf")
    master = master.replace("  y  ", "  n  ").replace("\nsmtp      inet", f"\n{PEERS['pf']}:25 inet", 1)
    peer.write("/etc/postfix/master.cf", master)
    peer.start("postfix", "start-fg")
    return peer, lambda: glob.glob(peer.path("/mail/user/new/*"))


def exim(cert, key):
    peer = peers.Peer(["exim4-daemon-light"])
    peer.write("/etc/exim4/cert.pem", cert + key, 0o640)
    shutil.chown(peer.path("/etc/exim4/cert.pem"), "root", None)
    os.chmod(peer.path("/etc/exim4/cert.pem"), 0o644)
    os.makedirs(peer.path("/mail"), exist_ok=True)
    os.chmod(peer.path("/mail"), 0o777)
    peer.write(
        "/etc/exim4/exim4.conf",
        f"primary_hostname = mx.ex.test\nkeep_environment =\nlocal_interfaces = {PEERS['ex']}\ndaemon_smtp_ports = 25\n"
        "tls_advertise_hosts = *\ntls_certificate = /etc/exim4/cert.pem\ntls_privatekey = /etc/exim4/cert.pem\n"
        "acl_smtp_rcpt = taken\nhost_lookup =\nrfc1413_query_timeout = 0s\nlog_file_path = /var/log/exim4/%slog\n"
        "dns_dnssec_ok = 1\nlog_selector = +tls_certificate_verified\n"
        "begin acl\ntaken:\n accept\n"
        "begin routers\naway:\n driver = dnslookup\n domains = xx.test\n transport = dane\n self = send\n"
        " dnssec_request_domains = *\n no_more\nhere:\n driver = accept\n transport = maildir\n"
        "begin transports\ndane:\n driver = smtp\n hosts_require_dane = *\n dnssec_request_domains = *\n"
        f" allow_localhost\n interface = {PEERS['ex']}\nmaildir:\n driver = appendfile\n directory = /mail\n maildir_format\n user = Debian-exim\n"
        " create_directory\nbegin retry\n* * F,2h,1m\n",
    )
    peer.run("sh", "-c", "mkdir -p /var/log/exim4; chmod 777 /var/log/exim4")
    peer.start("exim4", "-bdf", "-q1h")
    return peer, lambda: glob.glob(peer.path("/mail/new/*"))


def opensmtpd(cert, key):
    peer = peers.Peer(["opensmtpd"])
    # The one in Debian 12 fails every handshake as a server.
    libraries = ["libc6", "libssl3t64", "libevent-2.1-7t64", "libcrypt1", "libpam0g", "libaudit1", "zlib1g", "libzstd1"]
    peer.newer("trixie", ["opensmtpd", *libraries])
    peer.write("/etc/smtpd/cert.pem", cert)
    peer.write("/etc/smtpd/key.pem", key, 0o600)
    peer.run("useradd", "-m", "user")
    peer.write(
        "/etc/smtpd/in.conf",
        'pki mx.os.test cert "/etc/smtpd/cert.pem"\npki mx.os.test key "/etc/smtpd/key.pem"\n'
        f"listen on {PEERS['os']} port 25 tls pki mx.os.test hostname mx.os.test\n"
        'action "here" maildir "/home/user/Maildir"\n'
        'match from any for domain { "os.test" "any.os.test" "plain.os.test" } action "here"\n',
    )
    peer.start("smtpd", "-d", "-f", "/etc/smtpd/in.conf")
    return peer, lambda: glob.glob(peer.path("/home/user/Maildir/new/*"))


class Bad:
    """A server that misbehaves on its first connection, and is well after that."""

    def __init__(self, kind, address):
        self.kind, self.address, self.connections, self.messages, self.rcpts = kind, address, 0, [], 0

    async def serve(self):
        await asyncio.start_server(self.talk, self.address, 25, limit=LARGE * 2)

    async def talk(self, reader, writer):
        self.connections += 1
        try:
            await self.dialogue(reader, writer, self.kind if self.connections == 1 else "well")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    async def dialogue(self, reader, writer, kind):
        async def say(stage, text):
            if kind == f"hang-{stage}":
                await asyncio.sleep(3600)
            writer.write(text.encode() + b"\r\n")
            await writer.drain()

        if kind == "nonsense":
            return await say("", "SSH-2.0-OpenSSH_9.2")
        if kind == "endless":
            while True:
                await say("", "220-again")
                await asyncio.sleep(0.001)
        if kind == "busy":
            return await say("", "421 4.3.2 come again")
        await say("greeting", "220 bad.test")
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().upper()
            if line.startswith("EHLO"):
                await say("ehlo", "250-bad.test\r\n" + ("250-STARTTLS\r\n" if kind == "no-tls" else "") + "250 PIPELINING")
            elif line.startswith("STARTTLS"):
                # It offers TLS and fails at it, whoever comes.
                return await say("", "220 2.0.0 go on\r\nno handshake")
            elif line.startswith("MAIL"):
                await say("mail", "250 2.1.0 ok")
            elif line.startswith("RCPT"):
                self.rcpts += 1
                if self.kind == "grey" and self.rcpts == 1:
                    await say("rcpt", "451 4.7.1 Greylisted, try again")
                elif self.kind == "refuses":
                    await say("rcpt", "550-5.1.1 No such user\r\n550 5.1.1 here, ask your postmaster")
                else:
                    await say("rcpt", "250 2.1.5 ok")
            elif line.startswith("DATA"):
                if self.kind == "refuses" or (self.kind == "grey" and self.rcpts == 1):
                    await say("data", "503 5.5.1 no recipients")
                    continue
                await say("data", "354 go")
                if kind == "hang-content":
                    # It reads no further; the message does not fit into what is in between.
                    await asyncio.sleep(3600)
                content = await reader.readuntil(b"\r\n.\r\n")
                self.messages.append(content)
                if kind == "mute":
                    return None
                await say("end", "250 2.0.0 kept")
            elif line.startswith("QUIT"):
                return await say("quit", "221 bye")
            else:
                await say("", "250 2.0.0 ok")


def misbehaving():
    servers = {kind: Bad(kind, address) for kind, address in BAD.items()}

    async def all_of_them():
        for server in servers.values():
            await server.serve()
        await asyncio.sleep(3600)

    threading.Thread(target=lambda: asyncio.run(all_of_them()), daemon=True).start()
    return servers


class Posta:
    def __init__(self, program, directory, port, anchor):
        self.program, self.config = program, os.path.join(directory, "posta.toml")
        path = os.path.join(directory, "anchor")
        with open(path, "w", encoding="ascii") as file:
            file.write(anchor)
        plain = "".join(
            f'[[relay.domain]]\nname = "plain.{name}.test"\nsmarthost = "mx.{name}.test:25"\ntls = "none"\n' for name in PEERS
        )
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'hostname = "mx.xx.test"\ndata = "{directory}/data"\n'
                f'[tls]\ncertificate = "{directory}/xx.pem"\nkey = "{directory}/xx.key"\nauthorities = ["{directory}/ca.pem"]\n'
                f'[dns]\nservers = ["127.0.0.1:{port}"]\ntrust-anchor = "{path}"\n'
                f'[relay]\nprivate-addresses = "allow"\nnetworks = ["127.0.0.0/8"]\nretry = ["1s"]\ngive-up = "10m"\ntimeout = "3s"\nsource = ["127.0.0.1"]\n{plain}'
                '[[listen]]\nprotocol = "submission"\naddress = "127.0.0.1:2787"\n'
                f'[[listen]]\nprotocol = "smtp"\naddress = "{OURS}:25"\ntls = "starttls"\n'
                '[[listen]]\nprotocol = "pop3"\naddress = "127.0.0.1:2710"\n'
                f'[[listen]]\nprotocol = "https"\naddress = "{WEB}:443"\ntls = "implicit"\n'
                '[mta-sts]\nmx = ["mx.good.test", "mx.liar.test"]\n'
            )
        add = [program, "account", "add", "ana@xx.test", "--password-stdin", "--config", self.config]
        subprocess.run(add, input=PASSWORD.encode() + b"\n", check=True, stdout=subprocess.DEVNULL)
        self.server = subprocess.Popen([program, "serve", "--config", self.config])
        peers.wait_for(("127.0.0.1", 2787))

    def send(self, to, subject, text="text\r\n"):
        with smtplib.SMTP("127.0.0.1", 2787, timeout=30) as client:
            client.sendmail("ana@xx.test", [to], f"Subject: {subject}\r\nMessage-ID: <{subject}@xx.test>\r\n\r\n{text}")

    def ask(self, *command):
        ran = subprocess.run([self.program, *command, "--config", self.config], stdout=subprocess.PIPE, check=True)
        return ran.stdout.decode()

    def queue(self):
        return {line["destination"]: line for line in json.loads(self.ask("queue", "list", "--json"))}

    def attempts(self, subject):
        events = json.loads(self.ask("trace", f"<{subject}@xx.test>", "--json"))
        return [event for event in events if event["what"] == "attempted"]

    def inbox(self):
        client = poplib.POP3("127.0.0.1", 2710)
        client.user("ana")
        client.pass_(PASSWORD)
        count = client.stat()[0]
        found = [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
        client.quit()
        return found

    def stop(self):
        self.server.terminate()
        self.server.wait()


def until(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not so after {seconds} s: {what}")


def to_peers(posta, arrived):
    """Each peer takes mail in TLS, in plaintext, and protected by DANE."""
    for name, files in arrived.items():
        for way, domain in (("dane", f"{name}.test"), ("tls", f"any.{name}.test"), ("plain", f"plain.{name}.test")):
            subject, before = f"{way}-{name}", len(files())
            posta.send(f"user@{domain}", subject)
            try:
                until(f"{subject} arrives", lambda: len(files()) > before)
            except AssertionError as error:
                raise RuntimeError(f"{error}: {posta.ask('queue', 'show')}") from error
            attempt = until(f"{subject} is settled", lambda: posta.attempts(subject))[-1]
            assert attempt["host"] == ("any-mx" if way == "tls" else "mx") + f".{name}.test", attempt
            assert ("tls" in attempt) == (way != "plain"), attempt
            text = max((open(path, encoding="utf-8").read() for path in files()), key=lambda text: subject in text)
            assert subject in text and text.endswith("\ntext\n"), text
            print(f"{name}: {way}: {attempt.get('tls', 'plaintext')}", flush=True)


def unproved(posta, files):
    """What DNS disproves, or cannot prove, waits; and no word of it leaves."""
    before = len(files())
    disproved = {
        "wrong.test": "TLSA", "forged.test": "DNS", "half.test": "TLSA", "stripped.test": "cannot be looked up", "alias2.test": "TLSA",
        "liar.test": "certificate", "evil.test": "MTA-STS",
    }
    for domain in disproved:
        posta.send(f"user@{domain}", domain)
    # None of them goes before the policy is there.
    for number in range(5):
        posta.send("user@evil.test", f"evil-{number}")
    for domain, words in disproved.items():
        line = until(f"{domain} was tried", lambda: posta.queue().get(domain, {"attempts": 0})["attempts"] > 0 and posta.queue()[domain])
        reply = line["recipients"][0]["reply"]
        assert reply.startswith("451 4.") and words in reply, reply
        print(f"{domain}: {reply}", flush=True)
    assert len(files()) == before
    for name in ("good", "alias"):
        posta.send(f"user@{name}.test", name)
        until(f"{name} arrives", lambda: len(files()) > before)
        before = len(files())
    # A network whose IPv6 leads nowhere.
    started = time.monotonic()
    posta.send("user@six.test", "six")
    until("six arrives", lambda: len(files()) > before)
    print(f"six.test: in {time.monotonic() - started:.1f} s", flush=True)


def bad(posta, servers):
    for kind in BAD:
        lines = LARGE // 80 if kind == "hang-content" else 1
        posta.send(f"user@{kind}.test", kind, lines * ("x" * 78 + "\r\n"))
    for kind, server in servers.items():
        if kind == "refuses":
            continue
        expected = 2 if kind in ("mute", "hang-end") else 1
        try:
            until(f"{kind} has it", lambda: len(server.messages) >= expected, 40)
        except AssertionError as error:
            raise RuntimeError(f"{error}: {posta.ask('queue', 'show')}") from error
        until(f"{kind} is settled", lambda: f"{kind}.test" not in posta.queue())
        story = [attempt["recipients"][0]["reply"] for attempt in posta.attempts(kind)]
        # Who fails at TLS is talked to in plaintext at once, and who fails at EHLO with HELO: better than nothing.
        first = {"busy": ("4", "2"), "no-tls": "2", "hang-ehlo": "2"}.get(kind, "4")
        assert story[-1].startswith("250 ") and story[0].startswith(first), (kind, story)
        assert len(server.messages) == expected, (kind, len(server.messages), "sent again without need")
        print(f"{kind}: {story}", flush=True)
    report = until("the refusal is reported", lambda: [text for text in posta.inbox() if b"refuses.test" in text])[0]
    read = email.parser.BytesParser(policy=email.policy.default).parsebytes(report)
    assert read.get_content_type() == "multipart/report" and read.get_param("report-type") == "delivery-status"
    person, machine, returned = read.iter_parts()
    assert "550 5.1.1 No such user" in person.get_content() and "ask your postmaster" in person.get_content()
    status, recipient = machine.get_payload()
    assert status["Reporting-MTA"] == "dns; mx.xx.test", status
    assert recipient["Action"] == "failed" and recipient["Status"] == "5.1.1", recipient
    assert recipient["Final-Recipient"] == "rfc822;user@refuses.test" and recipient["Remote-MTA"] == "dns; mx.refuses.test"
    assert returned.get_content_type() == "message/rfc822" and "refuses@xx.test" in returned.as_string()
    # A mail program shows the same three parts; the one for programs it names, and has nothing to show it with.
    reader = peers.Peer(["s-nail"])
    reader.write("/mbox", "From MAILER-DAEMON Thu Jan 15 12:38:50 2004\n" + report.decode().replace("\r\n", "\n") + "\n")
    shown = reader.run("s-nail", "-n", "-R", "-f", "/mbox", text=b"type 1\nxit\n")
    words_shown = ("550 5.1.1 No such user", "ask your postmaster", "Content-Type: message/delivery-status")
    for words in (*words_shown, "Content-Type: message/rfc822", "Message-ID: <refuses@xx.test>"):
        assert words in shown, (words, shown)


def changed(posta, server):
    """A server that takes only ASCII gets that, and what is decoded is what was sent."""
    texts = "Bun\u0103 ziua \r\n= .\r\n.\r\n" + "\u0219i " * 200 + "\r\n", "<p>\u021bar\u0103</p>\r\n"
    wide = (
        "Subject: changed\r\nMessage-ID: <changed@xx.test>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/alternative; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        f"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{texts[0]}\r\n"
        f"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{texts[1]}\r\n--b--\r\n"
    )
    # Whether its sender says that it has more than ASCII, or not.
    for options in (["BODY=8BITMIME"], []):
        before = len(server.messages)
        with smtplib.SMTP("127.0.0.1", 2787, timeout=30) as client:
            client.sendmail("ana@xx.test", ["user@grey.test"], wide.encode(), mail_options=options)
        until("it arrives", lambda: len(server.messages) > before)
        content = server.messages[-1]
        assert content.isascii(), options
        content = content[:-5].replace(b"\r\n..", b"\r\n.") + b"\r\n"
        read = email.parser.BytesParser(policy=email.policy.default).parsebytes(content)
        for part, text in zip(read.iter_parts(), texts):
            assert part["Content-Transfer-Encoding"] == "quoted-printable", part
            assert part.get_payload(decode=True).decode() == text, (part, text)
    print("8 bits become 7, and 8 again", flush=True)


def by_dane(posta, running, directory, port, anchor):
    """Postfix and Exim deliver to us by DANE: Unbound, another's work, proves what our zone says."""
    unbound = peers.Peer(["unbound"])
    unbound.write("/etc/unbound/anchor", anchor)
    unbound.write(
        "/etc/unbound/own.conf",
        'server:\n interface: 127.0.0.53\n do-daemonize: no\n username: ""\n chroot: ""\n pidfile: ""\n use-syslog: no\n'
        " do-not-query-localhost: no\n trust-anchor-file: /etc/unbound/anchor\n local-zone: test. nodefault\n"
        f"stub-zone:\n name: test\n stub-addr: 127.0.0.1@{port}\n",
    )
    unbound.start("unbound", "-d", "-c", "/etc/unbound/own.conf")
    time.sleep(1)
    for name, command, log, proof in (
        ("pf", "sendmail", "/var/log/postfix.log", "Verified TLS connection established to mx.xx.test"),
        ("ex", "exim4", "/var/log/exim4/mainlog", "CV=dane"),
    ):
        peer = running[name][0]
        for place in ("/etc/resolv.conf", "/var/spool/postfix/etc/resolv.conf"):
            path = peer.path(place)
            subprocess.run(["umount", path], check=False, stderr=subprocess.DEVNULL)
            if os.path.lexists(path):
                os.unlink(path)
            peer.write(place, "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
        before = len(posta.inbox())
        peer.run(command, "-i", "-f", f"user@{name}.test", "ana@xx.test", text=f"Subject: from {name}\n\ntext\n".encode())
        told = lambda: open(peer.path(log), encoding="utf-8").read()
        try:
            until(f"{name} delivers", lambda: len(posta.inbox()) > before, 30)
        except AssertionError as error:
            raise RuntimeError(f"{error}: {told()} {unbound.said()}") from error
        until(f"{name} says how", lambda: proof in told(), 10)
        assert b"with ESMTPS" in posta.inbox()[-1]
        print(f"from {name}: by DANE", flush=True)


def refused(posta, running):
    """What we refuse for now they bring again; what we refuse for good they tell their senders of."""
    for name, command, log, again in (
        ("pf", "sendmail", "/var/log/postfix.log", ("postqueue", "-f")),
        ("ex", "exim4", "/var/log/exim4/mainlog", ("exim4", "-qff")),
    ):
        peer, files = running[name]
        told = lambda: open(peer.path(log), encoding="utf-8").read()
        send = lambda to: peer.run(command, "-i", "-f", f"user@{name}.test", to, text=b"Subject: refused\n\ntext\n")
        before = len(posta.inbox())
        # Just full: a message that could never fit is refused for good.
        full = sum(len(message) for message in posta.inbox())
        posta.ask("account", "quota", "ana@xx.test", f"{full}B")
        send("ana@xx.test")
        try:
            until(f"{name} hears that the mailbox is full", lambda: "452 4.2.2" in told())
        except AssertionError as error:
            raise RuntimeError(f"{error}: {told()}") from error
        assert len(posta.inbox()) == before
        posta.ask("account", "quota", "ana@xx.test", "none")

        def has_come():
            peer.run(*again)
            time.sleep(1)
            return len(posta.inbox()) > before

        until(f"{name} brings it again", has_come)
        before = len(files())
        send("nobody@xx.test")
        until(f"{name} tells its sender", lambda: len(files()) > before)
        report = max(files(), key=os.path.getmtime)
        with open(report, encoding="utf-8") as file:
            assert "550 5.1.1 No such user here" in file.read(), report
        print(f"from {name}: 452, then taken; 550, and reported", flush=True)


def main(program):
    directory = tempfile.mkdtemp(prefix="posta-relays-")
    authority(directory)
    also = {"pf": ["mx.good.test"], "xx": [f"mta-sts.{name}.test" for name in ("good", "liar", "evil")]}
    pairs = {name: certificate(directory, name, also.get(name, [])) for name in (*PEERS, "xx")}
    servers = misbehaving()
    server = names.Names(5399, zone({name: pairs[name][0] for name in PEERS}, pairs["xx"][0]), signed=True)
    server.forge(
        ("forged.test.", "mx.forged.test.", "mx.pf.test."), ("mx.half.test.", "2001:db8::1", "2001:db8::2"),
        ("_25._tcp.mx.stripped.test.", "TLSA", None),
    )
    running = {"pf": postfix(*pairs["pf"]), "ex": exim(*pairs["ex"]), "os": opensmtpd(*pairs["os"])}
    for name, address in PEERS.items():
        try:
            peers.wait_for((address, 25))
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {running[name][0].said()}") from error
    posta = Posta(program, directory, 5399, server.anchor)
    try:
        to_peers(posta, {name: files for name, (_, files) in running.items()})
        unproved(posta, running["pf"][1])
        bad(posta, servers)
        changed(posta, servers["grey"])
        by_dane(posta, running, directory, 5399, server.anchor)
        refused(posta, running)
    finally:
        posta.stop()
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    if not peers.possible():
        print("no root of its own can be made for another server here: overlay mounts are not allowed")
        sys.exit(77)
    main(sys.argv[1])
