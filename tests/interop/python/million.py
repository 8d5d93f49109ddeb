"""Measures what a mailbox of a million messages costs: python3 million.py POSTA [OUTPUT] [--messages N].

One account has the messages. Each step (logging in, fetching all, removing all, bringing them back, removing the
account, expiry, purging) runs while another account gets a message and logs in fifty times a second; what these wait
is the cost for others. Memory is the server's resident set: before the step, at its highest, and some time after its
end, a minute where that is what matters. Expiry and purging come days later: the server's clock is moved there.

With OUTPUT, writes the table there, between the marks `<!-- million -->` and `<!-- end of million -->`.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import peers
import serving

PASSWORD = b"a password that is long\n"
SMTP, POP3 = 2760, 2761
EVERY = 0.02
# The work that a step leaves for later is measured, too.
AFTER = 20
GIVEN_BACK = 60
QUICK = 2
# Expiry and purging begin within a minute after they are due.
SWEPT_EVERY = 60
DAY = 24 * 60 * 60
# The share of a core that the committing thread takes at least while it has more to do than the other account's mail.
BUSY = 0.2
# Seconds for which it must have less to do before its work counts as done: it waits while tables are being written.
IDLE = 4

CONFIG = """
hostname = "mail.x.test"
data = "{data}"
[pop3]
expire = 1
[limits]
sessions-per-client = 0
sessions-per-account = 0
[[listen]]
protocol = "smtp"
address = "127.0.0.1:{smtp}"
[[listen]]
protocol = "pop3"
address = "127.0.0.1:{pop3}"
"""


# A clock that can be moved: the seconds in a file are added to the time of day.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile long *later;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("POSTA_LATER"), O_RDONLY | O_CLOEXEC);
    void *seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    real = dlsym(RTLD_NEXT, "clock_gettime");
    if (seconds != MAP_FAILED) later = seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && later && clock == CLOCK_REALTIME) now->tv_sec += *later;
    return failed;
}
"""


class Server:
    """Posta on a store of its own, with two accounts, under a clock that can be moved."""

    def __init__(self, program, work):
        self.program, self.process = program, None
        source, self.clock, self.later = (os.path.join(work, name) for name in ("clock.c", "clock.so", "later"))
        with open(source, "w", encoding="ascii") as file:
            file.write(CLOCK)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", self.clock, source, "-ldl"], check=True)
        self.seconds = 0
        self.pass_time(0)
        self.config = os.path.join(work, "posta.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(data=os.path.join(work, "data"), smtp=SMTP, pop3=POP3))
        for name in ("ana", "bob"):
            self.command("account", "add", f"{name}@x.test", "--password-stdin")

    def command(self, *arguments):
        ran = subprocess.run(
            [self.program, *arguments, "--config", self.config],
            input=PASSWORD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{arguments}: {ran.stdout.decode(errors='replace')[-2000:]}")

    def bench(self, *arguments):
        ran = subprocess.run(
            [self.program, "bench", *arguments, "--patience", "600", "--json"],
            input=PASSWORD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200, check=False,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{arguments}: {ran.stdout.decode(errors='replace')[-2000:]}")
        return json.loads(ran.stdout)

    def pop3(self, mode, *more):
        """Returns how long the longest request took, in seconds, as the client saw it."""
        server = f"127.0.0.1:{POP3}"
        ran = self.bench("pop3", server, "--user", "ana@x.test", "--password-stdin", "--mode", mode, "--rounds", "1", *more)
        return ran["latency_ms"]["max"] / 1000

    def fill(self, count):
        options = ["--messages", str(count), "--sessions", "20", "--pipelining", "--per-connection", "10000", "--size", "1KiB"]
        self.bench("smtp", f"127.0.0.1:{SMTP}", "--to", "ana@x.test", *options)

    def start(self):
        environment = {**os.environ, "LD_PRELOAD": self.clock, "POSTA_LATER": self.later}
        self.process = serving.Serving(self.program, self.config, POP3, environment)
        # What checking a password takes is kept.
        login("bob")
        time.sleep(2)

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def pass_time(self, seconds):
        """Moves the server's clock."""
        self.seconds += seconds
        with open(self.later, "r+b" if os.path.exists(self.later) else "wb") as file:
            file.write(struct.pack("@l", self.seconds))

    def committing(self):
        """Returns the seconds for which the committing thread has computed."""
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/stat", encoding="ascii") as file:
                name, _, rest = file.read().rpartition(")")
            if name.endswith("(posta-commit"):
                return sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")
        raise RuntimeError("there is no committing thread")

    def share(self, seconds):
        """Returns for which share of so many seconds the committing thread computes."""
        before = self.committing()
        time.sleep(seconds)
        return (self.committing() - before) / seconds

    def housekeeping(self):
        """Waits until what is due now is done. Returns how long that took, in seconds."""
        started = time.monotonic()
        while self.share(IDLE) > BUSY:
            pass
        return time.monotonic() - IDLE - started

    def resident(self):
        """Returns the server's memory in MiB."""
        return self.process.resident() / 2**20


def login(name):
    """Logs in, asks for the number of messages, and quits."""
    with socket.create_connection(("127.0.0.1", POP3), timeout=120) as connection:
        with connection.makefile("rwb") as wire:
            wire.readline()
            for line in (f"USER {name}@x.test".encode(), b"PASS " + PASSWORD.strip(), b"STAT", b"QUIT"):
                wire.write(line + b"\r\n")
                wire.flush()
                answer = wire.readline()
                if not answer.startswith(b"+OK"):
                    raise RuntimeError(f"{line}: {answer}")


def repeat(work, stop, waits):
    """Does something again and again, and notes how long each took, in milliseconds."""
    while not stop.is_set():
        started = time.monotonic()
        work()
        waits.append((time.monotonic() - started) * 1000)
        time.sleep(max(0, EVERY - (time.monotonic() - started)))


def others(stop, result):
    """The other account's mail and logins, in a process of their own."""
    connection = smtplib.SMTP("127.0.0.1", SMTP, timeout=120)
    message = b"From: a@x.test\r\nSubject: one\r\n\r\n" + b"A line of some words.\r\n" * 40
    deliveries, logins = [], []
    sender = threading.Thread(
        target=repeat, args=(lambda: connection.sendmail("a@b.test", ["bob@x.test"], message), stop, deliveries)
    )
    reader = threading.Thread(target=repeat, args=(lambda: login("bob"), stop, logins))
    sender.start()
    reader.start()
    sender.join()
    reader.join()
    result.send((deliveries, logins))


def p99(waits):
    ordered = sorted(waits)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def step(server, what, work, window=GIVEN_BACK, days=0):
    """Measures one step beside the other account's sessions: a row of the table. The window is how many seconds after
    its end the memory is taken for the last time: few where nothing changes, and nothing is left to be done. With days,
    the server itself does the step once these have passed."""
    print(what, flush=True)
    before = highest = server.resident()
    if days:
        server.pass_time(days * DAY)
        late = time.monotonic() + 2 * SWEPT_EVERY
        while server.share(0.1) < BUSY:
            if time.monotonic() > late:
                raise RuntimeError(f"{what}: it does not begin")
    stop, (result, sends) = multiprocessing.Event(), multiprocessing.Pipe(duplex=False)
    beside = multiprocessing.Process(target=others, args=(stop, sends))
    beside.start()
    if not days:
        time.sleep(1)
    failed, told = [], []

    def worked():
        try:
            told.append(work())
        except RuntimeError as error:
            failed.append(error)

    working = threading.Thread(target=worked)
    started = time.monotonic()
    working.start()
    took, ended = None, None
    while ended is None or time.monotonic() < ended + min(window, AFTER):
        highest = max(highest, server.resident())
        if ended is None and not working.is_alive():
            ended = time.monotonic()
            took = ended - started
        time.sleep(EVERY)
    stop.set()
    deliveries, logins = result.recv()
    beside.join()
    if failed:
        raise failed[0]
    time.sleep(max(0, ended + window - time.monotonic()))
    took = max(0, told[0]) if told and told[0] is not None else took
    after = server.resident()
    row = [
        what, f"{took:.4f}" if took < 0.1 else f"{took:.2f}", f"{before:.0f}", f"+{highest - before:.0f}", f"{after - before:+.0f} ({window} s)",
        f"{p99(deliveries):.0f} ({max(deliveries):.0f})", f"{p99(logins):.0f} ({max(logins):.0f})",
    ]
    print("   ", " | ".join(row), flush=True)
    return row


def measure(server, count):
    server.start()
    started = time.monotonic()
    server.fill(count)
    print(f"filled in {time.monotonic() - started:.0f} s", flush=True)
    server.stop()
    server.start()
    yield step(server, "nothing (the other account alone)", lambda: None, QUICK)
    # With one check of the password, which takes 20 ms.
    yield step(server, "the first login, STAT, QUIT", lambda: server.pop3("login"), QUICK)
    yield step(server, "a later login, STAT, QUIT", lambda: server.pop3("login"), QUICK)
    yield step(server, "LIST", lambda: server.pop3("list"), QUICK)
    remove = lambda: server.pop3("dele", "--window", "64")
    undelete = lambda: server.command("account", "undelete", "ana@x.test")
    yield step(server, "DELE of all, QUIT", remove)
    yield step(server, "the login after that", lambda: server.pop3("login"), QUICK)
    yield step(server, "`posta account undelete`", undelete, AFTER)
    yield step(server, "`posta account remove`", lambda: server.command("account", "remove", "ana@x.test", "--yes"), AFTER)
    yield step(server, "`posta account undelete` of the account", undelete, AFTER)
    yield step(server, "RETR of all, QUIT", lambda: server.pop3("retr", "--window", "64") and None, QUICK)
    yield step(server, "expiry of all", server.housekeeping, days=2)
    # With the names that they had before they were brought back, three times as many records.
    yield step(server, "purging all", server.housekeeping, days=8)
    server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("output", nargs="?")
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    work = tempfile.mkdtemp(prefix="million-", dir=os.path.join(peers.ROOT, "target"))
    server, rows = None, []
    try:
        server = Server(os.path.abspath(options.program), work)
        rows = list(measure(server, options.messages))
    finally:
        if server:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)
    header = ["step", "seconds", "MiB before", "highest", "later", "delivery for others, p99 (highest), ms", "login of others, p99 (highest), ms"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    text = f"{options.messages:,} messages of 1 KiB in one mailbox, on {os.cpu_count()} cores that all share:\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.output:
        with open(options.output, encoding="utf-8") as file:
            before, _, rest = file.read().partition("<!-- million -->\n")
        after = rest.partition("<!-- end of million -->\n")[2]
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(f"{before}<!-- million -->\n{text}<!-- end of million -->\n{after}")


if __name__ == "__main__":
    sys.exit(main())
