"""Measures what checking mail costs: python3 bench_checks.py POSTA [OUTPUT] [ROUNDS]

Two servers take the same message, which has one RSA-2048 signature, in turn: one checks it (SPF, DKIM, DMARC), one does
not. A name server on this machine answers for the sender's domain. Before the clock starts, a message is fetched to
see that its checks pass.

With OUTPUT, writes the table there, between the marks `<!-- checks -->` and `<!-- end of checks -->`.
"""

import base64
import hashlib
import os
import poplib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading

import bench
import peers

SESSIONS, MESSAGES = 50, 20_000
MODES = {"one a connection": ["--per-connection", "1"], "many a connection": []}
SIZE = 4096
# In the relaxed form already (RFC 6376 §3.4.2), so that nothing has to be changed for the hash.
FIELDS = [
    ("from", "Bench <bench@bench.test>"), ("to", "user@x.test"), ("subject", "A signed message"),
    ("date", "Thu, 1 Jan 1970 00:00:00 +0000"), ("message-id", "<signed@bench.test>"),
    ("mime-version", "1.0"), ("content-type", "text/plain; charset=utf-8"),
]


def encoded(octets):
    return base64.b64encode(octets).decode()


def openssl(*arguments, given=None):
    return subprocess.run(["openssl", *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def sign(work):
    """Writes a signed message of 4 KiB to a file. Returns its path and the public key."""
    key, message = os.path.join(work, "key.pem"), os.path.join(work, "signed.eml")
    openssl("genrsa", "-out", key, "2048")
    public = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    body = "The quick brown fox jumps over the lazy dog, again and again.\r\n" * ((SIZE - 1000) // 63)
    fields = "".join(f"{name}:{value}\r\n" for name, value in FIELDS)
    names = ":".join(name for name, _ in FIELDS)
    tags = (
        "dkim-signature:v=1; a=rsa-sha256; c=relaxed/relaxed; d=bench.test; s=s; "
        f"h={names}; bh={encoded(hashlib.sha256(body.encode()).digest())}; b="
    )
    signature = encoded(openssl("dgst", "-sha256", "-sign", key, given=(fields + tags).encode()))
    with open(message, "w", encoding="ascii", newline="") as file:
        file.write(f"{tags}{signature}\r\n{fields}\r\n{body}")
    return message, encoded(public)


class Names(threading.Thread):
    """A name server with texts; of all other records, it says that there are none."""

    def __init__(self, texts):
        super().__init__(daemon=True)
        self.texts, self.asked = texts, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.socket.getsockname())
        self.start()

    def run(self):
        while True:
            question, client = self.socket.recvfrom(1500)
            self.asked += 1
            self.socket.sendto(self.answer(question), client)

    def answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        kind = question[at + 1:at + 3]
        text = self.texts.get(".".join(labels)) if kind == b"\0\x10" else None
        # The id, a response with recursion available, one question, the answers; or that there is no such name.
        head = question[:2] + (b"\x81\x80\0\1\0\1" if text else b"\x81\x83\0\1\0\0") + b"\0\0\0\0"
        answer = head + question[12:at + 5]
        if not text:
            return answer
        strings = [text[start:start + 255].encode() for start in range(0, len(text), 255)]
        data = b"".join(bytes([len(string)]) + string for string in strings)
        # The name of the question, TXT, IN, an hour.
        return answer + b"\xc0\x0c\0\x10\0\1\0\0\x0e\x10" + len(data).to_bytes(2, "big") + data


class Posta(bench.Posta):
    def __init__(self, program, work, port, names, enabled):
        self.name, self.port = ("checked" if enabled else "not checked"), port
        folder = os.path.join(work, str(port))
        os.makedirs(folder)
        super().__init__(
            program, folder,
            # Programs on this machine are strangers here.
            "[submission]\ntrust-loopback = false\n"
            f'[checks]\nenabled = {str(enabled).lower()}\n[dns]\nservers = ["{names.address}"]\ndnssec = false\n'
            f'[[listen]]\nprotocol = "pop3"\naddress = "127.0.0.1:{port + 2}"\ntls = "starttls"\n',
        )

    def highest(self):
        """The most octets that were resident at any time."""
        with open(f"/proc/{self.server.pid}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) * 1024


def proved(server):
    """Fetches the first message, and fails if its results are not those of the server's kind."""
    session = poplib.POP3("127.0.0.1", server.port + 2)
    session.stls()
    session.user("user@x.test")
    session.pass_("parola")
    head = b"\n".join(session.top(1, 0)[1]).decode()
    session.quit()
    for result in ("spf=pass", "dkim=pass", "dmarc=pass"):
        if (result in head) != (server.name == "checked"):
            raise RuntimeError(f"{server.name}: {result} in\n{head}")


def run(program, work, rounds):
    message, key = sign(work)
    names = Names({
        "bench.test": "v=spf1 ip4:127.0.0.0/8 -all",
        "s._domainkey.bench.test": f"v=DKIM1; k=rsa; p={key}",
        "_dmarc.bench.test": "v=DMARC1; p=reject",
    })
    servers, found, memory = [], {}, {}
    try:
        servers = [Posta(program, work, 2740, names, False), Posta(program, work, 2750, names, True)]
        send = ["--from", "bench@bench.test", "--content", message, "--sessions", str(SESSIONS)]
        for server in servers:
            bench.generate(program, server, SESSIONS, *send)
            proved(server)
        for round_ in range(rounds):
            for mode, options in MODES.items():
                # Whoever goes first in one round goes second in the next.
                for server in servers[::-1] if round_ % 2 else servers:
                    print(f"round {round_ + 1} of {rounds}: {mode}: {server.name}", flush=True)
                    measured = bench.measure(program, server, MESSAGES, *send, *options)
                    found.setdefault((mode, server.name), []).append(measured)
            for server in servers:
                memory.setdefault(server.name, []).append(server.highest() / 2**20)
    finally:
        for server in servers:
            server.stop()
    return report(found, memory, names.asked, rounds)


def report(found, memory, asked, rounds):
    rows = []
    for mode in MODES:
        without = statistics.median(cpu for _, cpu, _ in found[mode, "not checked"])
        for name in ("not checked", "checked"):
            rates, cpus, latencies = zip(*found[mode, name])
            cpu = statistics.median(cpus)
            rows.append([
                mode, name, bench.number(statistics.median(rates)), bench.number(cpu),
                f"{bench.number(min(cpus))} to {bench.number(max(cpus))}", bench.number(statistics.median(latencies)),
                f"{cpu / without:.2f}",
            ])
    header = [f"{SESSIONS} sessions", "mail is", "messages/s", "CPU a message, µs", "range", "p99 of the 250, ms", "CPU, ratio"]
    peaks = "; ".join(f"{name} {bench.number(peaks[0])} and {bench.number(peaks[-1])} MiB" for name, peaks in memory.items())
    return (
        f"Machine: {bench.machine()}. The message has 4 KiB and one RSA-2048 signature; its domain publishes SPF, the key and a\n"
        f"DMARC policy. Medians of {rounds} rounds of {MESSAGES:,} messages, in each of which both servers have their turn.\n\n"
        + bench.table(header, rows)
        + f"\n\nThe most that was resident after the first round and after the last: {peaks}. The name server was asked\n"
        f"{asked} times.\n"
    )


def main(program, output=None, rounds="5"):
    work = tempfile.mkdtemp(prefix="bench-", dir=os.path.join(peers.ROOT, "target"))
    try:
        text = run(program, work, int(rounds))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(text)
    if output:
        bench.write(output, "checks", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
