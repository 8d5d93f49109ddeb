"""The world around a cluster: senders, the server to which mail is relayed, and readers of mailboxes.

All of it runs in one thread with an event loop, and writes down what happened with its time: each reply to a sender, each
message that the sink acknowledged, each list of unique-ids. Small and large messages have senders of their own, so that the
small ones do not wait behind a large one whose place is not there.
"""

import asyncio
import base64
import hashlib
import itertools
import random
import re
import threading
import time

# The time for which a sender or a reader waits for a reply, in seconds.
PATIENCE = 150
# The share of large messages: those with parts that go to the object store.
LARGE_SHARE = 0.02
# A message with more octets than that has such parts.
SMALL = 64 * 1024
DOMAINS = [f"d{number}.elsewhere.test" for number in range(6)]
SINK = 2525


class Transaction:
    """A message, and what became of it. `reply` is the last line that the server said of it; none if the connection was
    lost before that."""

    __slots__ = ("id", "node", "to", "is_large", "time", "reply", "lost")

    def __init__(self, name, node, to):
        self.id, self.node, self.to, self.is_large = name, node, to, is_large(name)
        self.time = self.reply = self.lost = None


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work, seconds=120):
        """Runs a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def start(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)


def is_large(name):
    """Returns whether the message with this name is a large one."""
    return name.startswith("large")


def message(name, random_):
    """Returns a message, and the sum of its body, of which no two lines are the same."""
    if not is_large(name):
        octets = random_.randrange(150, 2_000)
    elif random_.randrange(4):
        octets = random_.randrange(SMALL, 180_000)
    else:
        # More than one object.
        octets = random_.randrange(200_000, 500_000)
    body = base64.encodebytes(random_.randbytes(octets)).replace(b"\n", b"\r\n")
    return f"From: <s@world.test>\r\nSubject: {name}\r\n\r\n".encode() + body, summed(body)


def summed(body):
    return hashlib.sha256(body).hexdigest()[:32]


class Senders:
    """Senders to all nodes, which go on until they are told to stop. `sums` has what each message must be in the end."""

    def __init__(self, nodes, accounts, each, rate, sums):
        self.nodes, self.accounts, self.sums = nodes, accounts, sums
        # The number of senders to a node, and the seconds between two messages of one.
        self.kinds = {
            "small": (each, len(nodes) * each / (rate * (1 - LARGE_SHARE))),
            "large": (2, len(nodes) * 2 / (rate * LARGE_SHARE)),
        }
        self.done = []
        # Acknowledged messages of each node, by their times; all, and the large ones.
        self.acknowledged = {node.name: [] for node in nodes}
        self.large = {node.name: [] for node in nodes}
        # The time, the node and the reply, and whether the message was large.
        self.refused = []
        self.lost = []
        self.is_over = False
        self.tasks = []

    def start(self, loop):
        numbers = itertools.count()
        for node in self.nodes:
            for kind, (each, pause) in self.kinds.items():
                for _ in range(each):
                    self.tasks.append(loop.start(self.send_on(node, f"{kind}{next(numbers)}", pause)))

    def stop(self):
        self.is_over = True
        for task in self.tasks:
            task.result(PATIENCE + 60)

    def small(self, node):
        """Returns the times at which a node acknowledged small messages."""
        large = set(self.large[node])
        return [moment for moment in self.acknowledged[node] if moment not in large]

    async def send_on(self, node, sender, pause):
        random_ = random.Random(sender)
        # Not all at the same moment.
        await asyncio.sleep(random_.random() * pause)
        count, connection = 0, None
        while not self.is_over:
            began = time.monotonic()
            count += 1
            name = f"{sender}-{count}"
            content, self.sums[name] = message(name, random_)
            transaction = Transaction(name, node.name, self.recipients(random_))
            try:
                if connection is None:
                    connection = await Smtp.connect(node.address)
                # After the reply, nothing may change any more: a lost connection comes later.
                await connection.send(transaction, content)
            except (OSError, EOFError, asyncio.TimeoutError) as problem:
                transaction.lost = f"{type(problem).__name__} {problem}"
                if connection is not None:
                    # Who has not said anything yet has lost nothing.
                    if connection.said:
                        self.lost.append((time.monotonic(), node.name, connection.stage, transaction.lost))
                    connection.close()
                connection = None
            transaction.time = time.monotonic()
            self.note(transaction)
            if transaction.reply is None or not transaction.reply.startswith("250"):
                await asyncio.sleep(0.3)
            # A long pause must not delay the end.
            until = began + pause
            while not self.is_over and (rest := until - time.monotonic()) > 0:
                await asyncio.sleep(min(rest, 1))
        if connection is not None:
            connection.close()

    def recipients(self, random_):
        kind = random_.randrange(10)
        if kind < 4:
            return [f"u{random_.getrandbits(20)}@{random_.choice(DOMAINS)}"]
        return random_.sample(self.accounts, 2 if kind == 9 else 1)

    def note(self, transaction):
        if transaction.reply is not None and transaction.reply.startswith("250"):
            self.done.append(transaction)
            self.acknowledged[transaction.node].append(transaction.time)
            if transaction.is_large:
                self.large[transaction.node].append(transaction.time)
        elif transaction.reply is not None:
            self.refused.append((transaction.time, transaction.node, transaction.reply, transaction.is_large))


class Smtp:
    """A connection to a node."""

    @classmethod
    async def connect(cls, address):
        connection = cls()
        connection.stage, connection.said = "greeting", False
        connection.reader, connection.writer = await asyncio.wait_for(asyncio.open_connection(address, 25), 10)
        try:
            greeting = await connection.reply()
            if not greeting.startswith("220"):
                raise EOFError(greeting)
            await connection.say("EHLO world.test")
        except BaseException:
            connection.close()
            raise
        return connection

    async def reply(self):
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), PATIENCE)).decode()
            if not line.endswith("\n"):
                raise EOFError("the connection was closed")
            if line[3:4] != "-":
                return line.strip()

    async def say(self, line):
        self.writer.write(line.encode() + b"\r\n")
        self.stage, self.said = line.split(":")[0].split(" ")[0], True
        return await self.reply()

    async def send(self, transaction, content):
        """Sends a message. What is refused for now is the transaction's reply, as the final 250 is."""
        reply = await self.say("MAIL FROM:<s@world.test>")
        for to in transaction.to:
            if reply.startswith("250"):
                reply = await self.say(f"RCPT TO:<{to}>")
        if reply.startswith("250"):
            reply = await self.say("DATA")
        if reply.startswith("354"):
            self.writer.write(content)
            await asyncio.wait_for(self.writer.drain(), PATIENCE)
            reply = await self.say(".")
            transaction.reply = reply
        else:
            transaction.reply = reply
            if reply.startswith("421"):
                raise EOFError(reply)
            await self.say("RSET")
        self.said = False

    def close(self):
        self.writer.transport.abort()


class Sink:
    """The server to which all mail for elsewhere goes."""

    def __init__(self, address, sums):
        self.address, self.sums = address, sums
        # For each message and recipient, the time of each acknowledgement and the node that brought it.
        self.got = {}
        # Messages that came with another body than they were sent with.
        self.damaged = []
        # Seconds for which the reply to the end of the data is kept back.
        self.delay = 0

    async def start(self):
        await asyncio.start_server(self.serve, self.address, SINK)

    async def serve(self, reader, writer):
        node = writer.get_extra_info("peername")[0]
        try:
            writer.write(b"220 sink\r\n")
            to = []
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif verb == b"RCPT":
                    to.append(re.search(rb"<([^>]*)>", line)[1].decode())
                    writer.write(b"250 ok\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go\r\n")
                    name = await self.content(reader)
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    for recipient in to:
                        self.got.setdefault((name, recipient), []).append((time.monotonic(), node))
                    to = []
                    writer.write(b"250 kept\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    to = []
                    writer.write(b"250 ok\r\n")
                await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def content(self, reader):
        name, body = "", None
        while True:
            line = await reader.readline()
            if not line:
                raise ConnectionError
            if line == b".\r\n":
                break
            if body is not None:
                body.update(line)
            elif line.startswith(b"Subject: "):
                name = line[9:].strip().decode()
            elif line == b"\r\n":
                body = hashlib.sha256()
        if body is None or body.hexdigest()[:32] != self.sums.get(name):
            self.damaged.append(name)
        return name


class Refused(Exception):
    """A command in a mailbox was refused for now."""


class Pop3:
    """A session at a mailbox."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        # What has arrived and was not looked at yet.
        self.buffer = bytearray()

    @classmethod
    async def login(cls, address, account, password):
        """Logs in. Returns the session, or the reply that refused."""
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, 1110, limit=1 << 20), 10)
        session = cls(reader, writer)
        try:
            await session.line()
            for line in (f"USER {account}", f"PASS {password}"):
                reply = await session.say(line)
                if not reply.startswith("+OK"):
                    session.close()
                    return None, reply
        except BaseException:
            session.close()
            raise
        return session, reply

    async def up_to(self, end):
        """Reads up to these octets, and with them."""
        searched = 0
        while (found := self.buffer.find(end, searched)) < 0:
            searched = max(0, len(self.buffer) - len(end))
            octets = await asyncio.wait_for(self.reader.read(1 << 18), PATIENCE)
            if not octets:
                raise EOFError("the connection was closed")
            self.buffer += octets
        found += len(end)
        octets = bytes(self.buffer[:found])
        del self.buffer[:found]
        return octets

    async def line(self):
        return (await self.up_to(b"\n")).decode("utf-8", "replace").rstrip("\r\n")

    async def say(self, line):
        self.writer.write(line.encode() + b"\r\n")
        return await self.line()

    async def lines(self):
        """Reads a reply of several lines."""
        first = await self.line()
        if first.startswith("-ERR [SYS/TEMP]"):
            raise Refused(first)
        if not first.startswith("+OK"):
            raise EOFError(first)
        # At once: there are thousands of lines in a second.
        self.buffer[:0] = b"\r\n"
        octets = await self.up_to(b"\r\n.\r\n")
        return octets[2:-3].decode("utf-8", "replace").split("\r\n")[:-1]

    async def listing(self, command):
        self.writer.write(command.encode() + b"\r\n")
        return await self.lines()

    async def many(self, commands):
        """Sends commands at once, and reads the replies in turn."""
        self.writer.write("".join(f"{command}\r\n" for command in commands).encode())
        return [await self.lines() for _ in commands]

    def close(self):
        self.writer.transport.abort()


def content_of(lines):
    """Returns the name of a message, and the sum of its body."""
    end = lines.index("")
    name = next((line[9:] for line in lines[:end] if line.startswith("Subject: ")), "")
    return name, summed("".join(f"{line}\r\n" for line in lines[end + 1 :]).encode())


class Readers:
    """Readers that look at the same mailboxes at both nodes again and again: what a unique-id names must not change, and a
    message that is there is whole."""

    def __init__(self, nodes, accounts, password, sums, pause=0.5):
        self.nodes, self.accounts, self.password, self.sums, self.pause = nodes, accounts, password, sums, pause
        # For each account, the message that each unique-id names.
        self.known = {account: {} for account in accounts}
        self.problems = []
        self.looks = self.larges = 0
        # The time and the node, what was said, and whether it was about a large message.
        self.refused = []
        self.lost = []
        self.is_over = False
        self.tasks = []

    def start(self, loop):
        self.tasks = [loop.start(self.read_on(node)) for node in self.nodes]

    def stop(self):
        self.is_over = True
        for task in self.tasks:
            task.result(PATIENCE + 60)

    async def read_on(self, node):
        for account in itertools.cycle(self.accounts):
            if self.is_over:
                return
            session, reads_large = None, False
            try:
                session, reply = await Pop3.login(node.address, account, self.password)
                if session is None:
                    self.refused.append((time.monotonic(), node.name, reply, False))
                else:
                    large = await self.look(session, account)
                    reads_large = True
                    await self.read(session, account, large)
                    await session.say("QUIT")
            except Refused as refusal:
                self.refused.append((time.monotonic(), node.name, str(refusal), reads_large))
            except (OSError, EOFError, asyncio.TimeoutError) as problem:
                self.lost.append((time.monotonic(), node.name, f"{type(problem).__name__} {problem}", reads_large))
            if session is not None:
                session.close()
            await asyncio.sleep(self.pause)

    async def look(self, session, account):
        """Looks at the list, and at some small messages. Returns the numbers of the large ones."""
        known = self.known[account]
        # What was there before this session began.
        before = set(known)
        names = [line.split(" ", 1) for line in await session.listing("UIDL")]
        sizes = dict(line.split(" ", 1) for line in await session.listing("LIST"))
        ids = {unique for _, unique in names}
        if len(ids) < len(names):
            self.problems.append(f"{account}: a unique-id twice in one list")
        gone = before - ids
        if gone:
            self.problems.append(f"{account}: {len(gone)} unique-ids vanished, such as {gone.pop()}")
        # A few of those that are known, and the newest.
        large = {number for number, octets in sizes.items() if int(octets) > SMALL}
        small = [(number, unique) for number, unique in names if number not in large]
        for number, unique in random.sample(small, min(5, len(small))) + small[-10:]:
            header = await session.listing(f"TOP {number} 0")
            subject = next((line for line in header if line.startswith("Subject: ")), "no subject")
            if known.setdefault(unique, subject) != subject:
                self.problems.append(f"{account}: {unique} was {known[unique]}, and is {subject}")
        self.looks += 1
        return [(number, unique) for number, unique in names if number in large]

    async def read(self, session, account, large):
        """Reads one of the large messages, octet by octet."""
        if not large:
            return
        number, unique = random.choice(large)
        name, found = content_of(await session.listing(f"RETR {number}"))
        if self.known[account].setdefault(unique, f"Subject: {name}") != f"Subject: {name}":
            self.problems.append(f"{account}: {unique} was {self.known[account][unique]}, and is {name}")
        if found != self.sums.get(name):
            self.problems.append(f"{account}: {name} was read and is damaged")
        self.larges += 1
