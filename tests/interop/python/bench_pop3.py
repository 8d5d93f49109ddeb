"""Measures how mail is handed out, beside Dovecot: with Maildir and mdbox, as Debian installs it and tuned.

The same client, `posta bench pop3`, collects from each server in turn. Dovecot takes any password, so
that it spends nothing on checking it; Posta checks an argon2id hash once and remembers.
"""

import json
import os
import shutil
import statistics
import subprocess
import time

import peers
import serving

SIZES = (1_000, 10_000)
TUNED = (
    "auth_cache_size = 10M\nservice pop3-login {\n service_count = 0\n process_min_avail = 2\n}\n"
    "service pop3 {\n service_count = 10000\n process_min_avail = 20\n}\n"
)


class Posta:
    name = "Posta"

    def __init__(self, program, work):
        self.program, self.work, self.port = program, os.path.join(work, "pop3"), 2740
        self.config, self.server = os.path.join(work, "pop3.toml"), None
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'hostname = "mail.x.test"\ndata = "{self.work}"\n[limits]\nsessions-per-client = 0\nsessions-per-account = 0\n'
                f'[[listen]]\nprotocol = "smtp"\naddress = "127.0.0.1:{self.port + 1}"\n'
                f'[[listen]]\nprotocol = "pop3"\naddress = "127.0.0.1:{self.port}"\n'
                f'[[listen]]\nprotocol = "pop3"\naddress = "127.0.0.1:{self.port + 2}"\ntls = "implicit"\n'
            )

    def fill(self, count):
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)
        add = [self.program, "account", "add", "user@x.test", "--password-stdin", "--config", self.config]
        subprocess.run(add, input=b"parola\n", check=True, stdout=subprocess.DEVNULL)
        self.start()
        send = [self.program, "bench", "smtp", f"127.0.0.1:{self.port + 1}", "--to", "user@x.test", "--json"]
        send += ["--messages", str(count), "--sessions", "20", "--pipelining"]
        subprocess.run(send, check=True, stdout=subprocess.DEVNULL)

    def cool(self):
        """As after a start."""
        self.stop()
        self.start()

    def start(self):
        self.server = serving.Serving(self.program, self.config, self.port)

    def log(self):
        return self.server.log()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None


class Dovecot:
    def __init__(self, work, layout, tuned, port):
        self.name = f"Dovecot, {layout}{', tuned' if tuned else ''}"
        self.layout, self.port = layout, port
        self.peer = peers.Peer(["dovecot-core", "dovecot-pop3d"])
        self.mail = os.path.join(work, f"dovecot-{port}")
        os.makedirs(self.mail)
        os.chown(self.mail, 5000, 5000)
        self.peer.mount(self.mail, "/mail")
        self.peer.write(
            "/etc/dovecot/dovecot.conf",
            f"protocols = pop3\nlog_path = /var/log/dovecot.log\nmail_location = {layout.lower()}:/mail/box\n"
            "first_valid_uid = 1000\nssl = no\ndisable_plaintext_auth = no\nmail_max_userip_connections = 1000\n"
            "userdb {\n driver = static\n args = uid=5000 gid=5000 home=/mail/home\n}\n"
            "passdb {\n driver = static\n args = nopassword=y\n}\n"
            f"service pop3-login {{\n inet_listener pop3 {{\n  port = {port}\n }}\n inet_listener pop3s {{\n  port = 0\n }}\n}}\n"
            + (TUNED if tuned else ""),
        )
        self.peer.start("dovecot", "-F")
        peers.wait_for(("127.0.0.1", port))

    def fill(self, count):
        """Its own tool puts the messages in."""
        for name in os.listdir(self.mail):
            shutil.rmtree(os.path.join(self.mail, name))
        source = os.path.join(self.mail, "source")
        for folder in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(source, folder))
        line = "The quick brown fox jumps over the lazy dog, again and again.\n"
        text = "From: a@x.test\nTo: user@x.test\nSubject: bench\nMessage-ID: <%d@x.test>\n\n" + line * 63
        for number in range(count):
            with open(os.path.join(source, "new", f"{number}.bench"), "w", encoding="ascii") as file:
                file.write(text % number)
        self.peer.run("chown", "-R", "5000:5000", "/mail")
        self.peer.run("doveadm", "import", "-u", "user@x.test", "maildir:/mail/source", "", "all")
        shutil.rmtree(source)

    def cool(self):
        """Without its indexes, as after a restore; mdbox is nothing without them."""
        if self.layout == "Maildir":
            for name in os.listdir(os.path.join(self.mail, "box")):
                if name.startswith("dovecot"):
                    os.unlink(os.path.join(self.mail, "box", name))

    def log(self):
        return self.peer.said()

    def stop(self):
        self.peer.stop()


def collect(program, server, *more):
    command = [program, "bench", "pop3", f"127.0.0.1:{server.port}", "--user", "user@x.test", "--password-stdin", "--json"]
    ran = subprocess.run([*command, *more], input=b"parola\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{server.name}: {ran.stderr.decode()} {ran.stdout.decode()[:500]}\n{server.log()}")
    return json.loads(ran.stdout)


def idle(program, server, sessions, *more):
    """Octets resident for each session that has logged in and waits."""
    # Checking a password takes memory that the server keeps.
    collect(program, server, "--mode", "login", "--rounds", "2")
    before = highest = server.server.resident()
    port = server.port + (2 if more else 0)
    command = [program, "bench", "pop3", f"127.0.0.1:{port}", "--user", "user@x.test", "--password-stdin", "--mode", "idle"]
    running = subprocess.Popen(
        [*command, "--sessions", str(sessions), "--hold", "8", *more], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    running.stdin.write(b"parola\n")
    running.stdin.close()
    deadline = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < deadline:
        highest = max(highest, server.server.resident())
        time.sleep(0.2)
    if running.wait() != 0:
        raise RuntimeError("the idle sessions did not hold")
    return (highest - before) / sessions


def measure(program, server):
    """One round: what, its unit, and the figure."""
    for count in SIZES:
        server.fill(count)
        server.cool()
        cold = collect(program, server, "--mode", "login", "--rounds", "1")["latency_ms"]["max"]
        yield f"login on {count:,} messages, the first, ms", cold
        quick = server.name == Posta.name
        rounds = 1_000 if quick else 50
        warm = collect(program, server, "--mode", "login", "--rounds", str(rounds))
        yield f"login on {count:,} messages, later, ms", warm["latency_ms"]["p50"]
        if count == SIZES[0]:
            yield "login, STAT, QUIT, 1,000 messages, 1 client, a second", warm["per_second"]
            many = collect(program, server, "--mode", "login", "--sessions", "20", "--rounds", str(rounds // 5))
            yield "login, STAT, QUIT, 1,000 messages, 20 clients, a second", many["per_second"]
            # The first time reads from the disk and writes what the server keeps of it.
            collect(program, server, "--mode", "retr", "--rounds", "1")
            for window in (1, 64):
                retr = collect(program, server, "--mode", "retr", "--rounds", "5", "--window", str(window))
                yield f"RETR, {window} in flight, messages a second", retr["per_second"]
        dele = collect(program, server, "--mode", "dele", "--window", "64")["latency_ms"]["max"]
        yield f"DELE of {count:,} messages and QUIT, 64 in flight, ms", dele


def spread(figures):
    """The median, and from where to where they reach."""
    text = lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return f"{text(statistics.median(figures))} ({text(min(figures))} to {text(max(figures))})"


def run(program, work, rounds):
    """A table in Markdown."""
    results, servers = {}, []
    try:
        servers.append(Posta(program, work))
        port = 2750
        for layout in ("Maildir", "mdbox"):
            for tuned in (False, True):
                servers.append(Dovecot(work, layout, tuned, port))
                port += 10
        for round_ in range(rounds):
            for server in servers:
                print(f"round {round_ + 1} of {rounds}: POP3: {server.name}", flush=True)
                for what, figure in measure(program, server):
                    results.setdefault(what, {}).setdefault(server.name, []).append(figure)
        idles = []
        for how, more in (("plaintext", []), ("TLS", ["--tls"])):
            servers[0].fill(1)
            idles.append(f"{how} {idle(program, servers[0], 10_000, *more):,.0f}")
    finally:
        for server in servers:
            server.stop()
    names = [server.name for server in servers]
    lines = ["| POP3 | " + " | ".join(names) + " | Posta is × as fast |", "|" + "---|" * (len(names) + 2)]
    for what, found in results.items():
        medians = [statistics.median(found[name]) for name in names]
        less_is_better = what.endswith("ms")
        best = (min if less_is_better else max)(medians[1:])
        worst = (max if less_is_better else min)(medians[1:])
        ratios = [other / medians[0] if less_is_better else medians[0] / other for other in (best, worst)]
        cells = [spread(found[name]) for name in names]
        lines.append(f"| {what} | " + " | ".join(cells) + f" | {ratios[0]:.1f} to {ratios[1]:.1f} |")
    lines.append(f"\nOctets resident for each of 10,000 idle POP3 sessions that have logged in: {', '.join(idles)}.")
    return "\n".join(lines) + "\n"
