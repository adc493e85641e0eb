"""Answers HTTP requests with a guest: one call of the adapter's `server.handle` for each.

A small request travels in the call and a small answer in its result; of the others, tasks here
move the bodies between the exchange and the queues that the guest's side uses
(`hosts.engine.exchanges`).
Sockets are the server's business, instances that of whoever gives `Call`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from hosts.eager import noticing
from hosts.engine.adapting import SERVER
from hosts.engine.base import Instance
from hosts.engine.errorcodes import failure_in
from hosts.engine.exchanges import Serving, head_of, lines_of, serving
from hosts.engine.frames import decode_frame, encode_frame
from hosts.http.base import Exchange, Headers, HttpError, RequestHead, trace_of
from lattice.errors import GuestTrapError, InvalidError, LatticeError

INLINE_BYTES_MAX = 64 * 1024
"""Bytes of a request's body that travel in the call; above, passing parts costs less memory."""

PART_BYTES = 256 * 1024
"""Bytes that are moved at a time."""

DEADLINE_S = 60.0
"""Time for one request, bodies included, when nothing else is said."""

WATCH_AFTER_S = 0.02
"""Seconds until somebody looks whether the client is still there: most requests are over by then,
and looking costs more than they do."""

HEADS_KEPT_MAX = 256
HEAD_KEPT_MAX = 4096
"""Heads of requests, and of answers, whose other form is remembered; and their longest."""

HEAD_LINES = 4
"""Lines of a head before its fields: method, scheme, authority, target."""

Call = Callable[[str, str, Sequence[Any], float], Awaitable[Any]]
"""Calls a function of some instance of the guest: interface, function, arguments, deadline."""


@dataclass(frozen=True, slots=True)
class GuestHandler:
    """A `hosts.http.base.Handler`: answers exchanges with a guest.

    The guest's failures leave it as the errors of `Instance.call`: what it raises before the answer
    has begun is the server's to turn into a status, and after that the connection is aborted.
    A client that leaves cancels the guest's call, which costs the instance.
    """

    call: Call
    deadline_s: float = DEADLINE_S

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a request.

        Raises:
            GuestTrapError: the guest trapped, gave no answer, an error, or half of an answer.
            LatticeError: as `Instance.call`.
            HttpError: the client went away, or its body was none that is taken.
        """
        body = exchange.body
        is_whole = body is not None and len(body) <= INLINE_BYTES_MAX and not exchange.trailers
        text = request_text(exchange.head, body if is_whole else None)
        road = _Road(exchange, body)
        token = serving.set(road)
        try:
            call = self.call(SERVER, "handle", (text,), self.deadline_s)
            answer = await noticing(call, road.watch_later)  # most never let go of the loop
            if road.tasks:
                await road.end(answer)
        except asyncio.CancelledError:
            road.raise_if_left()
            raise
        finally:
            serving.reset(token)
            if road.tasks:
                await road.stop()
        if road.has_begun:
            return
        if road.body_error is not None:
            raise road.body_error  # which says more than what the guest made of it
        exchange.answer(*_whole_answer(answer))


def of_instance(instance: Instance) -> Call:
    """Return what calls one instance, which takes one request at a time."""

    async def call(interface: str, function: str, args: Sequence[Any], deadline_s: float) -> Any:
        return await instance.call(interface, function, args, deadline_s=deadline_s)

    return call


def request_text(head: RequestHead, body: bytes | None) -> str:
    """Return a request as the adapter reads it; without a body, the guest is to receive it.

    Raises:
        InvalidError: the head has a line feed or NUL in it, which would make another head of it.
    """
    known, lines = _last_heads.get(id(head), (None, ""))
    if known is not head:
        lines = _head_text(head)
    if not body:
        return f"{lines}\0s" if body is None else f"{lines}\0a"
    return f"{lines}\0{encode_frame(body).decode('ascii')}"


_last_heads: dict[int, tuple[RequestHead, str]] = {}
"""Texts of heads by the identity of these: a connection keeps the head that it saw last, and gets
the same again and again."""


def _head_text(head: RequestHead) -> str:
    first = f"{head.method}\n{head.scheme}\n{head.authority}\n{head.target}\n"
    lines = first + lines_of(head.headers)
    if "\0" in lines or lines.count("\n") != HEAD_LINES + 2 * len(head.headers):
        raise InvalidError("the head of a request has control characters in it")
    if len(_last_heads) >= HEADS_KEPT_MAX:
        _last_heads.clear()
    if len(lines) <= HEAD_KEPT_MAX:
        _last_heads[id(head)] = head, lines
    return lines


def _whole_answer(text: str) -> tuple[int, Headers, bytes]:
    """Return status, fields and body of an answer that came with the call's result.

    Raises:
        GuestTrapError: the guest gave none.
    """
    if text[:1] in "?!-":
        raise _failure(text)
    head, _, frame = text.partition("\0")
    if len(head) <= HEAD_KEPT_MAX:
        return (*_known_head(head), decode_frame(frame.encode("ascii")))
    return (*head_of(head), decode_frame(frame.encode("ascii")))


@functools.lru_cache(HEADS_KEPT_MAX)
def _known_head(text: str) -> tuple[int, Headers]:
    """Return status and fields of a head: a guest's answers mostly have the same."""
    status, fields = head_of(text)
    return status, tuple(fields)


def _failure(text: str) -> GuestTrapError:
    """Return the error for a guest that gave no answer, or no whole one."""
    if text.startswith("!"):
        failure = failure_in(text)
        return GuestTrapError(
            f"the guest answered with the error {failure}", http_status=failure.status
        )
    if text.startswith("-"):
        return GuestTrapError("the guest returned before the body of its answer was finished")
    return GuestTrapError("the guest returned without an answer: it never set response-outparam")


class _Road(Serving):
    """What moves the bodies of one exchange, in tasks that begin when they are needed.

    They are in no task group: entering one for each request costs more than the whole of most.
    """

    def __init__(self, exchange: Exchange, body: bytes | None) -> None:
        self._exchange = exchange
        self._body = body
        self._task: asyncio.Task[Any] | None = None  # of the guest's call, once it waits
        self.tasks: list[asyncio.Task[None]] = []
        self._informs: list[asyncio.Task[None]] = []
        self._sender: asyncio.Task[None] | None = None
        self._has_left = False
        self.body_error: HttpError | LatticeError | None = None
        """Why the request's body broke off."""

    @property
    def traceparent(self) -> str:
        """Return the trace that the request belongs to."""
        return trace_of(self._exchange.head.headers)

    @property
    def has_begun(self) -> bool:
        """Tell whether the answer has begun."""
        return self._sender is not None

    async def end(self, answer: str) -> None:
        """Return when all is sent: of an answer that has begun, else what came before it.

        Raises:
            GuestTrapError: it is not complete.
            HttpError: the client went away.
        """
        if self._sender is None:
            await self.informed()
            return
        if answer:
            raise _failure(answer)
        await asyncio.shield(self._sender)

    async def informed(self) -> None:
        """Return when all informational answers are sent."""
        for inform in self._informs:
            await inform

    def watch_later(self) -> None:
        """Cancel the task of the guest's call when the client goes away, seen a little later."""
        self._task = asyncio.current_task()
        self._start(self._until_closed())

    def raise_if_left(self) -> None:
        """Raise `HttpError` when the task was cancelled because the client went away."""
        if self._has_left and self._task is not None and self._task.uncancel() == 0:
            raise HttpError("the client went away before the guest had answered") from None

    async def stop(self) -> None:
        """End all tasks; what they raised is told by now, or does not matter any more."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # so that it counts as seen

    # --- called on the guest's stack ---------------------------------------------------------

    def fetch_body(self) -> None:
        """Begin to receive the request's body."""
        self._start(self._fetch_body())

    def begin(self, status: int, headers: Headers) -> None:
        """Begin to send the answer."""
        self._sender = self._start(self._send(status, headers))

    def inform(self, status: int, headers: Headers) -> None:
        """Send an informational answer; the final one waits for it."""
        self._informs.append(self._start(self._exchange.inform(status, headers)))

    # --- tasks -------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    async def _fetch_body(self) -> None:
        incoming, exchange = self.incoming, self._exchange
        try:
            if self._body is not None:
                incoming.put(self._body)
            else:
                while data := await exchange.read(PART_BYTES):
                    incoming.put(data)
                    await incoming.wait_for_room()
            incoming.end(exchange.trailers)
        except (HttpError, LatticeError) as error:
            self.body_error = error
            if isinstance(error, HttpError):
                incoming.fail(error.failure)
        finally:
            incoming.fail()  # without effect behind the end

    async def _send(self, status: int, headers: Headers) -> None:
        outgoing, exchange = self.outgoing, self._exchange
        try:
            await self.informed()
            await exchange.begin(status, headers)
            while data := await outgoing.get(PART_BYTES):
                await exchange.write(data)
            if outgoing.is_ended:
                await exchange.finish(outgoing.trailers)
        finally:
            outgoing.fail()  # without effect behind the end

    async def _until_closed(self) -> None:
        await anyio.sleep(WATCH_AFTER_S)
        await self._exchange.closed()
        if self._task is not None:
            self._has_left = True
            self._task.cancel()
