"""Doors between a node and its databases, which the test can slow down, shut and make lose answers.

A door listens where the node expects a database, and passes octets on. It knows nothing of what they mean: a request is
what the node sends until the database answers, so that losing the answer to one loses that to a COMMIT, or to the statement
that accepts a group of messages, sooner or later.
"""

import asyncio
import random


class Door:
    """A way to one database."""

    def __init__(self, address, target):
        self.address, self.target = address, target
        # Seconds that each answer takes more.
        self.delay = 0
        # The share of requests whose answer is lost, together with the connection.
        self.loses = 0
        # Whether nothing passes any more, without a word to either side.
        self.is_mute = False
        self.lost = 0
        self.open = set()
        self.server = None

    async def start(self):
        self.server = await asyncio.start_server(self.serve, self.address, 5432)

    def heal(self):
        """Makes everything pass again. What was mute is cut, as by a firewall that forgot its connections."""
        if self.is_mute:
            for writer in list(self.open):
                writer.transport.abort()
        self.delay = self.loses = 0
        self.is_mute = False

    async def serve(self, client_reader, client):
        self.open.add(client)
        server = None
        try:
            while self.is_mute:
                await asyncio.sleep(0.1)
            server_reader, server = await asyncio.wait_for(asyncio.open_connection(self.target, 5432), 10)
            self.open.add(server)
            state = {"is_losing": False}
            await asyncio.gather(
                self.up(client_reader, server, state), self.down(server_reader, client, state, server)
            )
        except (OSError, asyncio.TimeoutError, ConnectionError):
            pass
        finally:
            for writer in (client, server):
                if writer is not None:
                    self.open.discard(writer)
                    writer.transport.abort()

    async def up(self, reader, writer, state):
        first = True
        while octets := await reader.read(1 << 16):
            while self.is_mute:
                await asyncio.sleep(0.1)
            # Logging in is no request.
            if not first and self.loses and random.random() < self.loses:
                state["is_losing"] = True
            first = False
            writer.write(octets)
            await writer.drain()
        raise ConnectionError

    async def down(self, reader, writer, state, server):
        while octets := await reader.read(1 << 16):
            while self.is_mute:
                await asyncio.sleep(0.1)
            if state["is_losing"]:
                self.lost += 1
                raise ConnectionError
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(octets)
            await writer.drain()
        raise ConnectionError
