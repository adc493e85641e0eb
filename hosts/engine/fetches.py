"""Requests that a guest makes: what it sends to and receives from whatever the host lets it out by.

`Outlet` is the way out, one for each instance; none is granted unless the world of the instance has
it. The egress of a workload is one (`hosts.http.egress`), and nothing here opens connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from hosts.engine.bodyqueue import BodyQueue
from hosts.engine.exchanges import RECEIVING, STATE, TRAILERS, lines_of
from hosts.engine.webvalues import Answer, Body, EgressError, Headers, HttpError, OutgoingHead

PART_BYTES = 64 * 1024
"""Bytes of an answer that are read at once."""


class OutletCall(Protocol):
    """One request under way."""

    async def answered(self) -> Answer:
        """Return the head of the answer.

        Raises:
            EgressError: there will be none.
        """
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes of the body, `b""` at its end.

        Raises:
            EgressError: the body broke off.
        """
        ...

    @property
    def trailers(self) -> Headers:
        """Return the trailers of the answer; they are complete once `read` returned `b""`."""
        ...

    def cancel(self) -> None:
        """Give the request up. Idempotent."""
        ...


class Outlet(Protocol):
    """Where one instance sends its requests."""

    def begin(self, head: OutgoingHead, body: Body, *, traceparent: str = "") -> OutletCall:
        """Return a request that has begun; nothing waits here.

        Raises:
            EgressError: it may not be sent.
        """
        ...

    def close(self) -> None:
        """Cancel what is under way. Idempotent."""
        ...


class QueuedBody:
    """A body that the guest still writes; see `hosts.engine.webvalues.BodySource`."""

    def __init__(self, queue: BodyQueue) -> None:
        self._queue = queue

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next bytes, `b""` at the end.

        Raises:
            HttpError: the guest gave the body up.
        """
        data = await self._queue.get(limit_bytes)
        if not data and self._queue.error is not None:
            raise HttpError("the guest gave up the body of its request")
        return data

    @property
    def trailers(self) -> Headers:
        """Return what follows the body."""
        return self._queue.trailers


class Fetch:
    """One request of a guest; see `hosts.engine.exchanges.GuestExchange`."""

    def __init__(self, call: OutletCall, outgoing: BodyQueue) -> None:
        self._call = call
        self.outgoing = outgoing
        self.incoming = BodyQueue()
        self.answer = ""
        """The head of the answer as the adapter reads it, `!` and an error-code; empty before."""
        self._wake: Callable[[], None] = lambda: None
        self._is_receiving = False
        # No task group: a guest's functions begin these, and `close` ends them with the instance.
        self._tasks = [self._start(self._wait_for_answer())]

    def receiving(self) -> BodyQueue:
        """Return what comes in; see `GuestExchange`."""
        if not self._is_receiving:
            self._is_receiving = True
            self._tasks.append(self._start(self._receive()))
        return self.incoming

    def is_ready(self, kind: int, wake: Callable[[], None]) -> bool:
        """Tell whether what the guest waits for is there; see `GuestExchange`."""
        self._wake = self.incoming.on_change = self.outgoing.on_change = wake
        if kind == STATE:
            return bool(self.answer)
        if kind in (RECEIVING, TRAILERS):
            return self.receiving().is_ready(is_end=kind == TRAILERS)
        return self.outgoing.room > 0 or self.outgoing.is_over

    def close(self) -> None:
        """Give up what is under way. Idempotent."""
        self._call.cancel()
        for task in self._tasks:
            task.cancel()

    async def _wait_for_answer(self) -> None:
        try:
            answer = await self._call.answered()
            self.answer = f"{answer.status}\n{lines_of(answer.headers)}"
        except EgressError as error:
            self.answer = error.failure.line
        self._wake()

    async def _receive(self) -> None:
        try:
            while data := await self._call.read(PART_BYTES):
                self.incoming.put(data)
                await self.incoming.wait_for_room()
            self.incoming.end(self._call.trailers)
        except EgressError as error:
            self.incoming.fail(error.failure)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)
