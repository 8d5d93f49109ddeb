"""What a run of the cluster's test has found: a table for people, and one for docs/cluster.md."""

import os
import re

from cluster_check import gaps, longest_gap

# The marks between which the document has the table.
MARKS = "<!-- under fire -->\n", "<!-- end of under fire -->\n"


class Report:
    """The figures of a run."""

    def __init__(self, world, checker, rows, began, ended):
        self.rows, self.began, self.ended = rows, began, ended
        self.figures = checker.figures
        self.acknowledged = world.senders.acknowledged
        self.everywhere = sum(self.acknowledged.values(), [])
        self.relayed = checker.relayed()
        self.refused = [at for at, *_ in world.senders.refused]
        self.readers = world.readers
        # For each kind of fault, its cases: without service at all, at one node, without relaying, back after.
        self.kinds = {}
        for fault in rows:
            self.kinds.setdefault(fault.name, []).append(self.case(fault))

    def case(self, fault):
        span = fault.began, fault.ended
        return (
            longest_gap(self.everywhere, *span),
            max(longest_gap(times, *span) for times in self.acknowledged.values()),
            longest_gap(self.relayed, *span),
            max(fault.back.values(), default=0),
        )

    def killing(self):
        return [fault for fault in self.rows if fault.killed]

    def longest(self):
        """The longest times without service: of all nodes together, and of each."""
        nodes = [gaps(times, self.began, self.ended)[0] for times in self.acknowledged.values()]
        return gaps(self.everywhere, self.began, self.ended)[0], *nodes

    def show(self):
        print("fault                            took  without service (all, a node)  relayed none  back after  refused")
        for fault in self.rows:
            refused = sum(fault.covers(at) for at in self.refused)
            all_, node, relayed, back = self.case(fault)
            took = f"{fault.name:30} {fault.ended - fault.began:5.0f} s"
            print(f"{took} {all_:18.1f} {node:13.1f} {relayed:13.1f} {back:11.1f} {refused:8}")
        print("\n".join(self.table()))
        killed = sum(fault.killed for fault in self.rows)
        print(f"{len(self.rows)} faults, {len(self.killing())} of which killed {killed} services with kill -9")
        for what, count in self.figures.items():
            print(f"{count:8} {what}")
        for who, seconds in zip(["all nodes together", *self.acknowledged], self.longest()):
            print(f"{seconds:8.1f} s was the longest time without service of {who}")
        print(f"{gaps(self.relayed, self.began, self.ended)[0]:8.1f} s was the longest time in which nothing was relayed")
        readers = self.readers
        print(f"{readers.looks:8} looks into mailboxes, {readers.larges} large messages read, {len(readers.refused)} refused for now")

    def table(self):
        yield "| fault | times | no service, at both nodes | at one of them | nothing relayed |"
        yield "|-------|-------|---------------------------|----------------|-----------------|"
        # The worst for a balancer's clients first.
        for name, cases in sorted(self.kinds.items(), key=lambda kind: -max(case[0] for case in kind[1])):
            worst = [max(case[column] for case in cases) for column in range(3)]
            shown = " | ".join(f"{seconds:.1f} s" for seconds in worst)
            words = name.replace("_", " ").replace("objects", "object store")
            yield f"| {words} | {len(cases)} | {shown} |"

    def text(self, program, seed):
        """The part of docs/cluster.md."""
        all_, *nodes = self.longest()
        number = lambda name: f"{self.figures[name]:,}"
        build, option = ("debug", "--debug ") if "debug" in program else ("release", "")
        command = f"cargo xtask cluster {option}--seed {seed}"
        minutes = (self.ended - self.began) / 60
        words = (
            f"Measured with `{command}` (a {build} build; all of the cluster, the load included, on one machine with "
            f"{os.cpu_count()} cores): {number('acknowledged')} acknowledged messages in {minutes:.0f} minutes, "
            f"{number('of these over 64 KiB')} of them over 64 KiB, during {len(self.rows)} faults of {len(self.kinds)} kinds, "
            f"{len(self.killing())} of which killed something with `kill -9`. **Lost: {number('lost')}.** Relayed twice, in the window "
            f"that SMTP has: {number('relayed twice in the window that SMTP has')} of {number('relayed')}. The longest time without "
            f"service: **{all_:.1f} s** at both nodes, {max(nodes):.1f} s at one. For each kind of fault, the longest time in which no "
            "message was acknowledged, and in which nothing was relayed:"
        )
        return "\n".join([*filled(words), "", *self.table(), ""])

    def write(self, path, program, seed):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        before, rest = text.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{before}{MARKS[0]}{self.text(program, seed)}{MARKS[1]}{after}")


def filled(words, columns=120):
    """Returns the lines of a paragraph. What stands between grave accents stays on one line."""
    lines = [""]
    for word in re.findall(r"[^\s`]*`[^`]*`\S*|\S+", words):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
