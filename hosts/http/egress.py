"""Requests of guests to the outside: granted, bounded, and sent over connections that are kept.

One `Egress` serves one workload, and each instance of it has an `Outlet` of its own. Redirects are
not followed: the guest sees them, and where it goes next is checked anew.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import ssl
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import anyio
import anyio.abc
import h11

from hosts.engine.errorcodes import Code
from hosts.engine.webvalues import Body, EgressError, OutgoingHead
from hosts.http.call import OutgoingCall
from hosts.http.connections import Connection, Kept
from hosts.http.destination import Log, Origin, Reach, origin_of
from hosts.http.outgoing import (
    BODY_METHODS,
    FORBIDDEN_HEADERS,
    HEADERS_BYTES_MAX,
    TARGET_BYTES_MAX,
    EgressLimits,
)
from hosts.http.wire import dial
from lattice.model.network import DEFAULT_PORTS, HttpGrant
from lattice.telemetry import call_span

if TYPE_CHECKING:
    from types import TracebackType

ATTEMPT_S = 4.0
"""Seconds for one address of a name that has more: the next one may answer sooner."""

LOOKUPS_MAX = 8
"""Names that are looked up at once for one workload; more wait. The process has places for 32."""

FRESH_S = 1.0
"""Seconds that a connection may have been kept for a request that cannot be repeated: servers close
idle connections after 5 s or more, and what crosses such an end is lost."""

_LOG = logging.getLogger(__name__)


class Egress:
    """The requests of one workload; an async context manager that ends them when it is left."""

    def __init__(
        self, limits: EgressLimits | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Prepare; `tls` replaces the system's roots (`SSL_CERT_FILE` is heeded)."""
        self._limits = limits or EgressLimits()
        self._tls = tls
        self._kept = Kept(connections_max=self._limits.idle_connections, idle_s=self._limits.idle_s)
        self._lookups = anyio.Semaphore(LOOKUPS_MAX)
        self._places = anyio.Semaphore(self._limits.connections)
        self._group: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._group is not None, "entered"
        group, self._group = self._group, None
        group.cancel_scope.cancel()
        try:
            return await group.__aexit__(kind, error, trace)
        finally:
            self._kept.close()

    @property
    def connections_kept(self) -> int:
        """Return how many connections wait for another request."""
        return len(self._kept)

    def outlet(self, grants: Iterable[HttpGrant], log: Log) -> Outlet:
        """Return what one instance sends its requests through; `log` takes what was denied."""
        return Outlet(self, Reach(tuple(grants), log), self._limits)

    def start(self, call: OutgoingCall, reach: Reach, traceparent: str) -> None:
        """Begin to carry out a request."""
        if self._group is None:
            raise EgressError("connection-terminated", "the workload has ended")
        self._group.start_soon(self._serve, call, reach, traceparent)

    async def _serve(self, call: OutgoingCall, reach: Reach, traceparent: str) -> None:
        """Carry out one request; the top of its task."""
        try:
            with call.scope:
                await self._carry(call, reach, traceparent)
        except EgressError as error:
            call.fail(error)
        except Exception:  # noqa: BLE001 (the top of a task: logged, and the guest is answered)
            _LOG.exception("request to %s failed for a reason of the host's own", call.origin)
            call.fail(EgressError("internal-error", "the host's log says more"))
        finally:
            call.fail(EgressError("connection-terminated", f"{call.origin}: the request was ended"))

    async def _carry(self, call: OutgoingCall, reach: Reach, traceparent: str) -> None:
        attributes: dict[str, str | int] = {
            "server.address": call.origin.host,
            "server.port": call.origin.port,
        }
        with call_span(
            f"http {call.head.method}", parent=traceparent, attributes=attributes
        ) as span:
            request = _request(call, span.traceparent)
            await self._take_place(call.head.timeouts.connect_s)
            try:
                connection = self._kept.take(
                    call.origin,
                    lambda address: reach.may_use(call.origin, address),
                    math.inf if call.is_repeatable else FRESH_S,
                )
                while True:
                    connection = connection or await self._connect(call, reach)
                    if await call.carry(connection, request, self._kept.keep):
                        return
                    connection = None  # the kept one was closed: once more, on a new one
            finally:
                self._places.release()

    async def _take_place(self, wait_s: float) -> None:
        """Wait for a place among the connections in use, first come, first served."""
        with contextlib.suppress(anyio.WouldBlock):
            self._places.acquire_nowait()
            return
        with anyio.move_on_after(wait_s) as waiting:
            await self._places.acquire()
        if waiting.cancelled_caught:
            raise EgressError(
                "connection-limit-reached",
                f"{self._limits.connections} connections of the workload were in use "
                f"for {wait_s:g} s",
            )

    async def _connect(self, call: OutgoingCall, reach: Reach) -> Connection:
        """Return a new connection to an address that is granted."""
        origin, wait_s = call.origin, call.head.timeouts.connect_s
        is_looking_up = True
        with anyio.move_on_after(wait_s) as waiting:
            async with self._lookups:
                addresses = await reach.addresses(origin)
            is_looking_up = False
            tls = self._context() if origin.scheme == "https" else None
            for address in addresses[:-1]:
                try:
                    with anyio.fail_after(ATTEMPT_S):
                        wire = await dial(address, origin.port, tls, origin.host)
                        return Connection(wire, origin, address)
                except (EgressError, TimeoutError):
                    continue
            wire = await dial(addresses[-1], origin.port, tls, origin.host)
            return Connection(wire, origin, addresses[-1])
        assert waiting.cancelled_caught, "the block returns, raises or runs out of time"
        if is_looking_up:
            raise EgressError("DNS-timeout", f"{origin.host} was not looked up in {wait_s:g} s")
        raise EgressError("connection-timeout", f"no connection to {origin} in {wait_s:g} s")

    def _context(self) -> ssl.SSLContext:
        return self._tls or _system_tls()


class Outlet:
    """Where one instance sends its requests."""

    def __init__(self, egress: Egress, reach: Reach, limits: EgressLimits) -> None:
        self._egress = egress
        self._reach = reach
        self._limits = limits
        self._calls: set[OutgoingCall] = set()

    def begin(self, head: OutgoingHead, body: Body = b"", *, traceparent: str = "") -> OutgoingCall:
        """Return a request that has begun; nothing waits here.

        The answer is read from the call, which is to be read to its end or cancelled: it holds one
        of the workload's connections until then. `traceparent` is sent on, unless the request has
        a header of that name.

        Raises:
            EgressError: the request is none that may be sent, its host is not granted, or the
                instance has too many requests under way (`connection-limit-reached`).
        """
        origin = origin_of(head.scheme, head.authority)
        check_request(head, body, self._limits)
        self._reach.require_name(origin)
        self._calls = {each for each in self._calls if not each.is_over}
        if len(self._calls) >= self._limits.requests_per_instance:
            raise EgressError(
                "connection-limit-reached",
                f"{len(self._calls)} requests of the instance are under way, and no more may be",
            )
        timeouts = head.timeouts.bounded()
        if timeouts != head.timeouts:
            head = replace(head, timeouts=timeouts)
        call = OutgoingCall(head, body, origin, self._limits)
        self._egress.start(call, self._reach, traceparent)
        self._calls.add(call)
        return call

    def close(self) -> None:
        """Cancel what is under way. Idempotent."""
        for call in self._calls:
            call.cancel()
        self._calls.clear()


def check_request(head: OutgoingHead, body: Body, limits: EgressLimits) -> None:
    """Refuse what may not be sent, before anything is.

    Raises:
        EgressError: which rule it breaks.
    """
    if head.method == "CONNECT":
        raise EgressError("HTTP-request-method-invalid", "CONNECT opens tunnels, which none may")
    if not head.target.startswith("/") and (head.method, head.target) != ("OPTIONS", "*"):
        raise EgressError("HTTP-request-URI-invalid", f"target {head.target!r}, expected /PATH")
    if len(head.target) > TARGET_BYTES_MAX:
        raise EgressError(
            "HTTP-request-URI-too-long",
            f"target of {len(head.target)} bytes, at most {TARGET_BYTES_MAX}",
        )
    size = sum(len(name) + len(value) for name, value in head.headers)
    if size > HEADERS_BYTES_MAX:
        raise EgressError(
            "HTTP-request-header-section-size",
            f"headers of {size} bytes, at most {HEADERS_BYTES_MAX}",
            size,
        )
    for name, _ in head.headers:
        if name.lower() in FORBIDDEN_HEADERS:
            raise EgressError(
                "HTTP-protocol-error", f"header {name.decode('latin-1')} is the connection's own"
            )
    if isinstance(body, bytes) and len(body) > limits.request_bytes:
        raise EgressError(
            "HTTP-request-body-size",
            f"body of {len(body)} bytes, at most {limits.request_bytes}",
            len(body),
        )


def _request(call: OutgoingCall, traceparent: str) -> h11.Request:
    """Return the head as it is sent: with the host's own headers, and how long the body is."""
    headers = [(b"host", _host_header(call.origin).encode("ascii")), *call.head.headers]
    names = {name.lower() for name, _ in call.head.headers}
    if b"content-length" not in names:
        length = call.length
        if length is None:
            headers.append((b"transfer-encoding", b"chunked"))
        elif length or call.head.method in BODY_METHODS:
            headers.append((b"content-length", str(length).encode("ascii")))
    if traceparent and b"traceparent" not in names:
        headers.append((b"traceparent", traceparent.encode("ascii")))
    try:
        return h11.Request(method=call.head.method, target=call.head.target, headers=headers)
    except (h11.LocalProtocolError, UnicodeError) as error:
        is_target = "target" in str(error) or isinstance(error, UnicodeError)
        code: Code = "HTTP-request-URI-invalid" if is_target else "HTTP-protocol-error"
        raise EgressError(code, f"the request is none: {error}") from None


def _host_header(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == DEFAULT_PORTS[origin.scheme] else f"{host}:{origin.port}"


@functools.cache
def _system_tls() -> ssl.SSLContext:
    """Return what checks certificates by the system's roots; reading them takes some 20 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
