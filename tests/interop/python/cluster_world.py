"""The cluster of docs/cluster.md, set up by its own words, with the world around it."""

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request

import cluster_document
import cluster_machines
import peers
from cluster_doors import Door
from cluster_load import SINK, Loop, Readers, Senders, Sink
from cluster_machines import DOORS, WORLD, Machine

NUMBERS = {"mail1": 1, "mail2": 2, "db1": 11, "db2": 12, "db3": 13}
NODES, DATABASES, OBJECTS = ["mail1", "mail2"], ["db1", "db2"], "db3"
DATA = "/var/lib/postgresql/posta"
PASSWORD = "seven blue lamps"
ACCOUNTS = [f"user{number}@example.test" for number in range(8)]
# What the test adds to the configuration: where mail for elsewhere goes, and that one client is all the world.
MORE = f"""
[limits]
sessions-per-client = 0
sessions-per-account = 0
failed-logins = 0

[relay]
smarthost = "{WORLD}:{SINK}"
tls = "none"
networks = ["{WORLD}/32"]
retry = ["1s"]

[[listen]]
protocol = "pop3"
address = "0.0.0.0:1110"
tls = "none"
"""


def base():
    """Returns a layer with the packages of the document. Raises RuntimeError where they cannot be had."""
    packages, rest = cluster_document.packages()
    layer = peers.Peer([*packages, "libfaketime"])
    cache = os.path.join(peers.ARCHIVES, "pip")
    os.makedirs(cache, exist_ok=True)
    layer.mount(cache, "/root/.cache/pip")
    for command in rest:
        print(f"# {command}", flush=True)
        layer.run("/bin/sh", "-c", f"export HOME=/root PATH={cluster_machines.PATH}; {command}")
    return layer


class Node:
    """A node that runs Posta."""

    def __init__(self, machine):
        self.machine, self.name, self.address = machine, machine.name, machine.address
        self.unit = machine.unit("posta")


class World:
    """Everything: the machines, and the load."""

    def __init__(self, layer, program):
        self.machines = {}
        for name, number in NUMBERS.items():
            machine = Machine(layer, name, number)
            machine.write("/etc/hosts", f"127.0.0.1 localhost {name}\n")
            machine.write("/etc/hostname", f"{name}\n")
            self.machines[name] = machine
        for name in NODES:
            os.makedirs(self.machines[name].path("/root"), exist_ok=True)
            shutil.copy(program, self.machines[name].path("/root/posta"))
        for name in DATABASES:
            # A file system of its own, which the test can fill.
            place = self.machines[name].path("/var/lib/postgresql")
            peers.call("mount", "-t", "tmpfs", "-o", "size=3G,mode=755", "tmpfs", place)
            shutil.chown(place, "postgres", "postgres")
        self.follower = cluster_document.Follower(self.machines)
        try:
            self.follower.follow()
        except BaseException:
            print(self.told(), flush=True)
            raise
        self.nodes = [Node(self.machines[name]) for name in NODES]
        self.loop = Loop()
        self.doors = [Door(address, self.machines[name].address) for address, name in zip(DOORS, DATABASES)]
        for door in self.doors:
            self.loop.run(door.start())
        # What the body of each message has to be, by its name.
        self.sums = {}
        self.sink = Sink(WORLD, self.sums)
        self.loop.run(self.sink.start())
        self.configure()
        self.faults = []

    def configure(self):
        """Adds what the test needs. The second node gets to the databases through the doors."""
        second = self.machines["mail2"]
        hosts = second.read("/etc/hosts")
        for address, name in zip(DOORS, DATABASES):
            hosts = hosts.replace(self.machines[name].address, address)
        second.write("/etc/hosts", hosts)
        for node in self.nodes:
            path = "/etc/posta/posta.toml"
            node.machine.write(path, node.machine.read(path) + MORE)
            node.machine.run("systemctl restart posta")
        for account in ACCOUNTS:
            self.nodes[0].machine.run(f"echo '{PASSWORD}' | posta account add {account} --password-stdin")

    def load(self, each, rate):
        self.senders = Senders(self.nodes, ACCOUNTS, each, rate, self.sums)
        self.readers = Readers(self.nodes, ACCOUNTS, PASSWORD, self.sums)
        self.senders.start(self.loop)
        self.readers.start(self.loop)

    # The object store.

    def objects(self):
        return self.machines[OBJECTS].unit("seaweedfs")

    def has_objects(self):
        """Returns whether the object store answers."""
        try:
            with urllib.request.urlopen(f"http://{self.machines[OBJECTS].address}:8333/status", timeout=1):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def refuses_large(self, fault):
        """Returns whether each node has refused a large message since this fault began."""
        refused = {node for at, node, _, was_large in self.senders.refused if was_large and at > fault.began}
        return len(refused) == len(self.nodes)

    # The databases.

    def patroni(self, name):
        """Returns what Patroni on a machine says of it, or None."""
        try:
            address = f"http://{self.machines[name].address}:8008/patroni"
            with urllib.request.urlopen(address, timeout=1) as said:
                return json.load(said)
        except urllib.error.HTTPError as said:
            return json.loads(said.read() or b"null")
        except (OSError, ValueError):
            return None

    def has_lock(self, name):
        """Returns whether Patroni on a machine has the lock of the primary."""
        try:
            with urllib.request.urlopen(f"http://{self.machines[name].address}:8008/leader", timeout=1) as said:
                return said.status == 200
        except OSError:
            return False

    def primary(self):
        """Returns the name of the machine that is the primary, or None."""
        for name in DATABASES:
            said = self.patroni(name)
            if said and said.get("role") in ("primary", "master") and said.get("state") == "running":
                return name
        return None

    def standby(self):
        return next(name for name in DATABASES if name != self.primary())

    def is_whole(self):
        """Returns whether there are a primary and a synchronous standby."""
        primary = self.primary()
        if primary is None:
            return False
        (other,) = [name for name in DATABASES if name != primary]
        said = self.patroni(other)
        if not (said and said.get("sync_standby") and said.get("state") in ("running", "streaming")):
            return False
        return self.psql(primary, "SELECT sync_state FROM pg_stat_replication", check=False) == "sync"

    def stays_whole(self, seconds=6):
        """The same for longer than Patroni takes to look: right after a restart it may still believe what was before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.is_whole():
                return False
            time.sleep(0.5)
        return True

    def becomes_whole(self, seconds):
        """Returns whether there are a primary and a standby again within this time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.stays_whole():
                return True
            time.sleep(0.2)
        return False

    def psql(self, name, sql, check=True, seconds=60):
        command = f"cd / && runuser -u postgres -- psql -At -d posta -c \"{sql}\""
        return self.machines[name].run(command, check=check, seconds=seconds).strip()

    def takes_changes(self):
        """Returns the name of a database that takes changes, whatever Patroni says."""
        for name in DATABASES:
            if self.postmaster(name) and self.psql(name, "SHOW transaction_read_only", check=False, seconds=20) == "off":
                return name
        return None

    def postmaster(self, name):
        """Returns the process id of a running PostgreSQL, or None."""
        try:
            number = int(self.machines[name].read(f"{DATA}/postmaster.pid").splitlines()[0])
            os.kill(number, 0)
            return number
        except (OSError, ValueError, IndexError):
            return None

    def processes(self, name):
        """Returns the ids of PostgreSQL's processes on a machine, the first of all before its children."""
        first = self.postmaster(name)
        if first is None:
            return []
        children = []
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == first:
                children.append(int(entry))
        return [first, *children]

    def kill_database(self, name, number=signal.SIGKILL):
        for process in self.processes(name):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    # Waiting.

    def wait(self, what, is_so, seconds):
        until = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > until:
                raise AssertionError(f"{what}: not within {seconds} s\n{self.told()}")
            time.sleep(0.2)

    def serves(self, since):
        """Returns the nodes that have acknowledged a message since then, each with the time that took."""
        return first_after(since, self.senders.acknowledged)

    def takes_large(self, since):
        """The same of large messages."""
        return first_after(since, self.senders.large)

    def told(self):
        """What everybody says of themselves, for a failure's report."""
        texts = []
        for machine in self.machines.values():
            for unit in machine.units.values():
                texts.append(f"== {unit.name} on {machine.name}\n{unit.told()}")
        return "\n".join(texts)

    def lines_about(self, word):
        """What the nodes wrote that has this word, for a failure's report."""
        texts = []
        for node in self.nodes:
            with open(node.unit.log, encoding="utf-8", errors="replace") as file:
                texts += [f"{node.name}: {line.rstrip()}" for line in file if word in line]
        return "\n".join(texts)

    def count(self, table):
        name = self.takes_changes()
        return int(self.psql(name, f"SELECT count(*) FROM posta.{table}")) if name else None


def first_after(since, times):
    """Returns the seconds to the first moment after this one, for each name that has such a moment."""
    found = {name: [moment for moment in all_[-2000:] if moment > since] for name, all_ in times.items()}
    return {name: later[0] - since for name, later in found.items() if later}
