"""The world around a cluster: senders, the server to which mail is relayed, and readers of mailboxes.

All of it runs in one thread with an event loop, and writes down what happened with its time: each reply to a sender, each
message that the sink acknowledged, each list of unique-ids.
"""

import asyncio
import hashlib
import itertools
import random
import re
import threading
import time

# The time for which a sender or a reader waits for a reply, in seconds.
PATIENCE = 150
# One message in so many is large: more than fits into one row of the database.
LARGE_ONE_IN, LARGE = 60, 150_000
DOMAINS = [f"d{number}.elsewhere.test" for number in range(6)]
SINK = 2525


class Transaction:
    """A message, and what became of it. `reply` is the last line that the server said of it; none if the connection was
    lost before that."""

    __slots__ = ("id", "node", "to", "sum", "time", "reply", "lost")

    def __init__(self, name, node, to, content):
        self.id, self.node, self.to = name, node, to
        self.sum = content
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


def message(name, random_):
    """Returns a message, and the sum of its body."""
    large = random_.randrange(LARGE_ONE_IN) == 0
    lines = random_.randrange(LARGE // 80, LARGE // 40) if large else random_.randrange(3, 40)
    filler = f"{random_.getrandbits(256):064x}\r\n".encode()
    body = filler * lines
    total = hashlib.sha256(body).hexdigest()[:32]
    return f"From: <s@world.test>\r\nSubject: {name}\r\nX-Sum: {total}\r\n\r\n".encode() + body, total


class Senders:
    """Senders to all nodes, which go on until they are told to stop."""

    def __init__(self, nodes, accounts, each, rate):
        self.nodes, self.accounts = nodes, accounts
        # Seconds between two messages of one sender.
        self.pause = len(nodes) * each / rate
        self.each = each
        self.done = []
        # Acknowledged messages of each node, by their times.
        self.acknowledged = {node.name: [] for node in nodes}
        self.refused = {node.name: [] for node in nodes}
        self.lost = []
        self.is_over = False
        self.tasks = []

    def start(self, loop):
        numbers = itertools.count()
        for node in self.nodes:
            for _ in range(self.each):
                self.tasks.append(loop.start(self.send_on(node, f"s{next(numbers)}")))

    def stop(self):
        self.is_over = True
        for task in self.tasks:
            task.result(PATIENCE + 60)

    async def send_on(self, node, sender):
        random_ = random.Random(sender)
        count, connection = 0, None
        while not self.is_over:
            began = time.monotonic()
            count += 1
            name = f"{sender}-{count}"
            content, total = message(name, random_)
            to = self.recipients(random_)
            transaction = Transaction(name, node.name, to, total)
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
            await asyncio.sleep(max(0, self.pause - (time.monotonic() - began)))
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
        elif transaction.reply is not None:
            self.refused[transaction.node].append((transaction.time, transaction.reply))


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

    def __init__(self, address):
        self.address = address
        # For each message and recipient, the time of each acknowledgement and the node that brought it.
        self.got = {}
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
        name = ""
        while True:
            line = await reader.readline()
            if not line:
                raise ConnectionError
            if line.startswith(b"Subject: ") and not name:
                name = line[9:].strip().decode()
            if line == b".\r\n":
                return name


class Refused(Exception):
    """A command in a mailbox was refused for now."""


class Pop3:
    """A session at a mailbox."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

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

    async def line(self):
        line = await asyncio.wait_for(self.reader.readline(), PATIENCE)
        if not line.endswith(b"\n"):
            raise EOFError("the connection was closed")
        return line.decode("utf-8", "replace").rstrip("\r\n")

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
        lines = []
        while (line := await self.line()) != ".":
            lines.append(line)
        return lines

    async def listing(self, command):
        self.writer.write(command.encode() + b"\r\n")
        return await self.lines()

    async def many(self, commands):
        """Sends commands at once, and reads the replies in turn."""
        self.writer.write("".join(f"{command}\r\n" for command in commands).encode())
        return [await self.lines() for _ in commands]

    def close(self):
        self.writer.transport.abort()


class Readers:
    """Readers that look at the same mailboxes at both nodes again and again: what a unique-id names must not change."""

    def __init__(self, nodes, accounts, password, pause=0.5):
        self.nodes, self.accounts, self.password, self.pause = nodes, accounts, password, pause
        # For each account, the message that each unique-id names.
        self.known = {account: {} for account in accounts}
        self.problems = []
        self.looks = 0
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
            session = None
            try:
                session, reply = await Pop3.login(node.address, account, self.password)
                if session is None:
                    self.refused.append((time.monotonic(), node.name, reply))
                else:
                    await self.look(session, account)
            except Refused as refusal:
                self.refused.append((time.monotonic(), node.name, str(refusal)))
            except (OSError, EOFError, asyncio.TimeoutError) as problem:
                self.lost.append((time.monotonic(), node.name, f"{type(problem).__name__} {problem}"))
            if session is not None:
                session.close()
            await asyncio.sleep(self.pause)

    async def look(self, session, account):
        known = self.known[account]
        # What was there before this session began.
        before = set(known)
        names = [line.split(" ", 1) for line in await session.listing("UIDL")]
        ids = [unique for _, unique in names]
        if len(set(ids)) < len(ids):
            self.problems.append(f"{account}: a unique-id twice in one list")
        gone = before - set(ids)
        if gone:
            self.problems.append(f"{account}: {len(gone)} unique-ids vanished, such as {gone.pop()}")
        # A few of those that are known, and the newest.
        chosen = random.sample(names, min(5, len(names))) + names[-10:]
        for number, unique in chosen:
            header = await session.listing(f"TOP {number} 0")
            subject = next((line for line in header if line.startswith("Subject: ")), "no subject")
            if known.setdefault(unique, subject) != subject:
                self.problems.append(f"{account}: {unique} was {known[unique]}, and is {subject}")
        await session.say("QUIT")
        self.looks += 1
