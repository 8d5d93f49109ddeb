"""Measures the way through Posta and through Postfix to a sink: python3 bench_relay.py POSTA [ROUNDS]

The same generator sends to each in turn; the clock runs until the sink has the last message. Both
relay everything to one smtp-sink, which keeps nothing. Once with one destination domain, once with
a thousand. Then what a dead destination costs a live one, and what a queue of a million weighs.
Writes the tables that bench.py puts into the report.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench
import peers
import serving

SINK = 2760


class Sink:
    """smtp-sink, which says how many messages it has."""

    def __init__(self):
        self.peer = peers.Peer(["postfix"])
        self.peer.start("smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{SINK}", "4096")
        peers.wait_for(("127.0.0.1", SINK))

    def count(self):
        """smtp-sink -c shows running counters, one over the other: sess=1 quit=1 mesg=1."""
        numbers = re.findall(r"mesg=(\d+)", self.peer.said())
        return int(numbers[-1]) if numbers else 0

    def wait(self, count):
        deadline = time.monotonic() + 600
        while self.count() < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.count()} of {count} arrived")
            time.sleep(0.02)

    def stop(self):
        self.peer.stop()


class Posta(bench.Posta):
    port, messages = 2750, 20_000

    def __init__(self, program, work, more=""):
        self.program, self.config = program, os.path.join(work, "posta-relay.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'hostname = "mail.x.test"\ndata = "{work}/relay-data"\n'
                '[limits]\nsessions-per-client = 0\n'
                f'[relay]\nsmarthost = "127.0.0.1:{SINK}"\ntls = "none"\nnetworks = ["127.0.0.1/32"]\n{more}'
                f'[[listen]]\nprotocol = "smtp"\naddress = "127.0.0.1:{self.port}"\n'
            )
        self.start()

    def start(self):
        self.server = serving.Serving(self.program, self.config, self.port)


class Postfix(bench.Postfix):
    name, port, messages = "Postfix", 2755, 2_000
    transport = f"relayhost = [127.0.0.1]:{SINK}\nmynetworks = 127.0.0.0/8\ndefault_destination_concurrency_limit = 20\n"


def through(program, server, sink, count, *more):
    """Messages a second to the sink, and CPU microseconds a message."""
    before, cpu, started = sink.count(), server.cpu(), time.monotonic()
    bench.generate(program, server, count, "--sessions", "20", "--pipelining", *more, to="user@y.test")
    sink.wait(before + count)
    elapsed = time.monotonic() - started
    return count / elapsed, (server.cpu() - cpu) / count * 1e6


def compare(program, work, rounds):
    sink = Sink()
    servers = [Posta(program, work), Postfix(work)]
    found = {}
    try:
        for _ in range(rounds):
            for what, more in (("one destination", []), ("1,000 destinations", ["--domains", "1000"])):
                for server in servers:
                    print(f"relay: {what}: {server.name}", flush=True)
                    measured = through(program, server, sink, server.messages, *more)
                    found.setdefault((what, server.name), []).append(measured)
    finally:
        for server in (*servers, sink):
            server.stop()
    rows = []
    for (what, name), measured in found.items():
        rates, cpus = zip(*measured)
        ours, our_cpus = zip(*found[what, Posta.name])
        rate, cpu = statistics.median(rates), statistics.median(cpus)
        rows.append([
            what, name, bench.number(rate), f"{bench.number(min(rates))} to {bench.number(max(rates))}", bench.number(cpu),
            f"{statistics.median(ours) / rate:.2f}", f"{statistics.median(our_cpus) / cpu:.3f}",
        ])
    header = ["4 KiB to a sink", "server", "messages/s", "range", "CPU a message, µs", "Posta is × as fast", "with × the CPU"]
    return bench.table(header, rows)


# A server that is not there takes the mail of all that lies below this domain.
DEAD = '[[relay.domain]]\nname = ".dead.test"\nsmarthost = "127.0.0.1:1"\ntls = "none"\n'


def dead_neighbour(program, work, rounds, waiting=100_000, live=100_000):
    """What `waiting` messages for a server that is not there cost a destination whose server is.

    An empty store is quicker than one that has kept so many messages, whatever became of them: so it is
    also measured after as many were delivered. As many live messages as dead ones, so that all three
    write their tables while they are measured."""
    sink = Sink()
    rates = {"of an empty server": [], "of one that delivered as many before": [], "beside a dead one": []}
    try:
        for _ in range(rounds):
            for what in rates:
                shutil.rmtree(os.path.join(work, "relay-data"), ignore_errors=True)
                server = Posta(program, work, DEAD)
                if "as many" in what:
                    through(program, server, sink, waiting)
                    time.sleep(10)
                if "dead" in what:
                    bench.generate(program, server, waiting, "--sessions", "50", "--pipelining", to="user@a.dead.test")
                    # The store tidies up after so many messages; that is not what is measured.
                    time.sleep(10)
                print(f"relay: a live destination {what}", flush=True)
                rates[what].append(through(program, server, sink, live)[0])
                server.stop()
    finally:
        sink.stop()
    empty, used, beside = (statistics.median(found) for found in rates.values())
    return bench.table(
        ["a live destination", "messages/s", "range"],
        [[what, bench.number(statistics.median(found)), f"{bench.number(min(found))} to {bench.number(max(found))}"] for what, found in rates.items()],
    ) + (f"\n\nThe dead destination, with {waiting:,} messages, costs {100 * (1 - beside / used):.1f} % of the rate of a server "
    f"that delivered as many before, {100 * (1 - beside / empty):.1f} % of an empty one's.\n")


def large_queue(program, work, waiting=1_000_000):
    """What a queue of `waiting` messages weighs, and how long a start takes after kill -9."""
    shutil.rmtree(os.path.join(work, "relay-data"), ignore_errors=True)
    print("relay: a large queue", flush=True)
    server = Posta(program, work, DEAD)
    try:
        many = ["--sessions", "50", "--pipelining", "--domains", "1000", "--size", "512B"]
        bench.generate(program, server, waiting, *many, to="user@dead.test")
        filled = server.resident()
        server.server.kill()
        started = time.monotonic()
        server.start()
        started = time.monotonic() - started
        time.sleep(10)
        resting = server.resident()
        summary = [program, "queue", "summary", "--json", "--config", server.config]
        asked = time.monotonic()
        lines = json.loads(subprocess.run(summary, stdout=subprocess.PIPE, check=True).stdout)
        asked = time.monotonic() - asked
    finally:
        server.stop()
    assert sum(line["items"] for line in lines) == waiting, "nothing is lost"
    mebi = lambda octets: f"{octets / 2**20:.0f} MiB"
    return (
        f"A queue of {waiting:,} items for 1,000 destinations: {mebi(filled)} resident when it is full, {mebi(resting)} ten seconds after a start;\n"
        f"the first 220 came {started:.2f} s after the start, which followed kill -9; `posta queue summary` took {asked:.1f} s.\n"
    )


def run(program, work, rounds):
    tables = compare(program, work, rounds), dead_neighbour(program, work, rounds), large_queue(program, work)
    return "\n\n".join(tables)


def main(program, rounds=3):
    work = tempfile.mkdtemp(prefix="bench-", dir=os.path.join(peers.ROOT, "target"))
    try:
        print(run(os.path.abspath(program), work, rounds))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], *[int(word) for word in sys.argv[2:]])
