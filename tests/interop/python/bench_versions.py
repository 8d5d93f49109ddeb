"""Measures two builds of Posta beside each other: python3 bench_versions.py POSTA OTHER [ROUNDS]

One generator, that of POSTA, sends to both and collects from both, in turn, first the one and then the other.
Prints a table in Markdown; fails where POSTA is worse than OTHER by more than the figures of a row spread.
The figures of one round have no spread, so a single round only prints them.
"""

import os
import shutil
import statistics
import sys
import tempfile

import bench
import bench_pop3
import bench_relay
import peers


def smtp(program, versions, work):
    """Yields what was measured, with which build, and the figure."""
    servers = []
    try:
        for name, build in versions:
            folder = os.path.join(work, f"smtp-{name}")
            os.makedirs(folder)
            kind = type(name, (bench.Posta,), {"name": name, "port": 2690 + 10 * len(servers)})
            servers.append(kind(build, folder))
        for sessions in bench.SESSIONS:
            for mode, options in bench.MODES.items():
                for server in servers:
                    found = bench.measure(program, server, server.messages, "--sessions", str(sessions), *options)
                    what = f"{sessions} sessions, {mode}"
                    yield f"{what}, messages/s", server.name, found[0]
                    yield f"{what}, CPU a message, µs", server.name, found[1]
                    yield f"{what}, p99 of the 250, ms", server.name, found[2]
        for server in servers:
            found = bench.measure(program, server, 600, "--sessions", "10", "--size", "1MiB")
            yield "1 MiB, 10 sessions, messages/s", server.name, found[0]
    finally:
        for server in servers:
            server.stop()


def pop3(program, versions, work):
    for name, build in versions:
        folder = os.path.join(work, f"pop3-{name}")
        os.makedirs(folder)
        server = bench_pop3.Posta(build, folder)
        try:
            for what, figure in bench_pop3.measure(program, server):
                yield what, name, figure
        finally:
            server.stop()


def relay(program, versions, work):
    sink = bench_relay.Sink()
    try:
        for what, more in (("one destination", []), ("1,000 destinations", ["--domains", "1000"])):
            for name, build in versions:
                folder = os.path.join(work, f"relay-{name}-{len(more)}")
                os.makedirs(folder)
                server = bench_relay.Posta(build, folder)
                try:
                    rate, cpu = bench_relay.through(program, server, sink, server.messages, *more)
                finally:
                    server.stop()
                yield f"relay to {what}, messages/s", name, rate
                yield f"relay to {what}, CPU a message, µs", name, cpu
    finally:
        sink.stop()


def row(what, after, before):
    """A line of the table, and whether the first is worse by more than the figures spread."""
    less_is_better = what.endswith(("ms", "µs"))
    new, old = statistics.median(after), statistics.median(before)
    worse = new / old if less_is_better else old / new
    spread = max((max(found) - min(found)) / statistics.median(found) for found in (after, before))
    cells = [what, bench_pop3.spread(before), bench_pop3.spread(after), f"{1 / worse:.2f}", f"{spread:.2f}"]
    return cells, worse > 1 + spread


def main(program, other, rounds=3):
    work = tempfile.mkdtemp(prefix="bench-", dir=os.path.join(peers.ROOT, "target"))
    versions, found = [("before", os.path.abspath(other)), ("after", os.path.abspath(program))], {}
    try:
        for round_ in range(rounds):
            for part in (smtp, pop3, relay):
                print(f"round {round_ + 1} of {rounds}: {part.__name__}", flush=True)
                folder = os.path.join(work, f"{part.__name__}-{round_}")
                os.makedirs(folder)
                for what, name, figure in part(program, versions, folder):
                    found.setdefault(what, {}).setdefault(name, []).append(figure)
                shutil.rmtree(folder)
            # Whoever comes second finds the machine as the first left it.
            versions.reverse()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rows, failed = [], []
    for what, figures in found.items():
        cells, is_worse = row(what, figures["after"], figures["before"])
        rows.append(cells)
        if is_worse and rounds > 1:
            failed.append(what)
    print(bench.table(["", "before", "after", "× as good", "spread"], rows))
    for what in failed:
        print(f"WORSE: {what}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *[int(word) for word in sys.argv[3:]])
