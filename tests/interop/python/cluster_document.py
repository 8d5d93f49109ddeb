"""docs/cluster.md as a program: its steps are carried out word by word on the machines that it names.

A comment before a block says where it belongs, as in `<!-- on db1 db2, file: /etc/hosts -->`. Options after the names
of the machines: `file: PATH` for the text of a file, `append to: PATH` for lines at its end, `with the internet` for what
is installed once for all, `at once` for all machines at the same time, `until: WORDS` for a last command that is repeated until it
shows these words, and `when: TITLE` for what is not part of setting up.
"""

import os
import re
import threading
import time

import peers

DOCUMENT = os.path.join(peers.ROOT, "docs/cluster.md")
STEP = re.compile(r"^<!-- on ([a-z0-9 ]+?)(?:, ([^\n]*?))? -->\n```(\w*)\n(.*?)^```$", re.S | re.M)
# How long a state may take to be reached, in seconds.
UNTIL = 45


class Step:
    def __init__(self, names, options, text):
        self.names, self.text = names.split(), text
        key, _, value = (options or "").partition(": ")
        self.option, self.value = key, value

    def commands(self):
        return [line for line in self.text.splitlines() if line.strip()]


def steps():
    with open(DOCUMENT, encoding="utf-8") as file:
        found = [Step(names, options, text) for names, options, _, text in STEP.findall(file.read())]
    assert len(found) >= 15, "the document has no steps any more"
    return found


def packages():
    """Returns the packages of the document, and the other commands that need the internet."""
    commands = [line for step in steps() if step.option == "with the internet" for line in step.commands()]
    install = "apt-get install -y "
    wanted = [name for line in commands if line.startswith(install) for name in line.removeprefix(install).split()]
    assert "postgresql-15" in wanted, wanted
    return wanted, [line for line in commands if not line.startswith(install)]


class Follower:
    """Carries out steps on machines."""

    def __init__(self, machines):
        self.machines = machines
        self.said = []

    def follow(self, when=None):
        for step in steps():
            if step.option == "with the internet":
                continue
            if (step.value if step.option == "when" else None) != when:
                continue
            self.carry_out(step)

    def carry_out(self, step):
        def on(name):
            machine = self.machines[name]
            text = step.text.replace("NAME", name).replace("ADDRESS", machine.address)
            if step.option == "file":
                machine.write(step.value, text)
            elif step.option == "append to":
                machine.write(step.value, machine.read(step.value) + text)
            else:
                self.run(machine, step)

        if step.option != "at once":
            for name in step.names:
                on(name)
            return
        threads = [threading.Thread(target=on, args=(name,)) for name in step.names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def run(self, machine, step):
        *commands, last = step.commands()
        for command in commands:
            self.say(machine, command)
        said = self.say(machine, last, check=step.option != "until")
        until = time.monotonic() + UNTIL
        while step.option == "until" and step.value not in said:
            assert time.monotonic() < until, f"{step.value!r} does not come: {said}"
            time.sleep(0.5)
            said = machine.run(last, check=False)

    def say(self, machine, command, check=True):
        if command.startswith("scp "):
            # There is no SSH between the machines: the test carries the file.
            _, _, source, target = command.split()
            name, place = source.removeprefix("root@").split(":")
            copy = ["cp", "-p", self.machines[name].path(place), machine.path(target)]
            peers.call(*copy)
            said = ""
        else:
            said = machine.run(command, check=check)
        self.said.append((machine.name, command, said))
        print(f"{machine.name}# {command}\n{said}", end="", flush=True)
        return said
