"""Measures backups: python3 backup.py POSTA [OUTPUT] [--messages N].

One account has the messages. Another gets a message fifty times a second throughout; what its sender waits for the reply
to the end of the data is the cost for others. A backup of everything, another after a thousand messages more, reading it
back, checking the store, and restoring everything into an empty directory.

With OUTPUT, writes the table there, between the marks `<!-- backup -->` and `<!-- end of backup -->`.
"""

import argparse
import base64
import json
import os
import shutil
import smtplib
import subprocess
import tempfile
import threading
import time

import serving

PASSWORD = b"a password that is long\n"
SMTP, POP3 = 2762, 2763
EVERY = 0.02
MORE = 1000

CONFIG = """
hostname = "mail.x.test"
data = "{data}"
[limits]
sessions-per-client = 0
[[listen]]
protocol = "smtp"
address = "127.0.0.1:{smtp}"
[[listen]]
protocol = "pop3"
address = "127.0.0.1:{pop3}"
"""


class Others:
    """Delivers a message again and again, and notes what each took, in milliseconds."""

    def __init__(self):
        self.stop, self.waits = threading.Event(), []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with smtplib.SMTP("127.0.0.1", SMTP, timeout=60) as session:
            session.ehlo()
            while not self.stop.is_set():
                session.mail("s@y.test")
                session.rcpt("bob@x.test")
                started = time.monotonic()
                code, reply = session.data(b"Subject: x\r\n\r\n" + b"x" * 1000 + b"\r\n")
                if code != 250:
                    raise RuntimeError(reply)
                self.waits.append((time.monotonic() - started) * 1000)
                time.sleep(max(0, EVERY - (time.monotonic() - started)))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        if not self.waits:
            raise RuntimeError("no other message was delivered meanwhile")

    def p99(self):
        waits = sorted(self.waits)
        return waits[int(len(waits) * 0.99)] if waits else 0


class Bench:
    def __init__(self, program, work):
        self.program, self.work = program, work
        self.backup = os.path.join(work, "backup")
        self.config = self.place("posta.toml", "data")
        self.rows = []

    def place(self, name, data):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(data=os.path.join(self.work, data), smtp=SMTP, pop3=POP3))
        return path

    def posta(self, *arguments, config=None):
        """Runs a command. Returns its output and the seconds that it took."""
        started = time.monotonic()
        ran = subprocess.run(
            [self.program, *arguments, "--config", config or self.config],
            input=PASSWORD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=3000, check=False,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{arguments}: {ran.stderr.decode(errors='replace')[-2000:]}")
        return ran.stdout.decode(), time.monotonic() - started

    def fill(self, count):
        # Octets that compress no better than mail does.
        content = os.path.join(self.work, "content")
        with open(content, "wb") as file:
            file.write(b"Subject: x\r\n\r\n" + base64.encodebytes(os.urandom(3000)).replace(b"\n", b"\r\n"))
        options = ["--messages", str(count), "--sessions", "20", "--pipelining", "--content", content]
        subprocess.run(
            [self.program, "bench", "smtp", f"127.0.0.1:{SMTP}", "--to", "ana@x.test", *options, "--patience", "600"],
            stdout=subprocess.PIPE, check=True, timeout=3000,
        )

    def row(self, what, seconds, octets="", p99=""):
        self.rows.append((what, f"{seconds:.1f}", octets, p99))
        print(*self.rows[-1], flush=True)

    def back_up(self, what):
        with Others() as others:
            made, seconds = self.posta("backup", self.backup, "--json")
        made = json.loads(made)
        self.row(what, seconds, f"{made['written'] / 2**20:.1f}", f"{others.p99():.1f}")
        return made

    def run(self, messages):
        for name in ("ana", "bob"):
            self.posta("account", "add", f"{name}@x.test", "--password-stdin")
        server = serving.Serving(self.program, self.config, POP3, dict(os.environ))
        try:
            self.fill(messages)
            with Others() as others:
                time.sleep(10)
            self.row("nothing, for comparison", 10, "", f"{others.p99():.1f}")
            made = self.back_up(f"backup of {messages:,} messages of 4 KiB")
            if made["new-pieces"] < messages:
                raise RuntimeError(f"{made}")
            self.fill(MORE)
            made = self.back_up(f"backup after {MORE:,} more")
            if not MORE <= made["new-pieces"] < MORE + 10_000:
                raise RuntimeError(f"{made}")
            with Others() as others:
                _, seconds = self.posta("backup", self.backup, "--verify")
            self.row("`--verify`", seconds, f"{made['size'] / 2**20:.1f}", f"{others.p99():.1f}")
        finally:
            server.stop()
        checked, seconds = self.posta("store", "check", "--json")
        octets = json.loads(checked)["octets"]
        self.row("`posta store check`", seconds, f"{octets / 2**20:.1f}")
        other = self.place("other.toml", "other")
        _, seconds = self.posta("restore", self.backup, config=other)
        self.row("`posta restore`", seconds, f"{octets / 2**20:.1f}")
        listed, _ = self.posta("folder", "list", "ana@x.test", "--json", config=other)
        restored = sum(folder["messages"] for folder in json.loads(listed))
        if restored != messages + MORE:
            raise RuntimeError(f"{restored} messages were restored")

    def table(self):
        lines = ["| what | seconds | MiB | p99 of others' deliveries, ms |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("posta")
    parser.add_argument("output", nargs="?")
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    work = tempfile.mkdtemp(prefix="posta-backup-")
    try:
        bench = Bench(os.path.abspath(options.posta), work)
        bench.run(options.messages)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.output:
        with open(options.output, encoding="utf-8") as file:
            text = file.read()
        begin, end = "<!-- backup -->", "<!-- end of backup -->"
        before, after = text.index(begin) + len(begin), text.index(end)
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(f"{text[:before]}\n{bench.table()}\n{text[after:]}")
    else:
        print(bench.table())


if __name__ == "__main__":
    main()
