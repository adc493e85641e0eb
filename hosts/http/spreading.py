"""Spreads connections over the workers of one port, where the system does not.

Linux gives new connections to all sockets that share a port by `SO_REUSEPORT`. Elsewhere one of
them gets all: the worker that accepts a connection then hands it to the next one in turn, itself
included. A sibling that is away or behind is passed over; nothing is ever handed twice.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

from hosts.siblings import Siblings
from lattice.errors import NoRouteError, OverloadedError

IS_BALANCED = sys.platform == "linux"
"""Whether the system spreads connections over the sockets that share a port."""

PAUSE_S = 0.1
"""Wait after a connection could not be accepted, mostly for want of descriptors: others close."""

log = logging.getLogger(__name__)

Adopt = Callable[[socket.socket], Awaitable[None]]
"""Serves a connection, which is its own from then on."""


class Spreader:
    """One worker's part in it: what it accepts goes round, what siblings hand over it serves."""

    def __init__(self, siblings: Siblings, adopt: Adopt, *, own: int, workers: int) -> None:
        self._siblings = siblings
        self._adopt = adopt
        self._own = own
        self._workers = workers
        self._next = own
        self._group: anyio.abc.TaskGroup

    async def run(self, listening: socket.socket) -> None:
        """Take connections until cancelled; the socket, which does not block, is closed then."""
        with listening, self._siblings:
            async with anyio.create_task_group() as self._group:
                self._group.start_soon(self._receive)
                await self._accept(listening)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as exc:
                log.warning("a connection cannot be accepted: %s", exc.strerror)
                await anyio.sleep(PAUSE_S)
                continue
            if not self._is_handed(connection):
                self._group.start_soon(self._serve, connection)

    def _is_handed(self, connection: socket.socket) -> bool:
        """Hand a connection to whose turn it is, and tell whether it is gone."""
        turn, self._next = self._next, (self._next + 1) % self._workers
        if turn == self._own:
            return False
        try:
            self._siblings.hand(turn, connection)
        except (NoRouteError, OverloadedError) as exc:
            log.debug("a connection stays here: %s", exc)
            return False
        return True

    async def _receive(self) -> None:
        async for handed in self._siblings.received():
            self._group.start_soon(self._serve, handed.connection)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._adopt(connection)
        except OSError as exc:  # the client left, or its TLS is none
            log.debug("a connection ended before its first request: %s", exc)
            connection.close()
