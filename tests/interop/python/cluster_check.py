"""What must hold after the faults: every acknowledged message is in exactly one place."""

import asyncio
import hashlib
import statistics
import time
from collections import Counter

from cluster_load import Pop3

# Messages that are fetched at a time.
PIECE = 50
# The time in which a node settles what the sink acknowledged, if nothing is in its way, in seconds.
SETTLE = 5
# What may be in the way of a fault after its end: connections that have to be made again, in seconds.
AFTER = 15


class Fault:
    """Something that happened, from its beginning until all was well again. The nodes of which senders may lose connections
    are `cut`; what those in `doubles` relay may be relayed again. `over` is when the cause was gone."""

    def __init__(self, name):
        self.name, self.cut, self.doubles = name, set(), set()
        self.began = time.monotonic()
        self.over = self.ended = None
        self.back = {}
        # What went wrong while it was carried out.
        self.problem = None

    def covers(self, moment, before=0.0, after=0.0):
        ended = self.ended if self.ended is not None else time.monotonic()
        return self.began - before <= moment <= ended + after


async def collect(address, account, password):
    """Fetches a whole mailbox. Returns the messages: unique-id, name, and whether the content is whole."""
    session, reply = await Pop3.login(address, account, password)
    if session is None:
        raise AssertionError(f"{account}: {reply}")
    listed = [line.split(" ", 1) for line in await session.listing("UIDL")]
    found = []
    for start in range(0, len(listed), PIECE):
        piece = listed[start : start + PIECE]
        for (_, unique), lines in zip(piece, await session.many([f"RETR {number}" for number, _ in piece])):
            end = lines.index("")
            fields = dict(line.split(": ", 1) for line in lines[:end] if ": " in line and line[0] not in " \t")
            body = "".join(f"{line}\r\n" for line in lines[end + 1 :]).encode()
            is_whole = hashlib.sha256(body).hexdigest()[:32] == fields.get("X-Sum")
            found.append((unique, fields.get("Subject"), is_whole))
    session.close()
    return found


class Checker:
    """Looks for what was lost, doubled or damaged. `problems` is what is wrong."""

    def __init__(self, senders, sink, readers, faults):
        self.senders, self.sink, self.readers, self.faults = senders, sink, readers, faults
        self.problems = list(readers.problems)
        self.figures = {}

    def check(self, loop, node, password, queued):
        mailboxes = {
            account: loop.run(collect(node.address, account, password), 600) for account in self.senders.accounts
        }
        self.check_mailboxes(mailboxes)
        self.check_relayed(queued)
        self.check_conduct()
        return not self.problems

    def complain(self, what, cases):
        if cases:
            shown = ", ".join(str(case) for case in cases[:5])
            self.problems.append(f"{len(cases)} {what}: {shown}")

    def check_mailboxes(self, mailboxes):
        lost, doubled, damaged, renamed = [], [], [], []
        counts = {}
        for account, found in mailboxes.items():
            ids = Counter(unique for unique, *_ in found)
            self.complain(f"unique-ids twice in {account}", [unique for unique, count in ids.items() if count > 1])
            counts[account] = Counter(name for _, name, _ in found)
            doubled += [(account, name) for name, count in counts[account].items() if count > 1]
            damaged += [(account, name) for _, name, is_whole in found if not is_whole]
            now = {unique: f"Subject: {name}" for unique, name, _ in found}
            renamed += [unique for unique, name in self.readers.known[account].items() if now.get(unique) != name]
        wanted = 0
        for transaction in self.senders.done:
            for to in transaction.to:
                if to in counts:
                    wanted += 1
                    if not counts[to][transaction.id]:
                        lost.append((to, transaction.id, transaction.node, transaction.reply))
        self.complain("messages were acknowledged and are in no mailbox", lost)
        self.complain("messages are in a mailbox twice", doubled)
        self.complain("messages are damaged", damaged)
        self.complain("unique-ids changed or vanished", renamed)
        self.figures["in mailboxes"] = wanted

    def check_relayed(self, queued):
        lost, doubled, unexplained = [], 0, []
        relayed = 0
        for transaction in self.senders.done:
            for to in transaction.to:
                if to in self.senders.accounts:
                    continue
                relayed += 1
                got = self.sink.got.get((transaction.id, to), [])
                if not got and transaction.reply.split()[-1] not in queued:
                    lost.append((transaction.id, transaction.node, transaction.reply))
        for key, got in self.sink.got.items():
            doubled += len(got) - 1
            for moment, node in got[:-1]:
                if not self.explains(moment, node):
                    unexplained.append((key, [(round(at, 1), who) for at, who in got]))
        self.complain("messages for elsewhere were acknowledged and are nowhere", lost)
        self.complain("messages were relayed again without a reason", unexplained)
        self.figures["relayed"] = relayed
        self.figures["relayed twice in the window that SMTP has"] = doubled

    def explains(self, moment, address):
        """Returns whether the node died or was cut off between the sink's acknowledgement and the settlement: only then
        may a message be relayed again."""
        names = {node.name for node in self.senders.nodes if node.address == address}
        return any(fault.covers(moment, SETTLE) and (fault.cut | fault.doubles) & names for fault in self.faults)

    def check_conduct(self):
        """A node that is there answers each sender, and refuses for now only."""
        def is_cut(moment, node):
            return any(node in fault.cut and fault.covers(moment, 1, AFTER) for fault in self.faults)

        def is_hit(moment):
            return any(fault.covers(moment, 1, AFTER) for fault in self.faults)

        lost = [(round(at, 1), node, *rest) for at, node, *rest in self.senders.lost if not is_cut(at, node)]
        self.complain("connections of senders were lost without a reply", lost)
        lost = [(round(at, 1), node, *rest) for at, node, *rest in self.readers.lost if not is_cut(at, node)]
        self.complain("sessions of readers were lost without a reply", lost)
        refused = [(at, node, reply) for node, all_ in self.senders.refused.items() for at, reply in all_]
        self.complain("refusals are for good", [it for it in refused if not it[2].startswith("4")])
        self.complain("refusals have no cause", [it for it in refused if not is_hit(it[0])])
        wrong = [it for it in self.readers.refused if not it[2].startswith("-ERR [SYS/TEMP]")]
        self.complain("logins were refused in other words than [SYS/TEMP]", wrong)
        self.complain("logins were refused without a cause", [it for it in self.readers.refused if not is_hit(it[0])])


def gaps(times, began, ended):
    """Returns the spans between acknowledgements, from the beginning to the end of the load, longest first."""
    points = [began, *sorted(times), ended]
    return sorted((after - before for before, after in zip(points, points[1:])), reverse=True)


def longest_gap(times, began, ended):
    """The longest time without an acknowledgement that touches this span."""
    points = sorted(times)
    inside = [moment for moment in points if began <= moment <= ended]
    before = [moment for moment in points if moment < began][-1:] or [began]
    after = [moment for moment in points if moment > ended][:1] or [ended]
    chain = [*before, *inside, *after]
    return max(b - a for a, b in zip(chain, chain[1:]))


def median(values):
    return statistics.median(values) if values else 0.0


