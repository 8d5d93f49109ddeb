"""The attacks that abuse.py measures well-behaved sessions beside, and what they are made of.

Each attack is called in a process of its own with a counter of the octets that it sent, and goes on until
that process is ended.
"""

import select
import socket
import time

SMTP, SUBMISSION, POP3, HOSTILE = 2790, 2791, 2792, 2793


class Session:
    """A connection that its PROXY header says to come from `address`."""

    def __init__(self, port, address, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        family = "TCP6" if ":" in address else "TCP4"
        here = "::1" if ":" in address else "127.0.0.1"
        self.sent, self.left = 0, b""
        self.send(f"PROXY {family} {address} {here} 40000 {port}\r\n".encode())

    def send(self, octets):
        self.socket.sendall(octets)
        self.sent += len(octets)

    def line(self):
        while b"\n" not in self.left:
            read = self.socket.recv(65536)
            if not read:
                raise ConnectionError("closed")
            self.left += read
        line, self.left = self.left.split(b"\n", 1)
        return line

    def reply(self):
        """The last line of an SMTP reply."""
        while True:
            line = self.line()
            if line[3:4] != b"-":
                return line

    def say(self, command):
        self.send(command + b"\r\n")
        return self.reply()

    def expect(self, command, begins):
        line = self.say(command) if command else self.reply()
        if not line.startswith(begins):
            raise ConnectionError(f"{command!r}: {line!r}")

    def greet(self):
        self.expect(None, b"220")
        self.expect(b"EHLO client.test", b"250")

    def close(self):
        self.socket.close()


def networks(count):
    return [f"203.0.{113 + n // 250}.{1 + n % 250}" for n in range(count)]


def drive(count, sent, addresses, begin, step, port=SMTP, pause=0.0):
    """Holds `count` sessions and calls `step` of each that can be read, in turn; begins one that ends again."""
    sessions = {}
    last = 0.0
    poll = select.poll()

    def connect(number):
        try:
            session = Session(port, addresses[number % len(addresses)])
            begin(session)
        except OSError:
            return
        sent.value += session.sent
        session.sent = 0
        session.number = number
        sessions[session.socket.fileno()] = session
        poll.register(session.socket, select.POLLIN)

    missing = list(range(count))
    while True:
        again = []
        for number in missing:
            before = len(sessions)
            connect(number)
            if len(sessions) == before:
                again.append(number)
        missing = again
        if missing:
            time.sleep(0.01)
        for descriptor, _ in poll.poll(50):
            session = sessions[descriptor]
            try:
                if not session.socket.recv(262144):
                    raise ConnectionError
                step(session)
                sent.value += session.sent
                session.sent = 0
            except OSError:
                poll.unregister(descriptor)
                del sessions[descriptor]
                session.close()
                missing.append(session.number)
        if pause and time.monotonic() - last < pause:
            time.sleep(pause)
        last = time.monotonic()


REFUSED = b"MAIL FROM:<stranger@else.test>\r\n" + b"".join(b"RCPT TO:<nobody%d@x.test>\r\n" % n for n in range(20)) + b"RSET\r\n"


def refused_recipients(count, addresses):
    def begin(session):
        session.greet()
        session.send(REFUSED)

    def attack(sent):
        # One round for each read: what comes back is not counted, so that a delayed reply holds the attacker.
        drive(count, sent, addresses, begin, lambda session: session.send(REFUSED))

    return attack


def refused_logins(addresses):
    def guess(session):
        session.send(b"USER ana@x.test\r\nPASS wrong\r\n")

    def attack(sent):
        drive(len(addresses), sent, addresses, lambda session: None, guess, port=POP3)

    return attack


def slow_content(count, addresses):
    """33 KiB each, then 128 octets a second."""

    def attack(sent):
        sessions = []
        while True:
            while len(sessions) < count:
                try:
                    session = Session(SMTP, addresses[len(sessions) % len(addresses)], 10)
                    session.greet()
                    session.expect(b"MAIL FROM:<stranger@else.test>", b"250")
                    session.expect(b"RCPT TO:<ana@x.test>", b"250")
                    session.expect(b"DATA", b"354")
                    session.send(b"Subject: slow\r\n\r\n" + b"%062d\r\n" % 0 * 528)
                    session.socket.setblocking(False)
                    sessions.append(session)
                except OSError:
                    time.sleep(0.05)
                    break
            time.sleep(1)
            for session in list(sessions):
                try:
                    session.send(b"%062d\r\n" % 0 * 2)
                    sent.value += session.sent
                    session.sent = 0
                except OSError:
                    session.close()
                    sessions.remove(session)

    return attack


def envelopes(count, addresses):
    """Transactions of a thousand recipients that are left open."""
    recipients = b"".join(b"RCPT TO:<ana+%s%d@x.test>\r\n" % (b"x" * 50, n) for n in range(1_000))

    def begin(session):
        session.greet()
        session.send(b"MAIL FROM:<stranger@else.test>\r\n" + recipients)

    def attack(sent):
        drive(count, sent, addresses, begin, lambda session: None)

    return attack


def connections(addresses):
    """More sessions than the server has descriptors, all from one network of /64."""

    def attack(sent):
        drive(600, sent, addresses, lambda session: None, lambda session: None)

    return attack


class Hostile:
    """A POP3 server to collect from. Answers what `speak` says."""

    def __init__(self, speak):
        self.speak = speak

    def __call__(self, sent):
        listener = socket.create_server(("127.0.0.1", HOSTILE))
        while True:
            client, _ = listener.accept()
            client.settimeout(30)
            try:
                sent.value += self.speak(client)
            except OSError:
                pass
            client.close()


def endless_banner(client):
    piece, sent = b"+OK " + b"x" * 65532, 0
    while sent < 2 << 30:
        client.sendall(piece)
        sent += len(piece)
    return sent


def dialogue(uidl, retr):
    """Replies of a POP3 server; `uidl` and `retr` yield what those commands give."""

    def speak(client):
        sent, left = 0, b""
        client.sendall(b"+OK\r\n")
        while True:
            while b"\n" not in left:
                read = client.recv(65536)
                if not read:
                    return sent
                left += read
            line, left = left.split(b"\n", 1)
            word = line.split()[0].upper() if line.split() else b""
            pieces = {
                b"CAPA": lambda: [b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\n.\r\n"],
                b"STAT": lambda: [b"+OK 300000 300000000\r\n"],
                b"LIST": lambda: ([b"+OK\r\n"] + [b"%d 1000\r\n" % n for n in range(1, 300_001)] + [b".\r\n"]),
                b"UIDL": uidl,
                b"RETR": retr,
            }.get(word, lambda: [b"+OK\r\n"])
            for piece in pieces():
                client.sendall(piece)
                sent += len(piece)

    return speak


def long_identifiers():
    yield b"+OK\r\n"
    for n in range(0, 300_000, 60):
        yield b"".join(b"%d %s\r\n" % (m + 1, b"u" * 980 + b"%d" % m) for m in range(n, n + 60))
    yield b".\r\n"


def three_hundred_thousand():
    yield b"+OK\r\n"
    for n in range(0, 300_000, 500):
        yield b"".join(b"%d id-%d\r\n" % (m + 1, m) for m in range(n, n + 500))
    yield b".\r\n"


def endless_message():
    yield b"+OK\r\n"
    for _ in range(40_000):
        yield b"%062d\r\n" % 0 * 1_000


BOTNET = networks(256)
SAME_64 = [f"2001:db8:1:2::{n:x}" for n in range(1, 1_200)]
MANY_64 = [f"2001:db8:1:{n:x}::1" for n in range(1, 600)]

# Name, attack, whether its mail is refused so that what is kept of it counts, and limits of the server's.
ATTACKS = [
    ("refused recipients, 1 network", refused_recipients(20, networks(1)), True, None),
    ("refused recipients, 256 networks", refused_recipients(256, BOTNET), True, None),
    ("refused logins, 256 networks", refused_logins(BOTNET), True, None),
    ("slow content, 6 networks", slow_content(256, networks(6)), False, None),
    ("slow content, 256 networks", slow_content(256, BOTNET), False, None),
    ("slow content, one /64", slow_content(256, SAME_64), False, None),
    ("1,000 recipients, one /64", envelopes(400, SAME_64), False, None),
    ("1,000 recipients, 400 networks", envelopes(400, MANY_64), False, None),
    ("connections, one /64, 512 descriptors", connections(SAME_64), False, 512),
    ("collecting: a banner without an end", Hostile(endless_banner), False, None),
    ("collecting: 300,000 ids of 1 KB", Hostile(dialogue(long_identifiers, endless_message)), False, None),
    ("collecting: a message without an end", Hostile(dialogue(three_hundred_thousand, endless_message)), False, None),
]
