"""The answering side of requests, the same over every bus: limits, errors and draining.

`Bus.serve` of each implementation is a subscription plus `answer_requests`. It knows nothing of
where requests come from and nothing of what handlers do.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.abc

from lattice.bus.base import DRAIN_S, Handler, Packet
from lattice.bus.eager import Eager, Rest
from lattice.bus.mailbox import Mailbox
from lattice.bus.options import INBOX_PREFIX
from lattice.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidError,
    LatticeError,
    NoRouteError,
    OverloadedError,
)
from lattice.wire import codec

WAITING_PER_RUNNING = 4
"""Requests that wait for each handler that may run: more would only wait out their deadlines."""

WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of the bodies that wait for one served subject: a queue full of largest messages would
otherwise take the memory of the whole host."""

SHORT_MESSAGE_MAX = 1000
"""Characters of an error's message that are kept when the whole error fits in no message."""

RETRY_AFTER_MS = 100
"""Advice to an asker that is turned away: about the time in which a full queue moves."""

PATIENCE_S = 30.0
"""Seconds that running handlers get beyond `DRAIN_S` when the server closes and its process goes
on: another generation takes new calls while the old one finishes its own. Who is cancelled does
not wait so long."""

REPLY_S = 1.0
"""Seconds for the last answers of a closing server to leave: publishing hardly ever waits."""

SPARES_MAX = 16
"""Tasks that stand by for one served subject: as many requests may begin to wait between two turns
of the loop before one gets a task of its own."""

_INBOXES = f"{INBOX_PREFIX}."
_NONE: Mapping[str, str] = {}

_log = logging.getLogger(__name__)

Reply = Callable[[str, bytes, Mapping[str, str]], Awaitable[None]]
"""Sends a body and headers to a subject."""


@asynccontextmanager
async def answer_requests(
    requests: AsyncIterator[Packet],
    stop: Callable[[], Awaitable[None]],
    reply: Reply,
    handler: Handler,
    *,
    concurrency: int,
    box: Mailbox[Packet] | None = None,
) -> AsyncIterator[None]:
    """Answer each of `requests` with what `handler` returns, while the context lasts.

    A request is what has an inbox to answer to. Whoever asks chooses that address, and we may write
    what the asker may not; and what the server says, wherever an asker aimed it, comes without one.
    `stop` ends the intake and with it `requests`; it is called once, on the way out.

    `box` is what `requests` are read from, if it is a mailbox that the socket fills: what comes
    while nothing waits is then begun while the socket is read, and needs no task unless it waits.
    """
    server = _Server(reply, handler, concurrency, box)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.take, requests, tasks)
        try:
            yield
        except anyio.get_cancelled_exc_class():
            server.begin_no_more()
            raise
        except Exception as error:  # noqa: BLE001 - raised again below, outside the task group,
            failure = error  # which would wrap the caller's own error into a group
        finally:
            with anyio.CancelScope(shield=True):
                await stop()
                with anyio.move_on_after(DRAIN_S):
                    await server.idle()
            try:
                with anyio.move_on_after(PATIENCE_S):
                    await server.idle()
            finally:
                server.intake.cancel()
                tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Spare:
    """A task that stands by: in whose name a request begins, and where its rest goes."""

    __slots__ = ("eager", "place")

    def __init__(self) -> None:
        self.eager = Eager()
        self.place: asyncio.Future[Rest[None]] = asyncio.get_running_loop().create_future()


class _Server:
    def __init__(
        self, reply: Reply, handler: Handler, concurrency: int, box: Mailbox[Packet] | None
    ) -> None:
        self._box = box
        self._spares: list[_Spare] = []
        self._reply = reply
        self._handler = handler
        self._concurrency = concurrency
        self._running = 0
        self._waiting: deque[Packet] = deque()
        self._waiting_bytes = 0
        self._is_intake_over = False
        self._is_refusing = False
        self._changed = anyio.Event()
        # What arrives until the bus has taken note of the end is answered, too.
        self.intake = anyio.CancelScope(shield=True)

    def begin_no_more(self) -> None:
        """Turn down what comes from now on: whoever would answer it is cancelled."""
        self._is_refusing = True

    async def take(self, requests: AsyncIterator[Packet], tasks: anyio.abc.TaskGroup) -> None:
        """Start, queue or refuse each request, in the order of arrival."""
        if self._box is not None:
            self._box.at_once = self._begin
        try:
            with self.intake:
                async for packet in requests:
                    await self._admit(packet, tasks)
        finally:
            if self._box is not None:
                self._box.at_once = None
            self._is_intake_over = True
            self._changed.set()

    async def _admit(self, packet: Packet, tasks: anyio.abc.TaskGroup) -> None:
        if not packet.reply_to.startswith(_INBOXES):
            _log.warning("%s has no inbox to answer to, so it is ignored", packet.subject)
        elif self._is_refusing:
            await self._last_words(packet, _closing(packet))
        elif self._running < self._concurrency:
            self._running += 1
            tasks.start_soon(self._serve, packet)
        elif self._has_room(packet):
            self._waiting.append(packet)
            self._waiting_bytes += len(packet.body)
        else:
            await self._refuse(packet, "all handlers are busy and the queue is full")

    def _begin(self, packet: Packet) -> bool:
        """Answer a request at once, in the name of a task that stands by; False: it cannot be.

        Only what has to wait is handed to that task: making one for each request, or waking one,
        takes as long as a short call does.
        """
        if (
            not self._spares
            or self._waiting
            or self._is_refusing
            or self._running >= self._concurrency
        ):
            return False
        spare = self._spares[-1]
        if (
            spare.place.done()
            or not spare.eager.can_begin()
            or not packet.reply_to.startswith(_INBOXES)
        ):
            return False
        self._running += 1
        rest = spare.eager.begin(self._answer(packet))
        if rest is None:
            self._running -= 1
        else:
            self._spares.pop()
            spare.place.set_result(rest)
        return True

    async def idle(self) -> None:
        """Return when the intake is over and every request taken has been answered."""
        while self._running or self._waiting or not self._is_intake_over:
            self._changed = anyio.Event()
            await self._changed.wait()

    def _has_room(self, packet: Packet) -> bool:
        if len(self._waiting) >= self._concurrency * WAITING_PER_RUNNING:
            return False
        return self._waiting_bytes + len(packet.body) <= WAITING_BYTES_MAX

    def _next(self) -> Packet:
        packet = self._waiting.popleft()
        self._waiting_bytes -= len(packet.body)
        return packet

    async def _serve(self, packet: Packet) -> None:
        """Answer a request, then stand by for the rests of others, as long as some may come."""
        await self._work(self._answer(packet))
        while self._box is not None and not self._is_intake_over:
            if len(self._spares) >= SPARES_MAX:
                return
            spare = _Spare()
            self._spares.append(spare)
            try:
                rest = await spare.place
            except asyncio.CancelledError:
                if not spare.place.done() or spare.place.cancelled():
                    self._spares.remove(spare)
                else:  # it was handed on in the very moment
                    await self._work(spare.place.result().cancelled())
                raise
            await self._work(rest)

    async def _work(self, begun: Awaitable[None]) -> None:
        """Await an answer, then give those that wait, so that no task is made for a queued one."""
        try:
            await begun
            while self._waiting:
                await self._answer(self._next())
        finally:
            self._running -= 1
            self._changed.set()
            if not self._running:
                await self._refuse_waiting()

    async def _answer(self, packet: Packet) -> None:
        try:
            answer = await self._handler(packet)
        except LatticeError as error:
            await self._fail(packet, error)
        except anyio.get_cancelled_exc_class():
            gone = DeadlineExceededError(
                f"{packet.subject} closed before its handler ended; the effect is unknown",
                ended=True,
            )
            await self._last_words(packet, gone)
            raise
        except Exception as error:  # noqa: BLE001 - the top of a request: logged and answered
            await self._fail(packet, _internal(packet, error))
        else:
            if answer is None:
                return
            if isinstance(answer, bytes):
                await self._send(packet, answer, _headers(packet) if packet.headers else _NONE)
            else:
                await self._send(packet, answer.body, answer.headers)

    async def _send(self, packet: Packet, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            await self._reply(packet.reply_to, body, headers)
        except InvalidError as error:
            message = f"answer to {packet.subject} cannot be sent: {error.message}"
            await self._fail(packet, InternalError(message, **error.details))
        except LatticeError as error:
            _log.warning("answer to %s was not sent: %s", packet.subject, error)

    async def _fail(self, packet: Packet, error: LatticeError) -> None:
        as_json = codec.is_json(packet.headers)
        try:
            body = codec.encode({"err": error.to_wire()}, as_json=as_json)
        except (TypeError, ValueError, OverflowError) as fault:
            plain = InternalError(f"{error.message} (its details cannot be encoded: {fault})")
            body = codec.encode({"err": plain.to_wire()}, as_json=as_json)
        headers = _headers(packet)
        try:
            try:
                await self._reply(packet.reply_to, body, headers)
            except InvalidError:  # larger than a message: who asked still learns what went wrong
                body = codec.encode({"err": _shortened(error)}, as_json=as_json)
                await self._reply(packet.reply_to, body, headers)
        except LatticeError as lost:
            _log.warning("answer to %s was not sent: %s", packet.subject, lost)

    async def _refuse(self, packet: Packet, why: str) -> None:
        error = OverloadedError(f"{packet.subject}: {why}", retry_after_ms=RETRY_AFTER_MS)
        await self._fail(packet, error)

    async def _refuse_waiting(self) -> None:
        """Answer what was taken but will not be started, because the server is being closed."""
        while self._waiting:
            packet = self._next()
            await self._last_words(packet, _closing(packet))

    async def _last_words(self, packet: Packet, error: LatticeError) -> None:
        with anyio.move_on_after(REPLY_S, shield=True):
            await self._fail(packet, error)


def _headers(packet: Packet) -> dict[str, str]:
    """Return the headers of an answer in the asker's encoding."""
    return {codec.CONTENT_TYPE: codec.JSON_TYPE} if codec.is_json(packet.headers) else {}


def _closing(packet: Packet) -> NoRouteError:
    return NoRouteError(f"{packet.subject} is closing")


def _shortened(error: LatticeError) -> dict[str, object]:
    message = error.message
    if len(message) > SHORT_MESSAGE_MAX:
        message = f"{message[:SHORT_MESSAGE_MAX]} (cut from {len(message)} characters)"
    return {**error.to_wire(), "message": message, "details": {}}


def _internal(packet: Packet, error: Exception) -> InternalError:
    incident = secrets.token_hex(6)
    _log.error("handler of %s failed, id %s", packet.subject, incident, exc_info=error)
    return InternalError(
        f"{packet.subject} failed by a mistake of ours: look for id {incident} in its log",
        id=incident,
    )
