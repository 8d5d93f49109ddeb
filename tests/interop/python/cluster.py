"""A cluster under fire: python3 cluster.py POSTA short | long [--messages N] [--faults N] [--only NAME]

Sets up two nodes, a PostgreSQL under Patroni with a synchronous standby, and three members of etcd as docs/cluster.md
says, word by word. While senders and readers are at work at both nodes, it breaks one thing after the other, and waits
each time until all is well again. At the end every acknowledged message must be in exactly one place. Exits with 77 where
this machine lets nobody make such a cluster.
"""

import argparse
import os
import random
import subprocess
import sys
import time

import cluster_faults
import cluster_machines
import cluster_world
import peers
from cluster_check import Checker, gaps, longest_gap

# The time for the queue to become empty by itself, and then until it has to be, in seconds.
PATIENCE, DRAIN = 40, 120
# Services that are back within this time, in seconds, after the cause is gone.
BACK = 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("form", choices=["short", "long"])
    parser.add_argument("--messages", type=int, default=50_000, help="acknowledged messages of a long run, at least")
    parser.add_argument("--faults", type=int, default=32, help="faults of a long run, at least")
    parser.add_argument("--rate", type=float, default=0, help="messages a second")
    parser.add_argument("--only", help="the names of the faults, separated by commas")
    parser.add_argument("--without", default="", help="faults that are left out, likewise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


def plan(options):
    """Returns the faults in their order."""
    if options.only:
        return [cluster_faults.ALL[name] for name in options.only.split(",")]
    if options.form == "short":
        return [cluster_faults.ALL[name] for name in cluster_faults.SHORT]
    random_, found = random.Random(options.seed), []
    while len(found) < options.faults:
        turn = [fault for name, fault in cluster_faults.ALL.items() if name not in options.without.split(",")]
        random_.shuffle(turn)
        found += turn
    return found


def run(world, faults, options):
    is_short = options.form == "short"
    world.load(each=4 if is_short else 8, rate=options.rate or (60 if is_short else 120))
    began = time.monotonic()
    world.wait("the first messages", lambda: len(world.serves(began)) == 2, 60)
    world.wait("there is a standby", world.stays_whole, 60)
    rows = []
    for number, inject in enumerate(faults, 1):
        time.sleep(2)
        print(f"{time.monotonic() - began:6.0f} s  {number:3}  {inject.__name__}", flush=True)
        fault = cluster_faults.carry_out(world, inject)
        rows.append(fault)
    while options.form == "long" and len(world.senders.done) < options.messages:
        time.sleep(1)
    time.sleep(2)
    world.senders.stop()
    world.readers.stop()
    ended = time.monotonic()
    drained = time.monotonic()
    drain(world)
    print(f"{time.monotonic() - drained:.0f} s until the queue was empty")
    report(world, rows, began, ended)
    checker = Checker(world.senders, world.sink, world.readers, rows)
    is_well = checker.check(world.loop, world.nodes[1], cluster_world.PASSWORD, set())
    for what, count in checker.figures.items():
        print(f"{count:8} {what}")
    late = [f"{fault.name}: {name} was back after {seconds:.0f} s" for fault in rows for name, seconds in fault.back.items() if seconds > BACK]
    failed = [f"{fault.name}: {fault.problem.splitlines()[0]}" for fault in rows if fault.problem]
    problems = checker.problems + late + failed
    for problem in problems:
        print(f"WRONG: {problem}")
    if not is_well or late:
        print(world.told())
    assert not problems, f"{len(problems)} promises were broken"


def drain(world):
    """Waits until the queue is empty. Nobody works any more on items whose node died; the test ends their leases, rather than
    wait for that."""
    until = time.monotonic() + PATIENCE
    while world.count("item") and time.monotonic() < until:
        time.sleep(0.5)
    if world.count("item"):
        world.psql(world.takes_changes(), "UPDATE posta.item SET lease = 1, wake = 1 WHERE lease IS NOT NULL")
    world.wait("the queue is empty", lambda: world.count("item") == 0, DRAIN)


def report(world, rows, began, ended):
    senders = world.senders
    print("fault                            took  without service (all, mail1, mail2)  back after  refused  lost")
    for fault in rows:
        times = [senders.acknowledged[node.name] for node in world.nodes]
        longest = [longest_gap(of, fault.began, fault.ended) for of in [sum(times, []), *times]]
        refused = sum(fault.covers(at) for all_ in senders.refused.values() for at, _ in all_)
        lost = sum(fault.covers(at, 0, 2) for at, *_ in senders.lost)
        shown = " ".join(f"{value:8.1f}" for value in longest)
        back = max(fault.back.values(), default=0)
        print(f"{fault.name:30} {fault.ended - fault.began:5.0f} s  {shown}  {back:20.1f} {refused:8} {lost:5}")
    print(f"{len(senders.done):8} messages were acknowledged in {ended - began:.0f} s, {len(rows)} faults")
    everywhere = sum(senders.acknowledged.values(), [])
    print(f"{gaps(everywhere, began, ended)[0]:8.1f} s was the longest time without service of all nodes together")
    for name, times in senders.acknowledged.items():
        print(f"{gaps(times, began, ended)[0]:8.1f} s was the longest time without service of {name}")
    print(f"{world.readers.looks:8} looks into mailboxes, {len(world.readers.refused)} refused for now")


def be_init():
    """In a namespace of its own, the first process inherits those whose parents died, and has to take leave of them: Patroni
    believes that a PostgreSQL lives whose process is still there. Returns in a child that does the work."""
    if os.getpid() != 1:
        return
    child = os.fork()
    while child:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main():
    options = arguments()
    be_init()
    if not peers.possible():
        print("no root of its own can be made here: overlay mounts are not allowed")
        sys.exit(77)
    try:
        layer = cluster_world.base()
    except RuntimeError as problem:
        print(f"what a cluster needs cannot be installed: {str(problem)[-600:]}")
        sys.exit(77)
    cluster_machines.leave_network()
    cluster_machines.network()
    began = time.monotonic()
    world = cluster_world.World(layer, os.path.abspath(options.program))
    print(f"docs/cluster.md was followed word by word, in {time.monotonic() - began:.0f} s", flush=True)
    try:
        run(world, plan(options), options)
    except BaseException:
        print(world.told(), flush=True)
        raise
    finally:
        sys.stdout.flush()


if __name__ == "__main__":
    main()
