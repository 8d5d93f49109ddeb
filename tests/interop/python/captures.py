"""The captures in the documents, from real runs: python3 captures.py POSTA [--write]

In a document, `<!-- capture: NAME -->` stands before a block that shows what a command printed. This program sets up a
server by `posta setup`, gives it a week of made-up mail, and runs these commands. Without `--write` it fails if a block
differs from what was printed in more than times, ids, keys and figures; with it, the blocks are written anew.

The week passes in a minute: faketime moves the clock. The server and the others it talks to are in a network of their
own, whose addresses look public. In the documents, they are those of RFC 5737. Exits with 77 where this machine lets
nobody make such a system.
"""

import glob
import itertools
import os
import pty
import random
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time

import first_server
import peers

DOCUMENTS = ["docs/first-server.md", "docs/operations.md", "docs/troubleshooting.md"]
DRAWING = os.path.join(peers.ROOT, "docs/stats.svg")
BLOCK = re.compile(r"(<!-- capture: ([a-z-]+) -->\n```\n)(.*?)(```\n)", re.S)
# The columns of a capture, and those of the lines that continue a longer one; usually four more than it begins with.
WIDE = 100
HANGING = {"check": 22, "status": 14, "talk": 61}

# Our network, and the one that the documents show instead of it.
REAL, SHOWN = "198.51.101.", "198.51.100."
OURS = f"{REAL}5"
OTHERS = {"partner": f"{REAL}10", "client": f"{REAL}11", "slowmail": f"{REAL}12", "old": f"{REAL}13"}
STRANGER = f"{REAL}66"
PASSWORD = "seven blue lamps"
CONFIG = "/etc/posta/posta.toml"
# At 08:00 of each of these days the server starts.
DAYS = [f"2026-11-{day}" for day in range(23, 30)]
MESSAGES = [118, 131, 97, 142, 125, 40, 33]

NSD = """server:
 ip-address: 127.0.0.1@53
 server-count: 1
 pidfile: ""
 username: root
 database: ""
remote-control:
 control-enable: no
zone:
 name: .
 zonefile: /etc/nsd/root.zone
"""
# A clock that is right, as timedatectl says of it.
TIMEDATECTL = "#!/bin/sh\necho yes\n"


def zone(records):
    """Returns a zone of everything, with the addresses of the others and with `records`."""
    lines = [". 60 IN SOA ns. root. 1 60 60 60 60", ". 60 IN NS ns.", "ns. 60 IN A 127.0.0.1"]
    for name, address in [*OTHERS.items(), ("", OURS)]:
        domain = f"{name}.example." if name else "example.test."
        lines.append(f"mail.{domain} 3600 IN A {address}")
        lines.append(f"{'.'.join(reversed(address.split('.')))}.in-addr.arpa. 60 IN PTR mail.{domain}")
        if name:
            lines.append(f"{domain} 60 IN MX 10 mail.{domain}")
            lines.append(f'{domain} 60 IN TXT "v=spf1 mx -all"')
            lines.append(f'_dmarc.{domain} 60 IN TXT "v=DMARC1; p=reject"')
    return "\n".join(lines + records) + "\n"


class Machine:
    """The root with the server, and its clock."""

    def __init__(self, root):
        self.root = root
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME": "/root", "TZ": "UTC"}
        self.server = None
        self.names = None

    def write(self, place, text, mode=0o644):
        first_server.write(self.root, place, text, mode)

    def at(self, day, hour="08:00"):
        """Moves the clock of the commands that are run from now on."""
        wanted = time.mktime(time.strptime(f"{day} {hour}", "%Y-%m-%d %H:%M")) - time.timezone
        (library,) = glob.glob(os.path.join(self.root, "usr/lib/*/faketime/libfaketime.so.1"))
        self.environment["LD_PRELOAD"] = library.removeprefix(self.root)
        self.environment["FAKETIME"] = f"{wanted - time.time():+.0f}"
        self.environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        self.environment["DONT_FAKE_MONOTONIC"] = "1"

    def start(self, command, **options):
        # In the root only, where the library of faketime is.
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        words = ["chroot", self.root, "env", "--ignore-environment", *environment, "sh", "-c", f"cd /root && {command}"]
        return subprocess.Popen(words, **options)

    def run(self, command, text="", statuses=(0,)):
        """Runs a command, and returns what it printed to its standard output."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.start(command, **pipes)
        out, error = process.communicate(text.encode(), timeout=120)
        if process.returncode not in statuses:
            raise RuntimeError(f"{command}: exit {process.returncode}: {error.decode()} {out.decode()}")
        return out.decode()

    def serve(self):
        path = os.path.join(self.root, "var/log/posta.log")
        with open(path, "wb") as log:
            self.server = self.start("exec posta serve", stdout=log, stderr=log)
        for _ in range(600):
            with open(path, "rb") as log:
                if b"\nready " in b"\n" + log.read():
                    return
            time.sleep(0.1)
        raise RuntimeError("the server did not start within a minute")

    def stop(self):
        self.server.terminate()
        self.server.wait(60)

    def answer_names(self, records):
        if self.names:
            self.names.terminate()
            self.names.wait(60)
        self.write("/etc/nsd/root.zone", zone(records))
        self.names = subprocess.Popen(["chroot", self.root, "nsd", "-d", "-c", "/etc/nsd/nsd.conf"])
        time.sleep(1)

    def on_terminal(self, command, seconds, columns, rows):
        """Returns what a command drew on a terminal that is closed after some seconds."""
        leader, follower = pty.openpty()
        subprocess.run(["stty", "cols", str(columns), "rows", str(rows)], stdin=follower, check=True)
        process = self.start(command, stdin=follower, stdout=follower, stderr=follower)
        os.close(follower)
        drawn = bytearray()

        def read():
            try:
                while piece := os.read(leader, 65536):
                    drawn.extend(piece)
            except OSError:
                # The command has ended.
                pass

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        time.sleep(seconds)
        os.write(leader, b"q")
        process.wait(30)
        reader.join(5)
        return drawn.decode()


def other(name, address):
    """A mail server elsewhere: takes mail, slowly and not always at once (slowmail), or knows nobody any more (old)."""
    asked = itertools.count(1)

    def session(connection):
        file = connection.makefile("rwb")

        def say(text):
            file.write(f"{text}\r\n".encode())
            file.flush()

        say(f"220 mail.{name}.example ESMTP")
        for line in file:
            verb = line[:4].upper()
            if verb == b"RCPT" and name == "old":
                say("550 5.1.1 No such user here")
            elif verb == b"RCPT" and name == "slowmail" and next(asked) % 6 == 0:
                say("451 4.7.1 Greylisted, please try again later")
            elif verb == b"DATA":
                say("354 Go on")
                while file.readline() not in (b".\r\n", b""):
                    pass
                time.sleep(0.15 if name == "slowmail" else 0.01)
                say(f"250 2.0.0 Ok: queued as {random.randrange(1 << 40):010X}")
            elif verb == b"QUIT":
                say("221 2.0.0 Bye")
                break
            else:
                say("250 Ok")
        connection.close()

    listening = socket.create_server((address, 25), backlog=100)

    def accept():
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=session, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Traffic:
    """Mail from the others, the same in every run."""

    def __init__(self):
        self.random = random.Random(1)
        self.sessions = {}

    def session(self, name):
        if name not in self.sessions:
            client = smtplib.SMTP(local_hostname=f"mail.{name}.example", source_address=(OTHERS[name], 0))
            client.connect(OURS, 25)
            client.ehlo()
            self.sessions[name] = client
        return self.sessions[name]

    def send(self, name, sender, recipients, octets, subject="News"):
        """Sends a message, and returns the last reply."""
        client = self.session(name)
        client.mail(sender)
        replies = [client.rcpt(recipient) for recipient in recipients]
        if not any(code == 250 for code, _ in replies):
            client.rset()
            return replies[-1]
        number = self.random.randrange(1 << 30)
        head = f"From: {sender}\r\nTo: {recipients[0]}\r\nSubject: {subject}\r\nMessage-ID: <{number}@{name}.example>\r\n"
        head += "Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n\r\n"
        return client.data(head + ("x" * 70 + "\r\n") * (octets // 72 + 1))

    def some(self):
        """Sends one of the usual messages."""
        name = self.random.choices(["partner", "client", "slowmail"], [5, 4, 1])[0]
        person = self.random.choice(["tom", "sue", "kim", "news", "alerts"][:3 if name == "slowmail" else 5])
        to = self.random.choices(
            ["ana", "bob", "team", "crm", "archive", "former", "nobody", "anna"], [40, 30, 6, 8, 5, 3, 4, 4]
        )[0]
        octets = int(min(500_000, self.random.lognormvariate(8.3, 1.4)))
        self.send(name, f"{person}@{name}.example", [f"{to}@example.test"], octets)

    def end(self):
        for client in self.sessions.values():
            client.close()
        self.sessions = {}


def publish(machine):
    """Publishes what `posta domain dns` prints, but for the record of DMARC."""
    records = [line for line in machine.run("posta domain dns example.test").splitlines() if not line.startswith(";")]
    machine.answer_names([line for line in records if line and not line.startswith("_dmarc")])


def certify(machine):
    """Has an authority of our own certify the server's names, instead of Let's Encrypt, which is not in this network."""
    names = ["mail", "mta-sts", "autoconfig", "autodiscover"]
    machine.write("/etc/posta/names", "subjectAltName=" + ",".join(f"DNS:{name}.example.test" for name in names) + "\n")
    machine.run(
        "cd /etc/posta; openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 900 -subj /CN=Authority"
        " && openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=mail.example.test -out request"
        " && openssl x509 -req -in request -CA ca.pem -CAkey ca.key -days 90 -extfile names -out own.pem"
        " && cat own.pem ca.pem >chain.pem && chown posta key.pem"
    )


def configure(machine):
    """Has the server listen at its own address only, since the others are on this machine, too."""
    path = os.path.join(machine.root, CONFIG.lstrip("/"))
    with open(path, encoding="utf-8") as file:
        text = file.read().replace('"[::]:', f'"{OURS}:').replace('"0.0.0.0:', f'"{OURS}:')
    text = re.sub(r"\[acme\]\nenabled *= true", "[acme]\nenabled = false", text)
    text += '\n[tls]\ncertificate = "/etc/posta/chain.pem"\nkey = "/etc/posta/key.pem"\nauthorities = ["/etc/posta/ca.pem"]\n'
    machine.write(CONFIG, text)


def setup(machine, captures):
    machine.answer_names([])
    told = machine.run("posta setup example.test --account ana --yes")
    with open(os.path.join(machine.root, "run/posta.started"), encoding="ascii") as file:
        os.kill(int(file.read()), 15)
    head, records = told.split("\n; DNS records", 1)
    rest = records.split("\nWhat is left to do", 1)[1]
    first = "\n\n".join(records.split("\n\n")[:2])
    captures["setup"] = f"{head}\n; DNS records{first}\n\n…\n\nWhat is left to do{rest}"
    for command in [
        "account add bob@example.test",
        "alias add team@example.test ana@example.test bob@example.test sue@client.example",
        "alias add crm@example.test tom@partner.example",
        "alias add archive@example.test kim@slowmail.example",
        "alias add former@example.test eva@old.example",
    ]:
        more = " --password-stdin" if command.startswith("account") else ""
        machine.run(f"posta {command}{more}", PASSWORD + "\n")
    machine.run("posta account password ana@example.test --password-stdin", PASSWORD + "\n")
    certify(machine)
    configure(machine)


def week(machine, captures):
    """Lets the days pass, and captures what the last one shows."""
    traffic = Traffic()
    for day, messages in zip(DAYS, MESSAGES):
        machine.at(day)
        machine.serve()
        if day == DAYS[1]:
            publish(machine)
            captures["check"] = machine.run("posta check example.test --no-block-lists", statuses=(0, 1, 2))
        for _ in range(messages):
            traffic.some()
        if day == DAYS[-1]:
            looks(machine, traffic, captures)
        traffic.end()
        time.sleep(1)
        machine.stop()


def looks(machine, traffic, captures):
    machine.run("posta mail list ana@example.test")
    fetch = f"posta fetch --server {OURS}:995 --any-certificate --user ana@example.test --password-stdin --stdout --all"
    machine.run(fetch, PASSWORD + "\n")
    add = "posta collect add bob@example.test --server 127.0.0.1:1 --user bob --password-stdin --no-check"
    machine.run(add, PASSWORD + "\n")
    machine.run("posta collect run 1", statuses=(0, 1))
    guess()
    # The domain asks for nothing, so whoever writes in its name is believed.
    dialogue = ["HELO pc.elsewhere.example", "MAIL FROM:<sue@elsewhere.example>", "RCPT TO:<anna@example.test>"]
    dialogue += ["RCPT TO:<ana@example.test>", "DATA", "From: sue@elsewhere.example", "Subject: Lunch", "", "At one?"]
    dialogue += [".", "QUIT"]
    captures["talk"] = machine.run(f"posta talk smtp {OURS}:25", "\n".join(dialogue) + "\n")
    following = machine.start("exec posta trace --follow", stdout=subprocess.PIPE)
    time.sleep(2)
    _, reply = traffic.send("partner", "tom@partner.example", ["team@example.test"], 7_000, "The plan")
    traffic.send("client", "sue@client.example", ["anna@example.test"], 100)
    time.sleep(3)
    following.terminate()
    captures["follow"] = following.stdout.read().decode()
    captures["trace"] = machine.run(f"posta trace {reply.decode().split()[-1]}")
    ends = threading.Event()

    def work():
        while not ends.wait(0.02):
            traffic.some()

    worker = threading.Thread(target=work)
    worker.start()
    drawn = machine.on_terminal("exec posta top", 25, 80, 28)
    ends.set()
    worker.join()
    # Of the frames, the last whole one; each begins at the top left.
    frame = drawn.split("\x1b[H")[-1].split("\x1b[?25h")[0]
    captures["top"] = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "")
    captures["status"] = quiet_status(machine)
    captures["stats"] = machine.run("posta stats --svg /root/stats.svg")


def quiet_status(machine):
    """What `posta status` prints once no item of the queue is being sent, so that all of them wait."""
    for _ in range(60):
        time.sleep(1)
        told = machine.run("posta status")
        if " leased" not in told:
            return told
    raise AssertionError(f"an item is being sent after a minute:\n{told}")


def guess():
    """Tries passwords until the server locks this client out."""
    context = ssl._create_unverified_context()
    for _ in range(25):
        with socket.create_connection((OURS, 995), source_address=(STRANGER, 0)) as plain:
            pop = context.wrap_socket(plain).makefile("rwb")
            for line in [b"", b"USER mallory@example.test\r\n", b"PASS x\r\n"]:
                pop.write(line)
                pop.flush()
                said = pop.readline()
            if b"too many" in said:
                return


def shown(name, text):
    """Returns what was printed as it stands in a document, where long lines are continued."""
    lines = []
    for line in text.replace(REAL, SHOWN).strip("\n").splitlines():
        hanging = HANGING.get(name, len(line) - len(line.lstrip()) + 4)
        fits = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": " " * hanging}
        lines += textwrap.wrap(line, WIDE, **fits) if len(line) > WIDE else [line.rstrip()]
    return "".join(f"{line}\n" for line in lines)


def masked(name, text):
    """Returns the lines of a capture without what differs from run to run."""
    whole = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if whole and indent >= HANGING.get(name, 10):
            whole[-1] += f" {line.strip()}"
        else:
            whole.append(line)
    lines = set()
    for line in whole:
        line = re.sub(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?|\d\d:\d\d:\d\d", "TIME", line)
        line = re.sub(r"\b00[0-9a-z]{18}\b", "ID", line)
        line = re.sub(r"p=[A-Za-z0-9+/=…]+|([a-z0-9]{5}-){3}[a-z0-9]{5}|id=[0-9a-f]+|as [0-9A-F]{10}\b", "KEY", line)
        line = re.sub(r" *\(oldest [^)]*\)", "", line)
        line = re.sub(r"[▁-█▉-▏]+", "", line)
        line = re.sub(r"\d+(\.\d+)?( ?(KiB|MiB|GiB|TiB|B|ms|µs|s|m|h|d)\b)*", "#", line)
        line = " ".join(line.split())
        # The ranges that have values, and the places of lines by their figures, are not the same in every run.
        if line and not line.startswith(("≤", "…", "# ┤", "┤")):
            lines.add(line)
    return lines


def compare(captures):
    wrong = []
    seen = set()
    for document in DOCUMENTS:
        with open(os.path.join(peers.ROOT, document), encoding="utf-8") as file:
            for _, name, block, _ in BLOCK.findall(file.read()):
                seen.add(name)
                there, here = masked(name, block), masked(name, shown(name, captures[name]))
                wrong += [f"{document}: {name}: no longer printed: {line}" for line in sorted(there - here)]
                wrong += [f"{document}: {name}: not in the document: {line}" for line in sorted(here - there)]
    assert seen == set(captures), f"captures without a place in a document: {set(captures) - seen}"
    if wrong:
        sys.exit("\n".join(wrong) + "\n`cargo xtask captures` writes the captures anew.")
    print(f"{len(seen)} captures in the documents are what the program prints")


def write(machine, captures):
    for document in DOCUMENTS:
        path = os.path.join(peers.ROOT, document)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        text = BLOCK.sub(lambda found: found[1] + shown(found[2], captures[found[2]]) + found[4], text)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    shutil.copy(os.path.join(machine.root, "root/stats.svg"), DRAWING)


def main():
    if not peers.possible():
        print("no root of its own can be made here: overlay mounts are not allowed")
        sys.exit(77)
    program, *rest = sys.argv[1:]
    if "--in" not in rest:
        # Debian's packages come from the machine's network; everything after that has one of its own.
        root = peers.Peer(["faketime", "nsd"])
        again = ["unshare", "--net", "--uts", sys.executable, os.path.abspath(__file__), program]
        sys.exit(subprocess.run([*again, *rest, "--in", root.root], check=False).returncode)
    root = rest[rest.index("--in") + 1]
    peers.call("hostname", "mail.example.test")
    peers.call("ip", "link", "set", "lo", "up")
    for address in [OURS, *OTHERS.values(), STRANGER]:
        peers.call("ip", "address", "add", f"{address}/32", "dev", "lo")
    # The server takes its address from the way to the internet.
    peers.call("ip", "route", "add", "default", "dev", "lo", "src", OURS)
    # faketime names what it shares after process ids, which another run has had, too.
    peers.call("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", os.path.join(root, "dev/shm"))
    machine = Machine(root)
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    machine.write("/etc/nsd/nsd.conf", NSD)
    machine.write("/usr/bin/systemctl", first_server.SYSTEMCTL, 0o755)
    machine.write("/usr/bin/timedatectl", TIMEDATECTL, 0o755)
    for folder in ("run/systemd/system", "etc/systemd/system", "usr/local/bin"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    shutil.copy(program, os.path.join(root, "usr/local/bin/posta"))
    captures = {}
    try:
        machine.at(DAYS[0], "07:30")
        setup(machine, captures)
        for name, address in OTHERS.items():
            other(name, address)
        week(machine, captures)
    except Exception:
        with open(os.path.join(root, "var/log/posta.log"), encoding="utf-8", errors="replace") as log:
            print("".join(log.readlines()[-40:]), file=sys.stderr)
        raise
    if "--write" in rest:
        write(machine, captures)
    else:
        compare(captures)


if __name__ == "__main__":
    main()
