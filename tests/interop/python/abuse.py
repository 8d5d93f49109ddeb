"""Measures well-behaved sessions during attacks: python3 abuse.py POSTA [OUTPUT] [OPTION]...

A well-behaved sender of 100 KB messages and a reader that logs in with POP3 are timed without an attack and
during it, on loopback; PROXY headers give every connection the address of a stranger. A result is the median
of several rounds. Each round has a server of its own, since a server slows an attacker down from the first
encounter on, and is timed without the attack and from its first moment on.

In reality, a client runs on a machine of its own. Therefore the clients have one core, if there are several,
and the server has the others, with an attack and without it; on the clients' core, attackers run while the
well-behaved clients leave it idle. With --shared, all share all cores, as on a machine with one.

With OUTPUT, writes the table there, between the marks. The exit status is 1 if a limit does not hold.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peers
from attacks import ATTACKS, HOSTILE, POP3, SMTP, SUBMISSION, Hostile, Session

PASSWORD = "a password that is long"
RECEIVED_HEADER = b"From: friend@friend.test\r\nTo: ana@x.test\r\nSubject: 100 KB\r\n\r\n"
MESSAGE = RECEIVED_HEADER + b"".join(b"%070d\r\n" % line for line in range(1_389))

# The limits during an attack, as promised in docs/security.md.
SLOWER = 3
MEMORY = 128 * 1024 * 1024
PAGE = 4096
# The seconds for which an attack is refused before its stored octets are measured: the first refusals are recorded one
# by one, and a table's file has octets of its own however little it contains.
KEEP = 300
KEPT = 0.2

CONFIG = """
hostname = "mail.x.test"
data = "{data}"
[limits]
sessions-per-account = 0
submissions = 0
[proxy]
networks = ["127.0.0.0/8"]
[[listen]]
protocol = "smtp"
address = "127.0.0.1:{smtp}"
[[listen]]
protocol = "submission"
address = "127.0.0.1:{submission}"
tls = "starttls"
[[listen]]
protocol = "pop3"
address = "127.0.0.1:{pop3}"
"""


class Cores:
    """Who runs where."""

    def __init__(self, shared):
        every = sorted(os.sched_getaffinity(0))
        self.server = every if shared else every[:-1] or every
        # The clients inherit it, well-behaved or not.
        os.sched_setaffinity(0, every if shared else every[-1:])

    def serve(self):
        """Moves the server's process, before it begins, to where it belongs."""
        os.sched_setaffinity(0, self.server)


class Server:
    """Posta on a store of its own, with one account."""

    def __init__(self, program, work, descriptors, cores):
        self.cores = cores
        self.program, self.data = program, os.path.join(work, "data")
        self.config = os.path.join(work, "posta.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(data=self.data, smtp=SMTP, submission=SUBMISSION, pop3=POP3))
        self.command("account", "add", "ana@x.test", "--password-stdin")
        self.descriptors = descriptors
        self.start()

    def command(self, *arguments):
        ran = subprocess.run(
            [self.program, *arguments, "--config", self.config],
            input=PASSWORD.encode() + b"\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{arguments}: {ran.stdout.decode(errors='replace')}")

    def start(self):
        # prlimit ends nothing when it is missing: a server without the limit would make the attack idle.
        limit = ["prlimit", f"--nofile={self.descriptors}"] if self.descriptors else []
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*limit, self.program, "serve", "--config", self.config],
            stdout=self.said, stderr=subprocess.STDOUT, preexec_fn=self.cores.serve,
        )
        peers.wait_for(("127.0.0.1", POP3))

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def resident(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) * 1024

    def kept(self):
        """Octets on the disk, in pages that hold anything: the log has zeros ahead of its end."""
        total = 0
        for folder, _, files in os.walk(self.data):
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    while page := file.read(PAGE):
                        total += len(page) if page.strip(b"\0") else 0
        return total

    def warnings(self):
        self.said.seek(0)
        return sum(1 for _ in self.said)


# Well-behaved ------------------------------------------------------------------------------------------


def deliver(address):
    session = Session(SMTP, address)
    session.greet()
    session.expect(b"MAIL FROM:<friend@friend.test>", b"250")
    session.expect(b"RCPT TO:<ana@x.test>", b"250")
    session.expect(b"DATA", b"354")
    session.expect(MESSAGE + b".", b"250")
    session.expect(b"QUIT", b"221")
    session.close()


def log_in(address):
    session = Session(POP3, address)
    for command in (None, b"USER ana@x.test", b"PASS " + PASSWORD.encode(), b"STAT", b"QUIT"):
        if command:
            session.send(command + b"\r\n")
        line = session.line()
        if not line.startswith(b"+OK"):
            raise ConnectionError(f"{command!r}: {line!r}")
    session.close()


def behave(work, address, times, until):
    """Times `work` again and again; a failure counts as a wait without end."""
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            work(address)
            times.append((time.monotonic() - began) * 1000)
        except OSError as error:
            times.append(float("inf"))
            print(f"    {work.__name__}: {error}", file=sys.stderr)
            time.sleep(0.2)
        time.sleep(0.01)


def watch(seconds, pipe):
    """A sender and a reader, from networks of their own, for so long."""
    import threading

    until = time.monotonic() + seconds
    times = {"message": [], "login": []}
    threads = [
        threading.Thread(target=behave, args=(deliver, "198.51.100.7", times["message"], until)),
        threading.Thread(target=behave, args=(log_in, "192.0.2.9", times["login"], until)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send(times)


def run_attack(attack, sent):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    attack(sent)


def begin(attack):
    """Returns the process that attacks, and the counter of the octets that it sent."""
    sent = multiprocessing.Value("Q", 0, lock=False)
    process = multiprocessing.Process(target=run_attack, args=(attack, sent), daemon=True)
    process.start()
    return process, sent


def watched(server, seconds):
    """The times of the well-behaved, and the most that was resident meanwhile."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=watch, args=(seconds, theirs), daemon=True)
    process.start()
    resident = 0
    while not ours.poll(0.1):
        resident = max(resident, server.resident())
        if not process.is_alive() and not ours.poll(1):
            raise RuntimeError("the well-behaved sessions broke off")
    times = ours.recv()
    process.join()
    return times, resident


def p99(times):
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]


def measure(program, attack, descriptors, seconds, cores):
    """One round: the 99th percentiles without the attack and during it, and the additional memory."""
    work = tempfile.mkdtemp(prefix="posta-abuse-")
    server = Server(program, work, descriptors, cores)
    process = collecting = None
    try:
        watched(server, 1)
        before, memory_before = watched(server, seconds)
        process, sent = begin(attack)
        if isinstance(attack, Hostile):
            time.sleep(0.5)
            options = ["--server", f"127.0.0.1:{HOSTILE}", "--user", "ana", "--every", "1m", "--tls", "none"]
            server.command("collect", "add", "ana@x.test", *options, "--no-check", "--password-stdin")
            collecting = multiprocessing.Process(target=collect, args=(server,), daemon=True)
            collecting.start()
        during, memory = watched(server, seconds)
        return {
            "sent": sent.value,
            "message": [p99(before["message"]), p99(during["message"])],
            "login": [p99(before["login"]), p99(during["login"])],
            "counts": [len(times[what]) for times in (before, during) for what in ("message", "login")],
            "memory": max(0, memory - memory_before),
            "lines": server.warnings(),
        }
    finally:
        end(collecting)
        end(process)
        server.stop()
        shutil.rmtree(work, ignore_errors=True)


def summary(name, rounds):
    """The medians of a measurement's rounds; of memory, the most."""
    times = {
        what: [statistics.median(one[what][beside] for one in rounds) for beside in (0, 1)]
        for what in ("message", "login")
    }
    return {"name": name, **times, "memory": max(one["memory"] for one in rounds)}


def collect(server):
    """Has the server visit the hostile one again and again, whatever becomes of it."""
    while True:
        try:
            server.command("collect", "run", "1")
        except RuntimeError:
            time.sleep(0.1)


def keep(program, attack, seconds, cores):
    """Octets kept for each octet that the attack sends, once the server has written all that it will write."""
    work = tempfile.mkdtemp(prefix="posta-abuse-")
    server = Server(program, work, None, cores)
    process = None
    try:
        deliver("198.51.100.7")
        # A first start and stop write what any does, and the domain's keys are made soon after a start.
        for _ in range(2):
            time.sleep(5)
            server.stop()
            before = server.kept()
            server.start()
        process, sent = begin(attack)
        time.sleep(seconds)
        end(process)
        process = None
        server.stop()
        return (server.kept() - before) / max(1, sent.value), sent.value
    finally:
        end(process)
        if server.process.poll() is None:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)


def end(process):
    if process is not None:
        process.terminate()
        process.join()


def faults(result):
    """The limits that do not hold."""
    for what in ("message", "login"):
        without, beside = result[what]
        if beside > SLOWER * without:
            yield f"{what}: {beside:.2f} ms instead of {without:.2f}"
    if result["memory"] > MEMORY:
        yield f"memory: {result['memory'] >> 20} MiB more"
    if result.get("kept") is not None and result["kept"] > KEPT:
        yield f"disk: {result['kept']:.2f} octets stored for each that was sent"


def row(result):
    message, login = result["message"], result["login"]
    kept = "" if result.get("kept") is None else f"{result['kept']:.3f}"
    return (
        f"| {result['name']} | {message[0]:.1f} | {message[1]:.1f} | {login[0]:.1f} | {login[1]:.1f} "
        f"| {result['memory'] / (1 << 20):.0f} | {kept} |"
    )


HEAD = (
    "| attack | message, ms | during it | login, ms | during it | MiB more | octets stored per octet |\n"
    "|---|---|---|---|---|---|---|"
)


def arguments():
    parser = argparse.ArgumentParser(description="Measures well-behaved sessions during attacks.")
    parser.add_argument("program")
    parser.add_argument("output", nargs="?", help="the document whose table is written")
    parser.add_argument("--seconds", type=float, default=3, help="the duration of each half of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", help="attacks whose names contain this; writes no table")
    parser.add_argument("--shared", action="store_true", help="attackers share all cores; writes no table")
    parser.add_argument("--no-disk", action="store_true", help="without the stored octets; writes no table")
    return parser.parse_args()


def main():
    options = arguments()
    program, cores = os.path.abspath(options.program), Cores(options.shared)
    results, broken = [], 0
    chosen = [attack for attack in ATTACKS if any(part in attack[0] for part in options.only or [""])]
    for name, attack, _, descriptors in chosen:
        rounds = []
        for _ in range(options.rounds):
            rounds.append(measure(program, attack, descriptors, options.seconds, cores))
            print(json.dumps({"name": name, **rounds[-1]}), file=sys.stderr, flush=True)
        results.append(summary(name, rounds))
        print(row(results[-1]), flush=True)
    # Last, since nothing is timed here: the machine may do something else meanwhile.
    for result, (_, attack, refused, _) in zip(results, chosen):
        if refused and not options.no_disk:
            result["kept"], _ = keep(program, attack, KEEP, cores)
    rows = [HEAD, *map(row, results)]
    print("\n".join(rows))
    for result in results:
        for fault in faults(result):
            broken += 1
            print(f"FAILED: {result['name']}: {fault}")
    if options.output and not (options.only or options.shared or options.no_disk):
        rewrite(options.output, "\n".join(rows))
    sys.exit(1 if broken else 0)


def rewrite(path, table):
    """Puts the table between the marks."""
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split("<!-- measured -->\n", 1)
    after = rest.split("<!-- end -->", 1)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}<!-- measured -->\n{table}\n<!-- end -->{after}")


if __name__ == "__main__":
    main()
