"""Measures Posta beside its peers: python3 bench.py POSTA OUTPUT [ROUNDS]

The same generator, `posta bench smtp`, sends to Posta, to smtp-sink (which keeps nothing), to Postfix
with Maildir and to Postfix with Dovecot's LMTP, in turn in one run. A message counts once it is in
the mailbox, so for Postfix the clock runs until the last one is there. Writes OUTPUT, in Markdown.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench_pop3
import peers
import serving

TICK = os.sysconf("SC_CLK_TCK")
MODES = {"one a connection": ["--per-connection", "1"], "many a connection": [], "pipelined": ["--pipelining"]}
SESSIONS = (10, 50)


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return [int(word) for word in file.read().rsplit(")", 1)[1].split()[11:15]]


class Posta:
    name, port, messages = "Posta", 2690, 20_000

    def __init__(self, program, work, more=""):
        self.program, self.config = program, os.path.join(work, "posta.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'hostname = "mail.x.test"\ndata = "{work}/data"\n'
                '[limits]\nsessions-per-client = 0\nmessage-size = "60MiB"\n'
                f'[[listen]]\nprotocol = "smtp"\naddress = "127.0.0.1:{self.port}"\ntls = "starttls"\n'
                f'[[listen]]\nprotocol = "submission"\naddress = "127.0.0.1:{self.port + 1}"\ntls = "implicit"\n'
                + more
            )
        add = [program, "account", "add", "user@x.test", "--password-stdin", "--config", self.config]
        subprocess.run(add, input=b"parola\n", check=True, stdout=subprocess.DEVNULL)
        self.server = serving.Serving(program, self.config, self.port)

    def cpu(self):
        return sum(ticks(self.server.pid)[:2]) / TICK

    def resident(self):
        return self.server.resident()

    def settle(self, _count):
        pass

    def log(self):
        return self.server.log()

    def stop(self):
        self.server.stop()


class Rooted:
    """A server in a root of its own; its CPU is that of every process in that root."""

    def cpu(self):
        total = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/root") == self.peer.root:
                    # Children that have ended count through their parents.
                    total += sum(ticks(pid))
            except OSError:
                continue
        return total / TICK

    def settle(self, _count):
        pass

    def log(self):
        return self.peer.said()

    def stop(self):
        self.peer.stop()


class Sink(Rooted):
    name, port, messages = "smtp-sink", 2700, 20_000

    def __init__(self, _work):
        self.peer = peers.Peer(["postfix"])
        self.peer.start("smtp-sink", "-u", "nobody", f"127.0.0.1:{self.port}", "4096")
        peers.wait_for(("127.0.0.1", self.port))


class Postfix(Rooted):
    name, port, messages = "Postfix, Maildir", 2710, 1_500
    packages = ["postfix"]
    transport = "virtual_mailbox_base = /mail\nvirtual_mailbox_maps = static:user/\nvirtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\n"

    def __init__(self, work):
        self.peer = peers.Peer(self.packages)
        # What must last is on the machine's own disk, as Posta's store is.
        self.mail = os.path.join(work, f"mail-{self.port}")
        spool = os.path.join(work, f"spool-{self.port}")
        os.makedirs(self.mail)
        os.chown(self.mail, 5000, 5000)
        shutil.copytree(self.peer.path("/var/spool/postfix"), spool)
        self.peer.mount(spool, "/var/spool/postfix")
        self.peer.mount(self.mail, "/mail")
        self.peer.run("sh", "-c", "postfix set-permissions 2>/dev/null || true")
        self.peer.write(
            "/etc/postfix/main.cf",
            "compatibility_level = 3.6\nmyhostname = mail.x.test\nmydestination =\nalias_maps =\n"
            # It logs to syslog, which nobody reads here: that costs it least.
            "inet_interfaces = 127.0.0.1\n"
            "virtual_mailbox_domains = x.test\n" + self.transport +
            # The generator is one client.
            "smtpd_client_connection_count_limit = 0\nmessage_size_limit = 60000000\nmailbox_size_limit = 0\n"
            "virtual_mailbox_limit = 0\nsmtpd_peername_lookup = no\n",
        )
        master = self.peer.run("cat", "/etc/postfix/master.cf").splitlines()
        master = [line.replace("smtp      inet", f"{self.port} inet", 1) if line.startswith("smtp      inet") else line for line in master]
        self.peer.write("/etc/postfix/master.cf", "\n".join(master).replace("  y  ", "  n  ") + "\n")
        self.prepare()
        self.peer.start("postfix", "start-fg")
        peers.wait_for(("127.0.0.1", self.port))

    def prepare(self):
        pass

    def arrived(self):
        count = 0
        for folder, _, files in os.walk(self.mail):
            if os.path.basename(folder) == "new":
                count += len(files)
        return count

    def settle(self, count):
        deadline = time.monotonic() + 300
        while self.arrived() < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {self.arrived()} of {count} arrived\n{self.peer.said()}")
            time.sleep(0.02)
        for folder, _, files in os.walk(self.mail):
            for name in files:
                os.unlink(os.path.join(folder, name))


class PostfixDovecot(Postfix):
    name, port, messages = "Postfix, Dovecot LMTP", 2720, 800
    packages = ["postfix", "dovecot-core", "dovecot-lmtpd"]
    transport = "virtual_mailbox_maps = static:ok\nvirtual_transport = lmtp:unix:/run/dovecot/lmtp\n"

    def prepare(self):
        self.peer.write(
            "/etc/dovecot/dovecot.conf",
            "protocols = lmtp\nlog_path = /var/log/dovecot.log\nmail_location = maildir:/mail/%u\n"
            "first_valid_uid = 1000\nssl = no\n"
            "userdb {\n driver = static\n args = uid=5000 gid=5000 home=/mail/%u\n}\n"
            "passdb {\n driver = static\n args = nopassword=y\n}\n"
            "service lmtp {\n unix_listener lmtp {\n  mode = 0666\n }\n}\n",
        )
        self.peer.start("dovecot", "-F")
        time.sleep(1)


def generate(program, server, count, *more, to="user@x.test"):
    command = [program, "bench", "smtp", f"127.0.0.1:{server.port}", "--to", to, "--json"]
    command += ["--messages", str(count), *more]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{server.name}: {ran.stderr.decode()} {ran.stdout.decode()[:500]}\n{server.log()}")
    return json.loads(ran.stdout)


def measure(program, server, count, *more):
    """Messages a second into the mailbox, CPU microseconds a message, the 99th percentile of the 250 in ms."""
    cpu, started = server.cpu(), time.monotonic()
    said = generate(program, server, count, *more)
    server.settle(count)
    # The generator's own start and end do not count where nothing has to be waited for.
    elapsed = time.monotonic() - started if isinstance(server, Postfix) else said["seconds"]
    return count / elapsed, (server.cpu() - cpu) / count * 1e6, said["latency_ms"]["p99"]


def disk(work, size=4096, group=50):
    """What a bare append-only file does: groups of messages, a sync for each."""
    path, block = os.path.join(work, "bare"), b"x" * size
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    started, groups = time.monotonic(), 0
    while time.monotonic() - started < 3:
        os.write(handle, block * group)
        os.fdatasync(handle)
        groups += 1
    elapsed = time.monotonic() - started
    os.close(handle)
    os.unlink(path)
    return groups * group / elapsed


def idle(program, server, sessions, *more):
    before = server.resident()
    port = server.port + (1 if more else 0)
    command = [program, "bench", "smtp", f"127.0.0.1:{port}", "--to", "user@x.test", "--idle", "8"]
    running = subprocess.Popen([*command, "--sessions", str(sessions), *more], stdout=subprocess.DEVNULL)
    highest, deadline = before, time.monotonic() + 60
    while running.poll() is None and time.monotonic() < deadline:
        highest = max(highest, server.resident())
        time.sleep(0.2)
    if running.wait() != 0:
        raise RuntimeError("the idle sessions did not hold")
    return (highest - before) / sessions


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def machine():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores ({model}), Linux {os.uname().release.split('-')[0]}"


def write(output, name, text):
    """Writes what was measured into a document, between two marks with a name."""
    with open(output, encoding="utf-8") as file:
        before, _, rest = file.read().partition(f"<!-- {name} -->\n")
    _, _, after = rest.partition(f"<!-- end of {name} -->\n")
    with open(output, "w", encoding="utf-8") as file:
        file.write(f"{before}<!-- {name} -->\n{text}<!-- end of {name} -->\n{after}")


def report(results, bare, idles, rounds):
    rows = []
    for (what, name), found in results.items():
        rates, cpus, latencies = zip(*found)
        ours = statistics.median(rate for rate, _, _ in results[what, Posta.name])
        rate = statistics.median(rates)
        rows.append([
            what, name, number(rate), f"{number(min(rates))} to {number(max(rates))}",
            number(statistics.median(cpus)), number(statistics.median(latencies)), f"{ours / rate:.2f}",
        ])
    header = ["4 KiB unless said", "server", "messages/s", "range", "CPU a message, µs", "p99 of the 250, ms", "Posta is × as fast"]
    return (
        f"Machine: {machine()}. The generator and the server share\n"
        f"the cores. Every acknowledged message is synced; Postfix and Dovecot run with Debian's settings, without a limit on\n"
        f"connections. Medians of {rounds} rounds, in each of which every server has its turn.\n\n"
        + table(header, rows)
        + f"\n\nA bare append-only file, 50 messages of 4 KiB to a sync, takes {number(bare)} messages/s on this disk.\n\n"
        + table(["idle sessions", "octets resident each"], idles) + "\n"
    )


def main(program, output, rounds=3):
    # It builds on this module.
    import bench_relay

    work = tempfile.mkdtemp(prefix="bench-", dir=os.path.join(peers.ROOT, "target"))
    results, servers = {}, []
    try:
        servers = [Posta(program, work), Sink(work), Postfix(work), PostfixDovecot(work)]
        for round_ in range(rounds):
            for sessions in SESSIONS:
                for mode, options in MODES.items():
                    for server in servers:
                        what = f"{sessions} sessions, {mode}"
                        print(f"round {round_ + 1} of {rounds}: {what}: {server.name}", flush=True)
                        found = measure(program, server, server.messages, "--sessions", str(sessions), *options)
                        results.setdefault((what, server.name), []).append(found)
            for server in servers[:3]:
                count = 600 if server.messages > 10_000 else 150
                print(f"round {round_ + 1} of {rounds}: 1 MiB: {server.name}", flush=True)
                found = measure(program, server, count, "--sessions", "10", "--size", "1MiB")
                results.setdefault(("1 MiB, 10 sessions", server.name), []).append(found)
        idles = []
        for name, more in (("plaintext", []), ("TLS", ["--tls"])):
            servers[0].stop()
            shutil.rmtree(os.path.join(work, "data"))
            servers[0] = Posta(program, work)
            idles.append([f"{name}, 10,000", number(idle(program, servers[0], 10_000, *more))])
        text = report(results, disk(work), idles, rounds)
        for server in servers:
            server.stop()
        servers = []
        text += "\n" + bench_pop3.run(program, work, rounds)
        text += "\n" + bench_relay.run(program, work, rounds)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)
    with open(output, encoding="utf-8") as file:
        before, _, rest = file.read().partition("<!-- measured -->\n")
        _, _, after = rest.partition("<!-- end -->\n")
    with open(output, "w", encoding="utf-8") as file:
        file.write(f"{before}<!-- measured -->\n{text}<!-- end -->\n{after}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *[int(word) for word in sys.argv[3:]])
