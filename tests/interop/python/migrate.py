"""Measures how a host's mailboxes move in: python3 migrate.py POSTA [OUTPUT] [--messages N] [--users N] [--kills N].

Makes the Maildirs of a Dovecot host, with its lists of unique-ids, flags and folders: messages of 4 KB on average. A server
runs, with the accounts. `posta import maildir --map` is killed (SIGKILL) several times at moments spread over the work,
and run again until it ends. Afterwards each POP3 client asks for the unique-ids with the list that it had from Dovecot:
what it would download is counted, and must be nothing. Mailboxes are exported, too, and that is measured as well.

With OUTPUT, writes the result there, between the marks `<!-- migrate -->` and `<!-- end of migrate -->`.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import peers
import serving

PASSWORD = b"a password that is long\n"
POP3 = 2771
VALIDITY = 1_795_540_755

CONFIG = """
hostname = "mail.x.test"
data = "{data}"
[limits]
sessions-per-client = 0
[[listen]]
protocol = "pop3"
address = "127.0.0.1:{pop3}"
"""

# Sizes of messages, of which each is as frequent: 4 KB on average.
SIZES = [600, 900, 1_200, 1_500, 2_000, 2_500, 3_000, 4_000, 6_000, 18_300]
LINE = b"A line of a message, as people write them to each other.\n"


def message(number, size, user):
    head = (
        f"Return-Path: <s{number % 97}@y.test>\nReceived: from y.test (y.test [192.0.2.1])\n\tby mx.x.test with ESMTP id {number};\n"
        f"\tTue, 24 Nov 2026 08:00:00 +0000\nFrom: s{number % 97}@y.test\nTo: {user}\nSubject: number {number}\n"
        f"Message-ID: <{number}.{user}>\n\n"
    ).encode()
    lines = max(0, size - len(head)) // len(LINE)
    return head + LINE * lines


def make(root, users, count):
    """Writes the Maildirs. Returns the unique-ids that each user's client knows, and the octets of all."""
    rng, known, octets = random.Random(1), {}, 0
    for at in range(users):
        name, ids = f"user{at}", []
        maildir = os.path.join(root, "x.test", name, "Maildir")
        folders = {"": maildir, "Sent": os.path.join(maildir, ".Sent")}
        for path in folders.values():
            for part in ("cur", "new", "tmp"):
                os.makedirs(os.path.join(path, part))
        lists = {folder: [f"3 V{VALIDITY} N{count + 1}"] for folder in folders}
        for number in range(1, count // users + 1):
            # One in ten is in a folder, of which POP3 knows nothing.
            folder = "Sent" if number % 10 == 0 else ""
            base = f"{1_600_000_000 + number}.M{number}P1.host"
            flags = rng.choice(["", "S", "S", "S", "RS", "FS"])
            text = message(number, rng.choice(SIZES), f"{name}@x.test")
            octets += len(text)
            with open(os.path.join(folders[folder], "cur", f"{base}:2,{flags}"), "wb") as file:
                file.write(text)
            lists[folder].append(f"{number} :{base}")
            if not folder:
                ids.append(f"{number:08x}{VALIDITY:08x}")
        for folder, lines in lists.items():
            with open(os.path.join(folders[folder], "dovecot-uidlist"), "w", encoding="ascii") as file:
                file.write("\n".join(lines) + "\n")
        known[name] = ids
    return known, octets


def unique_ids(name):
    """Returns the unique-ids that a client is told, in their order."""
    with socket.create_connection(("127.0.0.1", POP3), timeout=120) as connection:
        with connection.makefile("rwb") as wire:
            wire.readline()
            for line in (f"USER {name}@x.test".encode(), b"PASS " + PASSWORD.strip(), b"UIDL"):
                wire.write(line + b"\r\n")
                wire.flush()
                answer = wire.readline()
                if not answer.startswith(b"+OK"):
                    raise RuntimeError(f"{line}: {answer}")
            told = []
            while (line := wire.readline().strip()) != b".":
                told.append(line.split()[1].decode())
            return told


class Host:
    """Posta with the accounts of the users."""

    def __init__(self, program, work, users):
        self.program, self.config = program, os.path.join(work, "posta.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(data=os.path.join(work, "data"), pop3=POP3))
        # One user of a passwd-file after the other would hash 50 passwords; only the figures of the mail count here.
        users_file = os.path.join(work, "users")
        with open(users_file, "w", encoding="ascii") as file:
            file.writelines(f"user{at}@x.test:{{PLAIN}}{PASSWORD.decode().strip()}\n" for at in range(users))
        self.run("account", "add", "first@x.test", "--password-stdin")
        self.run("import", "users", users_file)
        self.server = serving.Serving(program, self.config, POP3)

    def run(self, *arguments, status=0):
        ran = subprocess.run(
            [self.program, *arguments, "--config", self.config],
            input=PASSWORD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800, check=False,
        )
        if ran.returncode != status:
            raise RuntimeError(f"{arguments}: {ran.stdout.decode(errors='replace')[-2000:]}")
        return ran.stdout.decode(errors="replace")

    def killed(self, seconds, *arguments):
        """Runs a command, and kills it after some time. Returns whether it was still running."""
        child = subprocess.Popen(
            [self.program, *arguments, "--config", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            child.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return True


def measure(options, work):
    root = options.data or os.path.join(work, "vmail")
    started = time.monotonic()
    kept = os.path.join(root, "known.json")
    if os.path.exists(kept):
        with open(kept, encoding="ascii") as file:
            known, octets = json.load(file)
    else:
        known, octets = make(root, options.users, options.messages)
        with open(kept, "w", encoding="ascii") as file:
            json.dump([known, octets], file)
    if options.only_make:
        return None
    print(f"made {octets / 2**20:.0f} MiB in {time.monotonic() - started:.0f} s", flush=True)
    host = Host(os.path.abspath(options.program), work, options.users)
    try:
        pattern = os.path.join(root, "%d/%n/Maildir")
        started, kills = time.monotonic(), 0
        for seconds in options.kill_after:
            kills += host.killed(seconds, "import", "maildir", "--map", pattern)
            print(f"killed after {seconds} s", flush=True)
        # The account `first` has no Maildir, which is told and is no failure.
        said = host.run("import", "maildir", "--map", pattern)
        took = time.monotonic() - started
        print(said.splitlines()[-1], f"in {took:.1f} s", flush=True)
        memory = host.server.resident() / 2**20
        again = time.monotonic()
        nothing = host.run("import", "maildir", "--map", pattern)
        again = time.monotonic() - again
        download = missing = 0
        for name, ids in known.items():
            told = unique_ids(name)
            download += len(set(told) - set(ids)) + len(told) - len(set(told))
            missing += len(set(ids) - set(told))
            if told != ids:
                print(f"{name}: the order differs", flush=True)
        if " 0 messages came" not in nothing.splitlines()[-1]:
            raise RuntimeError(f"the second import brought something: {nothing}")
        if download or missing:
            raise RuntimeError(f"clients would download {download} messages, and miss {missing}")
        out = time.monotonic()
        if not options.no_export:
            host.run("export", "maildir", os.path.join(work, "out"), "--all")
        out = time.monotonic() - out
        return {"octets": octets, "took": took, "kills": kills, "again": again, "out": out, "memory": memory}
    finally:
        host.server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("output", nargs="?")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--kill-after", type=float, nargs="*", default=[3, 5, 4], metavar="SECONDS")
    parser.add_argument("--data", metavar="DIR", help="make the Maildirs there, and keep them for the next time")
    parser.add_argument("--no-export", action="store_true", help="do not measure moving out")
    parser.add_argument("--only-make", action="store_true", help="make the Maildirs, and end")
    options = parser.parse_args()
    work = tempfile.mkdtemp(prefix="migrate-", dir=os.path.join(peers.ROOT, "target"))
    try:
        found = measure(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if found is None:
        return
    rate = options.messages / found["took"]
    text = (
        f"{options.messages:,} messages of {options.users} users, {found['octets'] / 2**20:,.0f} MiB in Maildirs of Dovecot, on "
        f"{os.cpu_count()} cores that the server shares:\n\n"
        "| what | figure |\n|---|---|\n"
        f"| moved in, killed {found['kills']} times and run again | {found['took']:.0f} s, {rate:,.0f} messages a second |\n"
        "| messages that POP3 clients with the old server's unique-ids would download | 0 |\n"
        f"| the same import once more, which finds nothing new | {found['again']:.1f} s |\n"
        + ("" if options.no_export else f"| moved out again, as Maildirs | {found['out']:.0f} s |\n") +
        f"| memory of the server after the import | {found['memory']:.0f} MiB |\n"
    )
    print(text)
    if options.output:
        with open(options.output, encoding="utf-8") as file:
            before, _, rest = file.read().partition("<!-- migrate -->\n")
        after = rest.partition("<!-- end of migrate -->\n")[2]
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(f"{before}<!-- migrate -->\n{text}<!-- end of migrate -->\n{after}")


if __name__ == "__main__":
    sys.exit(main())
