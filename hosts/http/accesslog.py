"""Tells of each request that was served: one line of log, and a span when tracing is set up.

The line has its parts as `record.http` too, for handlers of logs that write structured lines.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hosts.http.base import HttpError, trace_of, via
from hosts.http.exchange import ServerExchange
from lattice.telemetry import call_span

TARGET_CHARACTERS_MAX = 512
"""Of a target in a line of the log: the longest has 8192."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of one request. `status` is 0 when the client left before an answer."""

    method: str
    authority: str
    target: str  # path and query, cut to TARGET_CHARACTERS_MAX
    peer: str
    status: int
    received_bytes: int  # of the body, as far as it was read
    sent_bytes: int  # of the body
    duration_s: float
    is_complete: bool  # the answer was finished
    error: str  # of the handler, "" without one
    deployment: str = ""  # that answered, "" when no route led to one
    route: str = ""  # that matched
    leg: str = ""  # "local" or "remote"


def note(
    exchange: ServerExchange,
    duration_s: float,
    failure: BaseException | None,
    on_served: Callable[[Served], None] | None,
) -> None:
    """Write the line of one request, and tell whoever asked. Costs nothing when nobody listens.

    What went wrong on this side of the connection is a warning, all else is information.
    """
    found = via.get()
    if found is not None:
        via.set(None)  # the next request of the connection comes in this context too
    is_ours = isinstance(failure, Exception) and not isinstance(failure, HttpError)
    is_bad = is_ours and (exchange.status >= 500 or not exchange.is_finished)
    level = logging.WARNING if is_bad else logging.INFO
    is_logged = log.isEnabledFor(level)
    if not is_logged and on_served is None:
        return
    head = exchange.head
    served = Served(
        method=head.method,
        authority=head.authority,
        target=head.target[:TARGET_CHARACTERS_MAX],
        peer=head.peer,
        status=exchange.status,
        received_bytes=exchange.incoming.received_bytes,
        sent_bytes=exchange.sent_bytes,
        duration_s=duration_s,
        is_complete=exchange.is_finished,
        error="" if failure is None else _told(failure),
        deployment=found.deployment if found else "",
        route=found.route if found else "",
        leg=found.leg if found else "",
    )
    if is_logged:
        log.log(
            level,
            "%s %s%s %d, %d bytes in %.1f ms%s, for %s%s",
            served.method, served.authority, served.target, served.status, served.sent_bytes,
            duration_s * 1000, f" by {found.deployment} ({found.leg})" if found else "",
            served.peer, f": {served.error}" if failure else "",
            extra={"http": dataclasses.asdict(served)},
        )  # fmt: skip
    if on_served is not None:
        on_served(served)


def _told(failure: BaseException) -> str:
    """Return an error as one line: the backtraces of guests have many."""
    lines = f"{type(failure).__name__}: {failure}".splitlines()
    return " | ".join(line.strip() for line in lines)


@contextmanager
def tracing(exchange: ServerExchange) -> Iterator[None]:
    """Run a handler under a span that continues the client's trace (W3C Trace Context).

    The handler finds the span's own `traceparent` among the headers, in place of the client's.
    """
    head = exchange.head
    attributes = {
        "http.request.method": head.method,
        "url.scheme": head.scheme,
        "url.path": head.path,
        "server.address": head.authority,
        "client.address": head.peer,
    }
    with call_span(
        head.method, parent=trace_of(head.headers), is_server=True, attributes=attributes
    ) as span:
        others = [field for field in head.headers if field[0] != b"traceparent"]
        exchange.head = dataclasses.replace(
            head, headers=[*others, (b"traceparent", span.traceparent.encode())]
        )
        try:
            yield
            span.mark("http.response.status_code", exchange.status)
        finally:
            if (found := via.get()) is not None:
                span.mark("http.route", found.route)
                span.mark("lattice.deployment", found.deployment)
                span.mark("lattice.leg", found.leg)
