"""Requests to the outside as an instance makes them, under grants that a test names."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

import anyio
import pytest

from hosts.engine.webvalues import Body, EgressError, OutgoingHead, Timeouts
from hosts.http.base import Headers
from hosts.http.call import OutgoingCall
from hosts.http.egress import Egress, Outlet
from hosts.http.outgoing import EgressLimits
from lattice.model.egress import parse_http_grant
from tests.integration.http_peers import PATIENCE_S

LOOPBACK = ("127.0.0.0/8:*",)
QUICK = Timeouts(connect_s=PATIENCE_S, first_byte_s=0.05, between_bytes_s=PATIENCE_S)


@pytest.fixture(params=["asyncio", "uvloop"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that a host may run on: their transports differ."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class Parts:
    """A body that comes in parts, and then what a test has it do."""

    def __init__(self, *parts: bytes, trailers: Headers = (), then: Exception | None = None):
        self.parts = list(parts)
        self.trailers = trailers
        self.then = then

    async def read(self, limit_bytes: int) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        if self.then is not None:
            raise self.then
        return b""


class Faucet:
    """A body that goes on until it is closed."""

    trailers: Headers = ()

    def __init__(self, part: bytes = b"x" * 65536) -> None:
        self.part = part
        self.read_bytes = 0

    async def read(self, limit_bytes: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.read_bytes += len(self.part)
        return self.part


class Held:
    """A body that waits until a test lets it go on."""

    trailers: Headers = ()

    def __init__(self) -> None:
        self.go = anyio.Event()

    async def read(self, limit_bytes: int) -> bytes:
        await self.go.wait()
        return b""


@contextlib.asynccontextmanager
async def egress(
    *allowed: str, limits: EgressLimits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Outlet]:
    with anyio.fail_after(PATIENCE_S):
        async with Egress(limits, tls=tls) as whole:
            outlet = whole.outlet([parse_http_grant(text) for text in allowed], lambda *_: None)
            yield outlet
            outlet.close()


def get(port: int, target: str = "/", host: str = "127.0.0.1", **more: object) -> OutgoingHead:
    head: dict[str, object] = {
        "method": "GET", "scheme": "http", "authority": f"{host}:{port}", "target": target,
    }  # fmt: skip
    return OutgoingHead(**(head | more))  # type: ignore[arg-type]  # a test names what it needs


async def whole(call: OutgoingCall) -> bytes:
    found = bytearray()
    while part := await call.read(65536):
        found += part
    return bytes(found)


async def code_of(call: OutgoingCall) -> str:
    with pytest.raises(EgressError) as caught:
        await whole(call)
    return caught.value.code


def refusal(outlet: Outlet, head: OutgoingHead, body: Body = b"") -> str:
    with pytest.raises(EgressError) as caught:
        outlet.begin(head, body)
    return caught.value.code
