"""A guest that asks other deployments, and what it gets: for tests of requests between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest

from hosts.callcontext import CallContext, at_work
from hosts.engine.fetches import Outlet, OutletCall
from hosts.engine.webvalues import Answer, EgressError, HttpError, OutgoingHead
from hosts.http.egress import Egress
from hosts.http.internaloutlet import Asker, outlets
from lattice.clock import SystemClock
from lattice.model.egress import parse_http_grant
from lattice.testing import LATTICE
from tests.contract.forwarding import Party

LIMIT_S = 20.0
SITE = f"site.{LATTICE}.lattice.internal"


class Guest:
    """What asks: an outlet, and the call at work."""

    def __init__(self, outlet: Outlet, log: list[str]) -> None:
        self.outlet = outlet
        self.log = log
        self.context = CallContext(
            deadline_at_s=SystemClock().monotonic_s() + 30, caller="shop", chain=("shop",)
        )

    def begin(self, authority: str = SITE, body: object = b"", **words: object) -> OutletCall:
        head = {"method": "GET", "scheme": "http", "target": "/path?query", **words}
        outer = at_work.set(self.context)
        try:
            return self.outlet.begin(OutgoingHead(authority=authority, **head), body)
        finally:
            at_work.reset(outer)

    async def fetch(self, *args: object, **words: object) -> tuple[Answer, bytes]:
        with anyio.fail_after(LIMIT_S):
            call = self.begin(*args, **words)
            answer = await call.answered()
            return answer, await whole(call)

    @property
    def legs(self) -> list[tuple[str, str, str]]:
        return [(leg.deployment, leg.op, leg.route) for leg in self.context.legs]


async def whole(call: OutletCall) -> bytes:
    parts = []
    while part := await call.read(1000):
        parts.append(part)
    return b"".join(parts)


@asynccontextmanager
async def guest_on(party: Party, *grants: str, in_memory: bool = True) -> AsyncIterator[Guest]:
    log: list[str] = []
    asker = Asker(
        "shop",
        tuple(map(parse_http_grant, grants or (f"http://{SITE}",))),
        in_memory,
        lambda _level, line: log.append(line),
    )
    async with Egress() as egress:
        outlet = outlets(asker, egress, party.relay.internal)()
        yield Guest(outlet, log)
        outlet.close()


@contextmanager
def fails(code: str) -> Iterator[None]:
    with pytest.raises(EgressError) as failure:
        yield
    assert failure.value.code == code, failure.value


class Parts:
    """A body that comes bit by bit."""

    def __init__(self, *parts: bytes, trailers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._parts = list(parts)
        self.trailers = trailers
        self.read_bytes = 0

    async def read(self, limit_bytes: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        part = self._parts.pop(0) if self._parts else b""
        if part == b"!":
            raise HttpError("the guest gave up the body of its request")
        self.read_bytes += len(part)
        return part
