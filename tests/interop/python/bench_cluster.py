"""Measures the store on PostgreSQL beside the embedded one: python3 bench_cluster.py POSTA [OUTPUT] [ROUNDS]

One generator, `posta bench`, and one machine for all: a server with the embedded store; one and two servers (nodes) on a
PostgreSQL that syncs each commit; the same with a synchronous standby. For each: receiving 4 KiB into fifty mailboxes,
POP3 logins and RETR, relaying to smtp-sink. What the database did for a message or a login is counted by its own
statistics.

With OUTPUT, writes the tables there, between the marks `<!-- cluster -->` and `<!-- end of cluster -->`. Needs root, as
bench.py does. `--statements` shows the statements that took longest.
"""

import concurrent.futures
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench
import bench_pop3
import bench_relay
import databases
import peers
import serving

MAILBOXES, POP3_MESSAGES = 50, 1_000
EMBEDDED, ONE, TWO, STANDBY = "embedded", "PostgreSQL, one node", "PostgreSQL, two nodes", "with a synchronous standby"
# Messages that are received and relayed in a turn; the embedded store needs more for as many seconds.
COUNTS = {EMBEDDED: (20_000, 10_000)}
COUNT = (6_000, 3_000)
SEED = 500


class Node:
    """`posta serve` on a store, which takes mail, hands it out and relays it."""

    name = "Posta"

    def __init__(self, program, work, number, store):
        self.program, self.port, self.number = program, 2780 + 10 * number, number
        self.pop3 = Pop3(self)
        data = os.path.join(work, f"node-{number}")
        self.config = f"{data}.toml"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'hostname = "mail{number}.x.test"\ndata = "{data}"\nkey-file = "{work}/store.keys"\n'
                "[limits]\nsessions-per-client = 0\nsessions-per-account = 0\n"
                f'[relay]\nsmarthost = "127.0.0.1:{bench_relay.SINK}"\ntls = "none"\nnetworks = ["127.0.0.1/32"]\n'
                f'[[listen]]\nprotocol = "smtp"\naddress = "127.0.0.1:{self.port}"\n'
                f'[[listen]]\nprotocol = "pop3"\naddress = "127.0.0.1:{self.port + 1}"\n' + store
            )
        self.server = None

    def posta(self, *words, text=b""):
        done = subprocess.run(
            [self.program, *words, "--config", self.config], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stderr.decode()}")

    def start(self):
        self.server = serving.Serving(self.program, self.config, self.port)
        return self

    def cpu(self):
        return sum(bench.ticks(self.server.pid)[:2]) / bench.TICK

    def log(self):
        return self.server.log()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None


class Pop3:
    """The same node, as a client of POP3 sees it."""

    def __init__(self, node):
        self.name, self.port, self.node = node.name, node.port + 1, node

    def log(self):
        return self.node.log()


def accounts(node):
    """Adds the mailboxes; all have the password of the account that POP3 asks for."""
    for number in range(MAILBOXES):
        node.posta("account", "add", f"user@d{number:04}.x.test", "--password-stdin", text=b"parola\n")
    node.posta("account", "add", "user@x.test", "--password-stdin", text=b"parola\n")


def at_once(calls):
    """Runs functions at the same moment, and returns what each returns."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


class Setting:
    """Nodes on one store, and what is asked of them."""

    def __init__(self, name, program, nodes, database, sink):
        self.name, self.program, self.nodes, self.database, self.sink = name, program, nodes, database, sink
        self.receive_count, self.relay_count = COUNTS.get(name, COUNT)

    def cpu(self):
        spent = sum(node.cpu() for node in self.nodes)
        if self.database:
            spent += self.database.cpu()
        return spent

    def counted(self, count, work):
        """Does some work `count` times over; returns its figure, CPU microseconds and the database's counts of each."""
        counting = databases.Counting(self.database) if self.database else None
        cpu = self.cpu()
        figure = work()
        cpu = (self.cpu() - cpu) / count * 1e6
        did = counting.end() if counting else None
        if did:
            did["each"] = count
        return figure, cpu, did

    def generate(self, count, sessions, *more, to):
        share = len(self.nodes)
        calls = [
            lambda node=node: bench.generate(
                self.program, node, count // share, "--sessions", str(max(1, sessions // share)), *more, to=to
            )
            for node in self.nodes
        ]
        return at_once(calls)

    def receive(self, sessions):
        def work():
            said = self.generate(self.receive_count, sessions, "--domains", str(MAILBOXES), to="user@x.test")
            rate = self.receive_count / max(it["seconds"] for it in said)
            return rate, statistics.median(it["latency_ms"]["p99"] for it in said)

        return self.counted(self.receive_count, work)

    def relay(self):
        def work():
            before, started = self.sink.count(), time.monotonic()
            self.generate(self.relay_count, 20, "--pipelining", to="user@y.test")
            self.sink.wait(before + self.relay_count)
            return self.relay_count / (time.monotonic() - started), 0.0

        return self.counted(self.relay_count, work)

    def collect(self, sessions, rounds, *more, mode="login", messages=1):
        """Logs in, or retrieves all messages, at the first node."""
        def work():
            said = bench_pop3.collect(
                self.program, self.nodes[0].pop3, "--mode", mode, "--sessions", str(sessions), "--rounds", str(rounds), *more
            )
            return said["per_second"], said["latency_ms"]["p50"]

        return self.counted(sessions * rounds * messages, work)


def measure(setting, quick):
    """One round: what is measured, and (figure, second figure), CPU, counts."""
    for sessions in bench.SESSIONS:
        yield f"receive, {sessions} sessions, messages/s", setting.receive(sessions)
    if quick:
        return
    # The first one reads the list; after that each has the work of a login on an unchanged mailbox.
    setting.collect(1, 3)
    fast = setting.name == EMBEDDED
    yield "login, STAT, QUIT, 1 client, a second", setting.collect(1, 1_000 if fast else 400)
    yield "login, STAT, QUIT, 20 clients, a second", setting.collect(20, 200 if fast else 60)
    for window in (1, 64):
        what = f"RETR, {window} in flight, messages/s"
        rounds = 3 if fast else 1
        yield what, setting.collect(1, rounds, "--window", str(window), mode="retr", messages=POP3_MESSAGES)
    yield "relay, messages/s", setting.relay()


def fill(setting):
    """Puts the mail of the POP3 measurements into one mailbox, and warms up what is remembered."""
    bench.generate(setting.program, setting.nodes[0], POP3_MESSAGES, "--sessions", "20", "--pipelining", to="user@x.test")
    for sessions in bench.SESSIONS:
        setting.generate(SEED, sessions, "--domains", str(MAILBOXES), to="user@x.test")
    setting.collect(1, 1, mode="retr")


def of(found, which):
    return [statistics.median(values[which] for values in found)]


def spread(values):
    return f"{bench.number(statistics.median(values))} ({bench.number(min(values))} to {bench.number(max(values))})"


def rates_table(results, names):
    """Each figure of each setting, and its ratio to the embedded store's."""
    header = ["4 KiB", *[f"{name} (×)" if name != EMBEDDED else name for name in names]]
    rows = []
    for what, found in results.items():
        base = statistics.median(rate for (rate, _), _, _ in found[EMBEDDED])
        row = [what]
        for name in names:
            rates = [rate for (rate, _), _, _ in found.get(name, [])]
            if not rates:
                row.append("–")
                continue
            ratio = statistics.median(rates) / base
            row.append(spread(rates) + (f", {ratio:.2f}" if name != EMBEDDED else ""))
        rows.append(row)
    return bench.table(header, rows)


def costs_table(results, names):
    """What one message, login or retrieval costs: CPU of servers and database, statements, WAL."""
    header = ["each", "store", "CPU, µs", "statements", "milliseconds in them", "octets of WAL", "pages written whole", "p99 or p50, ms"]
    rows = []
    for what, found in results.items():
        for name in names:
            if name not in found:
                continue
            cpu = statistics.median(cpu for _, cpu, _ in found[name])
            second = statistics.median(second for (_, second), _, _ in found[name])
            row = [what.rsplit(",", 1)[0], name, bench.number(cpu)]
            dids = [did for _, _, did in found[name] if did]
            if dids:
                middle = lambda key: statistics.median(key(did) / did["each"] for did in dids)
                row += [
                    f"{middle(lambda it: sum(s['calls'] for s in it['statements'])):.2f}",
                    f"{middle(lambda it: sum(s['ms'] for s in it['statements'])):.3f}",
                    bench.number(middle(lambda it: it["wal"])), f"{middle(lambda it: it['images']):.2f}",
                ]
            else:
                row += ["–"] * 4
            rows.append([*row, f"{second:.1f}" if second else "–"])
    return bench.table(header, rows)


def show_statements(results, names):
    for what, found in results.items():
        for name in names:
            did = next((did for _, _, did in found.get(name, []) if did), None)
            if did:
                print(f"\n{what}, {name}: {did['wal'] / did['each']:,.0f} octets of WAL, {did['records'] / did['each']:.1f} records")
                for it in did["statements"][:12]:
                    print(f"  {it['calls'] / did['each']:8.3f} calls {it['ms'] / did['each'] * 1e3:8.1f} µs  {' '.join(it['query'].split())}")


def sizes(database):
    """Returns the octets that each table takes for a message that is kept, with its indexes."""
    asked = (
        "SELECT relname, pg_total_relation_size(c.oid) / (SELECT count(*)::float FROM posta.content) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'posta' AND relkind = 'r' ORDER BY 2 DESC LIMIT 4"
    )
    rows = [line.split("|") for line in database.ask(asked).splitlines()]
    return ", ".join(f"`{name}` {float(octets):,.0f}" for name, octets in rows)


def turns(program, work, rounds, quick):
    """Measures every setting in turn, `rounds` times."""
    results, begun = {}, []
    try:
        sink = bench_relay.Sink()
        begun.append(sink)
        database = databases.Postgres(os.path.join(work, "db")).initialise().start()
        begun.append(database)
        of_database = f'[store]\nengine = "postgres"\nurl = "{database.url()}"\n'
        embedded, one, two = (Node(program, work, number, store) for number, store in enumerate(("", of_database, of_database)))
        for node in (embedded, one):
            accounts(node)
        for node in (embedded, one, two):
            begun.append(node.start())
        settings = [
            Setting(EMBEDDED, program, [embedded], None, sink), Setting(ONE, program, [one], database, sink),
            Setting(TWO, program, [one, two], database, sink),
        ]
        for setting in settings[:2]:
            fill(setting)
        settings[2].generate(SEED, 20, "--domains", str(MAILBOXES), to="user@x.test")
        for round_ in range(rounds):
            for setting in settings:
                print(f"round {round_ + 1} of {rounds}: {setting.name}", flush=True)
                for what, found in measure(setting, quick):
                    results.setdefault(what, {}).setdefault(setting.name, []).append(found)
        results["kept"] = sizes(database)
        standby = database.standby(os.path.join(work, "standby"))
        begun.append(standby)
        setting = Setting(STANDBY, program, [one], database, sink)
        for round_ in range(rounds):
            print(f"round {round_ + 1} of {rounds}: {STANDBY}", flush=True)
            for what, found in measure(setting, True):
                results.setdefault(what, {}).setdefault(STANDBY, []).append(found)
        database.alone()
    finally:
        for server in reversed(begun):
            server.stop()
    return results


def main(program, *arguments):
    options = [word for word in arguments if word.startswith("--")]
    words = [word for word in arguments if not word.startswith("--")]
    rounds = next((int(word) for word in words if word.isdigit()), 3)
    output = next((word for word in words if not word.isdigit()), None)
    if not databases.programs():
        sys.exit("PostgreSQL 15 or newer is not installed (apt-get install postgresql)")
    work = tempfile.mkdtemp(prefix="c-", dir=os.path.join(peers.ROOT, "target"))
    os.chmod(work, 0o755)
    try:
        results = turns(program, work, rounds, "--quick" in options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    kept = results.pop("kept")
    names = [EMBEDDED, ONE, TWO, STANDBY]
    if "--statements" in options:
        show_statements(results, names)
    text = (
        f"Machine: {bench.machine()}, which the generator,\nthe servers and the database share. PostgreSQL has `fsync`, `synchronous_commit` "
        f"and `full_page_writes` on. Medians of {rounds} rounds.\n\n"
        + rates_table(results, names) + "\n\n" + costs_table(results, names)
        + f"\n\nOctets on the disk for each message of 4 KiB that is kept, by table, with indexes: {kept}.\n"
    )
    if output:
        bench.write(output, "cluster", text)
    else:
        print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
