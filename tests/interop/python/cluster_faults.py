"""What is done to a cluster. Each function breaks one thing, mends what no service manager would mend, and returns."""

import os
import random
import signal
import time

from cluster_check import Fault

# How long the cluster may take until it is whole again, the standby included, in seconds.
WHOLE = 180
# How long a standby may take to come back by itself, before it is copied anew.
REJOIN = 75
# How long the nodes may take to serve again; the promise is checked in cluster.py.
SERVE = 120
CONTROL = "/opt/patroni/bin/patronictl -c /etc/patroni/posta.yml"
# A clock that is wrong, in seconds.
WRONG = 3600


def plan(form, kills, seed, only, without):
    """Returns the faults in their order: those of the short form, those that are named, or all of them, and those that kill
    something again and again, until there are enough."""
    if only:
        return [ALL[name] for name in only.split(",")]
    if form == "short":
        return [ALL[name] for name in SHORT]
    random_ = random.Random(seed)
    known = [name for name in ALL if name not in without.split(",")]
    killing = [name for name in known if name in KILLING]
    again = list(killing)
    while len(again) < kills:
        again += random_.sample(killing, min(len(killing), kills - len(again)))
    turn = [name for name in known if name not in KILLING] + again
    random_.shuffle(turn)
    return [ALL[name] for name in turn]


def carry_out(world, inject):
    """Carries out a fault, and waits until everything is as before."""
    fault = Fault(inject.__name__)
    world.faults.append(fault)
    try:
        inject(world, fault)
    except (AssertionError, RuntimeError) as problem:
        # The rest of the faults is of interest all the same.
        fault.problem = str(problem)
        print(f"WRONG: {fault.name}: {fault.problem}", flush=True)
        mend(world)
    world.wait(f"{fault.name}: a database takes changes", world.takes_changes, WHOLE)
    fault.over = time.monotonic()
    world.wait(f"{fault.name}: both nodes serve", lambda: len(world.serves(fault.over)) == 2, SERVE)
    fault.back = world.serves(fault.over)
    if fault.spares_small:
        world.wait(f"{fault.name}: both nodes take large mail", lambda: len(world.takes_large(fault.over)) == 2, SERVE)
        fault.back = {f"large mail at {name}": seconds for name, seconds in world.takes_large(fault.over).items()}
    fault.copied = not world.becomes_whole(REJOIN)
    if fault.copied:
        # What docs/cluster.md says of a standby that does not come back. Mail is served meanwhile.
        standby = world.standby()
        print(f"{fault.name}: {standby} cannot follow, and is copied anew", flush=True)
        world.machines[standby].run(f"{CONTROL} reinit posta {standby} --force")
        world.wait(f"{fault.name}: there is a standby", world.stays_whole, WHOLE)
    fault.ended = time.monotonic()
    return fault


def mend(world):
    """Ends whatever a fault that failed has left."""
    for machine in world.machines.values():
        machine.mend()
        for unit in machine.units.values():
            unit.is_held = False
            unit.environment = {}
            unit.signal(signal.SIGCONT)
    for door in world.doors:
        world.loop.loop.call_soon_threadsafe(door.heal)
    for name in ("db1", "db2"):
        world.kill_database(name, signal.SIGCONT)
        world.machines[name].run("rm -f /var/lib/postgresql/filler")
        world.machines[name].run(f"{CONTROL} resume posta", check=False)


def hit(fault, *nodes):
    """Notes that senders to these nodes may lose their connections, and that their items may be relayed again."""
    ended(fault, *nodes)
    repeats(fault, *nodes)


def ended(fault, *nodes):
    """Notes that senders to these nodes may lose their connections."""
    fault.cut |= {node.name for node in nodes}


def repeats(fault, *nodes):
    """Notes that what these nodes relay may be relayed again: they cannot tell the database in time what became of it."""
    fault.repeats |= {node.name for node in nodes}


def kill(fault, unit):
    fault.killed += 1
    unit.signal(signal.SIGKILL)


def kill_database(world, fault, name):
    fault.killed += 1
    world.kill_database(name)


def node_killed(world, fault):
    node = random.choice(world.nodes)
    hit(fault, node)
    kill(fault, node.unit)
    time.sleep(0.5)


def both_nodes_killed(world, fault):
    hit(fault, *world.nodes)
    for node in world.nodes:
        kill(fault, node.unit)
    time.sleep(0.5)


def node_stopped(world, fault):
    """A node that stands still for half a minute, and does not know."""
    node = random.choice(world.nodes)
    hit(fault, node)
    node.unit.signal(signal.SIGSTOP)
    time.sleep(30)
    node.unit.signal(signal.SIGCONT)


def node_cut_off(world, fault):
    """The network of a node is gone."""
    node = random.choice(world.nodes)
    hit(fault, node)
    node.machine.cut()
    time.sleep(25)
    node.machine.mend()


def node_without_database(world, fault):
    """A node is cut off from the databases, while it still reaches the rest of the world. After 15 seconds the other takes
    over what it had claimed, which is all that may be relayed twice."""
    repeats(fault, world.nodes[1])
    for door in world.doors:
        door.is_mute = True
    time.sleep(25)
    for door in world.doors:
        world.loop.loop.call_soon_threadsafe(door.heal)


def node_clock_wrong(world, fault):
    """The clock of a node is an hour ahead, then right again. Nothing may be relayed twice: what a node has claimed is its own
    by the clock of the database."""
    node = random.choice(world.nodes)
    ended(fault, node)
    library = node.machine.run("ls /usr/lib/*/faketime/libfaketime.so.1").strip()
    node.unit.environment = {
        "LD_PRELOAD": library, "FAKETIME": f"+{WRONG}s", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"
    }
    node.unit.do("restart")
    time.sleep(15)
    node.unit.environment = {}
    node.unit.do("restart")


def nodes_upgraded(world, fault):
    """One node after the other, as docs/cluster.md says. A node that ends in good order leaves nothing open."""
    ended(fault, *world.nodes)
    world.follower.follow("upgrading")


def primary_killed(world, fault):
    """PostgreSQL dies; Patroni lives, and starts it again or promotes the standby."""
    kill_database(world, fault, world.primary())
    time.sleep(1)


def primary_machine_dies(world, fault):
    """PostgreSQL and Patroni die, and stay away until the standby has been promoted."""
    primary = world.primary()
    unit = world.machines[primary].unit("patroni")
    unit.is_held = True
    kill(fault, unit)
    kill_database(world, fault, primary)
    world.wait("the standby is promoted", lambda: world.primary() not in (None, primary), 90)
    unit.is_held = False


def primary_cut_off(world, fault):
    """The network of the primary is gone: nobody hears that its connections are of no use."""
    primary = world.primary()
    machine = world.machines[primary]
    machine.cut()
    world.wait("the standby is promoted", lambda: world.primary() not in (None, primary), 90)
    began = time.monotonic()
    world.wait("the nodes find the new primary", lambda: len(world.serves(began)) == 2, 60)
    machine.mend()


def standby_dies(world, fault):
    """The machine of the standby dies: commits wait for it, until Patroni lets the primary go on alone."""
    standby = world.standby()
    unit = world.machines[standby].unit("patroni")
    unit.is_held = True
    kill(fault, unit)
    kill_database(world, fault, standby)
    time.sleep(20)
    unit.is_held = False


def primary_frozen(world, fault):
    """PostgreSQL stands still: connections stay, and nothing is answered."""
    primary = world.primary()
    stopped = world.processes(primary)
    for process in stopped:
        signal_process(process, signal.SIGSTOP)
    time.sleep(15)
    for process in stopped:
        signal_process(process, signal.SIGCONT)


def patroni_killed(world, fault):
    """Patroni dies on the primary, and is started again."""
    kill(fault, world.machines[world.primary()].unit("patroni"))
    time.sleep(5)


def patroni_stays_dead(world, fault):
    """Patroni dies on the primary, whose PostgreSQL goes on while the standby is promoted: there are two that take changes,
    of which the old one has no standby, so that its commits wait."""
    primary = world.primary()
    unit = world.machines[primary].unit("patroni")
    unit.is_held = True
    kill(fault, unit)
    world.wait("the standby is promoted", lambda: world.primary() not in (None, primary), 90)
    began = time.monotonic()
    world.wait("the nodes find the new primary", lambda: len(world.serves(began)) == 2, 60)
    unit.is_held = False


def etcd_member_killed(world, fault):
    unit = world.machines[random.choice(["db1", "db2", "db3"])].unit("etcd")
    unit.is_held = True
    kill(fault, unit)
    time.sleep(15)
    unit.is_held = False


def promoted_by_script(world, fault):
    """Patroni is told to keep out; the machine of the primary dies, and a script promotes the synchronous standby. Patroni of the
    old primary has to stay away until the new one has the lock: it would start the old one as the primary again."""
    primary, standby = world.primary(), world.standby()
    world.machines[standby].run(f"{CONTROL} pause posta --wait")
    unit = world.machines[primary].unit("patroni")
    unit.is_held = True
    kill(fault, unit)
    kill_database(world, fault, primary)
    promote = "/usr/lib/postgresql/15/bin/pg_ctl promote -w -D /var/lib/postgresql/posta"
    world.machines[standby].run(f"cd / && runuser -u postgres -- {promote}")
    world.wait("Patroni has seen it", lambda: world.has_lock(standby), 90)
    world.machines[standby].run(f"{CONTROL} resume posta --wait")
    unit.is_held = False


def failed_over_on_purpose(world, fault):
    """The switchover of docs/cluster.md, with the roles as they are."""
    to = world.standby()
    world.machines[to].run(f"{CONTROL} switchover posta --candidate {to} --force")
    world.wait("the standby is promoted", lambda: world.primary() == to, 60)


def database_restarted(world, fault):
    name = world.primary()
    world.machines[name].run(f"{CONTROL} restart posta {name} --force")


def connections_ended(world, fault):
    """The database ends all connections of the nodes, again and again."""
    for _ in range(5):
        world.psql(world.primary(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'posta'")
        time.sleep(1)


def answers_lost(world, fault):
    """Connections break between a request and its answer, those to COMMIT among them."""
    before = sum(door.lost for door in world.doors)
    for door in world.doors:
        door.loses = 0.03
    time.sleep(15)
    for door in world.doors:
        door.loses = 0
    assert sum(door.lost for door in world.doors) > before, "nothing was lost"


def database_slow(world, fault):
    for door in world.doors:
        door.delay = 0.3
    time.sleep(12)
    for door in world.doors:
        door.delay = 0


def tables_locked(world, fault):
    """Somebody holds the tables."""
    primary = world.primary()
    world.psql(primary, "BEGIN; LOCK TABLE posta.content IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(8); COMMIT")


def database_read_only(world, fault):
    primary = world.primary()
    set_ = "ALTER SYSTEM SET default_transaction_read_only = on"
    world.psql(primary, set_)
    world.psql(primary, "SELECT pg_reload_conf()")
    time.sleep(12)
    # Who would set it back may not write either, but for a word of its own.
    command = "cd / && PGOPTIONS='-c default_transaction_read_only=off' runuser -u postgres -- psql -At -d posta -c "
    world.machines[primary].run(command + "'ALTER SYSTEM RESET default_transaction_read_only'")
    world.psql(primary, "SELECT pg_reload_conf()", check=False)


def database_full(world, fault):
    """The file systems of both databases are full."""
    fillers = []
    for name in ("db1", "db2"):
        machine = world.machines[name]
        filler = machine.path("/var/lib/postgresql/filler")
        fillers.append(filler)
        machine.run("dd if=/dev/zero of=/var/lib/postgresql/filler bs=64k status=none", check=False)
    time.sleep(15)
    for name in ("db1", "db2"):
        world.machines[name].run("rm /var/lib/postgresql/filler")


def objects_killed(world, fault):
    """The object store dies, and stays away until large mail was refused at both nodes. Small mail goes on."""
    fault.spares_small = True
    unit = world.objects()
    unit.is_held = True
    kill(fault, unit)
    world.wait("large mail is refused", lambda: world.refuses_large(fault), 60)
    time.sleep(10)
    unit.is_held = False
    world.wait("the object store is back", world.has_objects, 60)


def objects_stopped(world, fault):
    """The object store stands still: its connections stay, and nothing is answered. Small mail goes on."""
    fault.spares_small = True
    unit = world.objects()
    unit.signal(signal.SIGSTOP)
    world.wait("large mail is refused", lambda: world.refuses_large(fault), 90)
    time.sleep(5)
    unit.signal(signal.SIGCONT)
    world.wait("the object store is back", world.has_objects, 60)


def objects_cut_off(world, fault):
    """The network of the object store is gone, and with it a member of etcd. Small mail goes on."""
    fault.spares_small = True
    world.machines["db3"].cut()
    world.wait("large mail is refused", lambda: world.refuses_large(fault), 90)
    world.machines["db3"].mend()
    world.wait("the object store is back", world.has_objects, 60)


def node_killed_without_objects(world, fault):
    """A node has to start while the object store is away: small mail does not wait for that."""
    fault.spares_small = True
    unit, node = world.objects(), random.choice(world.nodes)
    unit.is_held = True
    kill(fault, unit)
    time.sleep(2)
    hit(fault, node)
    kill(fault, node.unit)
    # What it has said already may still arrive.
    time.sleep(0.2)
    killed = time.monotonic()
    world.wait("the node serves without the object store", lambda: node.name in world.serves(killed), 30)
    world.wait("large mail is refused", lambda: world.refuses_large(fault), 60)
    unit.is_held = False
    world.wait("the object store is back", world.has_objects, 60)


def signal_process(process, number):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


ALL = {
    function.__name__: function
    for function in (
        node_killed, both_nodes_killed, node_stopped, node_cut_off, node_without_database, node_clock_wrong, nodes_upgraded,
        primary_killed, primary_machine_dies, primary_cut_off, standby_dies, primary_frozen, patroni_killed, patroni_stays_dead,
        etcd_member_killed, promoted_by_script, failed_over_on_purpose, database_restarted, connections_ended, answers_lost,
        database_slow, tables_locked, database_read_only, database_full,
        objects_killed, objects_stopped, objects_cut_off, node_killed_without_objects,
    )
}

# Those that kill something as `kill -9` does.
KILLING = [
    "node_killed", "both_nodes_killed", "primary_killed", "primary_machine_dies", "standby_dies", "patroni_killed",
    "patroni_stays_dead", "etcd_member_killed", "promoted_by_script", "objects_killed", "node_killed_without_objects",
]

# Those of the short form.
SHORT = ["node_killed", "answers_lost", "objects_killed", "primary_machine_dies", "objects_stopped", "failed_over_on_purpose"]
