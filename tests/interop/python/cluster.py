"""A cluster under fire: python3 cluster.py POSTA short | long [--messages N] [--kills N] [--only NAME]

Sets up two nodes, a PostgreSQL under Patroni with a synchronous standby, three members of etcd and an object store as
docs/cluster.md says, word by word. While senders and readers are at work at both nodes, it breaks one thing after the other,
and waits each time until all is well again. At the end every acknowledged message must be in exactly one place, octet by
octet. With `--write FILE`, the figures go into the document. Exits with 0 only if all that is promised held, and with 77
where this machine lets nobody make such a cluster; it ends by itself after `--minutes` at the latest.
"""

import argparse
import faulthandler
import os
import random
import sys
import time

import cluster_faults
import cluster_machines
import cluster_world
import peers
from cluster_check import Checker
from cluster_report import Report

# The time for the queue to become empty by itself, in seconds.
DRAIN = 60
# The part of the time limit that is kept for what comes after the faults, in seconds.
ENDING = 300
# Services that are back within this time, in seconds, after the cause is gone.
BACK = 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("form", choices=["short", "long"])
    parser.add_argument("--messages", type=int, default=50_000, help="acknowledged messages of a long run, at least")
    parser.add_argument("--kills", type=int, default=30, help="faults of a long run that kill something, at least")
    parser.add_argument("--rate", type=float, default=45, help="messages a second")
    parser.add_argument("--only", help="the names of the faults, separated by commas")
    parser.add_argument("--without", default="", help="faults that are left out, likewise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=45, help="the time after which the run ends, whatever happens")
    parser.add_argument("--write", metavar="FILE", help="the document into which the figures go")
    return parser.parse_args()


class Phases:
    """Tells how long each part of the run took."""

    def __init__(self):
        self.began = self.last = time.monotonic()

    def done(self, what):
        now = time.monotonic()
        print(f"{now - self.began:6.0f} s  {what}, {now - self.last:.0f} s", flush=True)
        self.last = now


def run(world, faults, options, phases):
    world.load(each=4 if options.form == "short" else 8, rate=options.rate)
    began, until = time.monotonic(), phases.began + options.minutes * 60 - ENDING
    world.wait("the first messages", lambda: len(world.serves(began)) == len(world.takes_large(began)) == 2, 60)
    world.wait("there is a standby", world.stays_whole, 60)
    problems = fire(world, faults, began, until)
    wanted = 0 if options.form == "short" or options.only else options.messages
    while len(world.senders.done) < wanted and time.monotonic() < until:
        time.sleep(1)
    time.sleep(2)
    phases.done(f"{len(world.faults)} faults")
    world.senders.stop()
    world.readers.stop()
    ended = time.monotonic()
    phases.done("the load has ended")
    if not drain(world):
        problems.append(f"{world.count('item')} messages were still in the queue after {DRAIN} s")
    phases.done("the queue is empty")
    checker = Checker(world.senders, world.sink, world.readers, world.faults)
    checker.check(world.loop, world.nodes[1], cluster_world.PASSWORD)
    phases.done("everything was read")
    report = Report(world, checker, world.faults, began, ended)
    report.show()
    if len(world.senders.done) < wanted:
        problems.append(f"only {len(world.senders.done)} messages were acknowledged in the time that there was")
    problems += checker.problems
    for problem in problems:
        print(f"WRONG: {problem}")
    if problems:
        tell(world, checker)
    assert not problems, f"{len(problems)} promises were broken"
    if options.write:
        report.write(options.write, options.program, options.seed)


def fire(world, faults, began, until):
    """Carries the faults out. Returns what went wrong."""
    problems = []
    for number, inject in enumerate(faults, 1):
        time.sleep(2)
        if time.monotonic() > until:
            problems.append(f"there was time for {number - 1} of {len(faults)} faults only")
            break
        count = len(world.senders.done)
        print(f"{time.monotonic() - began:6.0f} s  {number:3}  {inject.__name__:30} {count:8} messages", flush=True)
        fault = cluster_faults.carry_out(world, inject)
        if fault.problem:
            problems.append(f"{fault.name}: {fault.problem.splitlines()[0]}")
        problems += [
            f"{fault.name}: {name} was back after {seconds:.0f} s" for name, seconds in fault.back.items() if seconds > BACK
        ]
    return problems


def drain(world):
    """Waits until the queue is empty. Returns whether it is."""
    until = time.monotonic() + DRAIN
    while world.count("item") != 0 and time.monotonic() < until:
        time.sleep(0.5)
    return world.count("item") == 0


def tell(world, checker):
    """Says what is known of what went wrong."""
    print(world.told())
    ids = {transaction.id: transaction.reply.split()[-1] for transaction in world.senders.done}
    for name in checker.repeated[:5]:
        print(f"== what the nodes said of {name}\n{world.lines_about(ids.get(name, name))}")


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
    # Whatever is waited for in vain: where, and the end.
    faulthandler.dump_traceback_later(options.minutes * 60, exit=True)
    random.seed(options.seed)
    phases = Phases()
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
    phases.done("the packages are installed")
    world = cluster_world.World(layer, os.path.abspath(options.program))
    phases.done("docs/cluster.md was followed word by word")
    faults = cluster_faults.plan(options.form, options.kills, options.seed, options.only, options.without)
    try:
        run(world, faults, options, phases)
    except BaseException:
        print(world.told(), flush=True)
        raise
    finally:
        sys.stdout.flush()
    phases.done("all held")


if __name__ == "__main__":
    main()
