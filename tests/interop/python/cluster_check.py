"""What must hold after the faults: every acknowledged message is in exactly one place."""

import time
from collections import Counter

from cluster_load import Pop3, content_of, is_large

# Messages that are fetched at a time.
PIECE = 50
# The time in which a node settles what the sink acknowledged, if nothing is in its way, in seconds.
SETTLE = 5
# What may be in the way of a fault after its end: connections that have to be made again, in seconds.
AFTER = 15
# While the object store is away, small mail goes on: at each node, within this time, in seconds.
SMALL_GOES_ON = 5


class Fault:
    """Something that happened, from its beginning until all was well again. The nodes of which senders may lose connections
    are `cut`; what those in `repeats` relay may be relayed again. `over` is when the cause was gone."""

    def __init__(self, name):
        self.name, self.cut, self.repeats = name, set(), set()
        # Whether nothing but the object store is away, so that small mail goes on.
        self.spares_small = False
        # The services that were killed.
        self.killed = 0
        self.began = time.monotonic()
        self.over = self.ended = None
        self.back = {}
        # What went wrong while it was carried out.
        self.problem = None

    def covers(self, moment, before=0.0, after=0.0):
        ended = self.ended if self.ended is not None else time.monotonic()
        return self.began - before <= moment <= ended + after


async def collect(address, account, password):
    """Fetches a whole mailbox. Returns the messages: unique-id, name, and the sum of the body."""
    session, reply = await Pop3.login(address, account, password)
    if session is None:
        raise AssertionError(f"{account}: {reply}")
    listed = [line.split(" ", 1) for line in await session.listing("UIDL")]
    found = []
    for start in range(0, len(listed), PIECE):
        piece = listed[start : start + PIECE]
        for (_, unique), lines in zip(piece, await session.many([f"RETR {number}" for number, _ in piece])):
            found.append((unique, *content_of(lines)))
    session.close()
    return found


class Checker:
    """Looks for what was lost, doubled or damaged. `problems` is what is wrong."""

    def __init__(self, senders, sink, readers, faults):
        self.senders, self.sink, self.readers, self.faults = senders, sink, readers, faults
        self.problems = list(readers.problems)
        self.figures = {}
        # The names of messages that were relayed again without a reason.
        self.repeated = []

    def check(self, loop, node, password):
        mailboxes = {
            account: loop.run(collect(node.address, account, password), 300) for account in self.senders.accounts
        }
        self.figures["acknowledged"] = len(self.senders.done)
        self.figures["of these over 64 KiB"] = sum(transaction.is_large for transaction in self.senders.done)
        self.figures["lost"] = 0
        self.check_mailboxes(mailboxes)
        self.check_relayed()
        self.check_conduct()
        self.check_small()
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
            damaged += [(account, name) for _, name, total in found if total != self.senders.sums.get(name)]
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
        self.figures["lost"] += len(lost)
        self.figures["in mailboxes"] = wanted

    def check_relayed(self):
        lost, doubled, unexplained = [], 0, []
        relayed = 0
        for transaction in self.senders.done:
            for to in transaction.to:
                if to in self.senders.accounts:
                    continue
                relayed += 1
                got = self.sink.got.get((transaction.id, to), [])
                if not got:
                    lost.append((transaction.id, transaction.node, transaction.reply))
        for key, got in self.sink.got.items():
            doubled += len(got) - 1
            for moment, node in got[:-1]:
                if not self.explains(moment, node):
                    unexplained.append((key, [(round(at, 1), who) for at, who in got]))
                    self.repeated.append(key[0])
        self.complain("messages for elsewhere were acknowledged and are nowhere", lost)
        self.complain("messages were relayed again without a reason", unexplained)
        self.complain("messages were relayed and are damaged", self.sink.damaged)
        self.figures["lost"] += len(lost)
        self.figures["relayed"] = relayed
        self.figures["relayed twice in the window that SMTP has"] = doubled

    def explains(self, moment, address):
        """Returns whether the node died or was cut off between the sink's acknowledgement and the settlement: only then
        may a message be relayed again."""
        names = {node.name for node in self.senders.nodes if node.address == address}
        return any(fault.covers(moment, SETTLE) and fault.repeats & names for fault in self.faults)

    def check_conduct(self):
        """A node that is there answers each sender, and refuses for now only."""
        def is_cut(moment, node):
            return any(node in fault.cut and fault.covers(moment, 1, AFTER) for fault in self.faults)

        def is_hit(moment):
            return any(fault.covers(moment, 1, AFTER) for fault in self.faults)

        def is_spared(moment):
            return any(fault.spares_small and fault.covers(moment, 1, AFTER) for fault in self.faults)

        lost = [(round(at, 1), node, *rest) for at, node, *rest in self.senders.lost if not is_cut(at, node)]
        self.complain("connections of senders were lost without a reply", lost)
        readers = self.readers
        lost = [
            (round(at, 1), node, why)
            for at, node, why, was_large in readers.lost
            # What has begun and cannot go on can only be broken off.
            if not is_cut(at, node) and not (was_large and is_spared(at))
        ]
        self.complain("sessions of readers were lost without a reply", lost)
        refused = self.senders.refused
        self.complain("refusals are for good", [it for it in refused if not it[2].startswith("4")])
        self.complain("refusals have no cause", [it for it in refused if not is_hit(it[0])])
        wrong = [it for it in readers.refused if not it[2].startswith("-ERR [SYS/TEMP]")]
        self.complain("readers were refused in other words than [SYS/TEMP]", wrong)
        self.complain("readers were refused without a cause", [it for it in readers.refused if not is_hit(it[0])])

    def check_small(self):
        """Without the object store, small mail goes on; large mail is refused for now, which shows that the store was away."""
        for fault in self.faults:
            if not fault.spares_small:
                continue
            of_it = [it for it in self.senders.refused if fault.covers(it[0])]
            small = [it for it in of_it if not it[3]]
            self.complain(f"small messages were refused during {fault.name}", small)
            if len(small) == len(of_it):
                self.problems.append(f"{fault.name}: no large message was refused, so the object store was not away")
            looked = [it for it in self.readers.refused if fault.covers(it[0]) and not it[3]]
            self.complain(f"looks at small messages were refused during {fault.name}", looked)
            for node in self.senders.nodes:
                gap = longest_gap(self.senders.small(node.name), fault.began, fault.ended)
                if node.name not in fault.cut and gap > SMALL_GOES_ON:
                    self.problems.append(f"{fault.name}: {node.name} took no small mail for {gap:.1f} s")
            gap = longest_gap(self.relayed(), fault.began, fault.ended)
            if not fault.cut and gap > SMALL_GOES_ON:
                self.problems.append(f"{fault.name}: no small mail was relayed for {gap:.1f} s")

    def relayed(self):
        """Returns the times at which small messages were relayed, by whichever node claimed them."""
        return [moment for (name, _), got in self.sink.got.items() if not is_large(name) for moment, _ in got]


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
