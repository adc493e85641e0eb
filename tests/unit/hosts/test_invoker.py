"""Where calls of guests go, and what is told of their way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from hosts.callcontext import CallContext
from hosts.callees import ReadyReplicas
from hosts.invoker import Callees, Invoker
from lattice.bus.base import Bus, Packet
from lattice.bus.memory import memory_connection
from lattice.clock import SystemClock
from lattice.component.resolution import LinkTarget
from lattice.component.types import Function
from lattice.errors import DeadlineExceededError, GuestTrapError, LatticeError, NoRouteError
from lattice.wire.codec import encode
from lattice.wire.messages import CallReply, Leg
from lattice.wire.subjects import Names

CLOCK = SystemClock()
NAMES = Names("test")
ADD = "test:math/add@0.1.0"
LINK = LinkTarget(deployment="math", interface=ADD, route="remote", timeout_s=5.0)
INNER = Leg(deployment="deep", op="deep#f", route="local", host="H2", took_us=1)


def context() -> CallContext:
    return CallContext(deadline_at_s=CLOCK.monotonic_s() + 5.0)


def invoker(bus: Bus, callees: Callees | None = None) -> Invoker:
    callees = callees or ReadyReplicas()
    return Invoker(host="H1", bus=bus, names=NAMES, clock=CLOCK, callees=callees)


@asynccontextmanager
async def answering(
    reply: Callable[[], CallReply], callees: Callees | None = None
) -> AsyncIterator[Invoker]:
    """Have everybody who calls `math` answered so."""
    bus = memory_connection("test").bus

    async def answer(_packet: Packet) -> bytes:
        return encode(reply())

    async with bus.serve(NAMES.call("math", ADD, "add"), answer):
        yield invoker(bus, callees)


async def failed(invoker: Invoker, call: CallContext) -> LatticeError:
    with pytest.raises(LatticeError) as caught:
        await invoker.call(LINK, "add", [1, 2], call)
    return caught.value


async def test_a_call_that_fails_elsewhere_is_reported_with_its_host_and_the_hops_behind() -> None:
    fault = GuestTrapError("unreachable")
    async with answering(lambda: CallReply(err=fault.to_wire(), host="H2", legs=[INNER])) as own:
        call = context()
        assert isinstance(await failed(own, call), GuestTrapError)
    assert [(leg.deployment, leg.route, leg.host) for leg in call.legs] == [
        ("math", "remote", "H2"),
        ("deep", "local", "H2"),
    ]


async def test_a_call_that_succeeds_elsewhere_is_reported_in_the_same_way() -> None:
    async with answering(lambda: CallReply(ok=[3], host="H2", legs=[INNER])) as own:
        call = context()
        assert await own.call(LINK, "add", [1, 2], call) == 3
    assert [leg.host for leg in call.legs] == ["H2", "H2"]


async def test_a_call_that_nobody_takes_names_no_host() -> None:
    call = context()
    assert isinstance(await failed(invoker(memory_connection("test").bus), call), NoRouteError)
    assert [(leg.deployment, leg.host) for leg in call.legs] == [("math", "")]


async def test_a_call_that_is_turned_down_unrun_is_sent_again_and_reported_once() -> None:
    answers = [
        CallReply(err=NoRouteError("on its way out").to_wire()),
        CallReply(ok=[3], host="H2"),
    ]
    async with answering(lambda: answers.pop(0)) as own:
        call = context()
        assert await own.call(LINK, "add", [1, 2], call) == 3
    assert [leg.host for leg in call.legs] == ["H2"]


class Stopping:
    """A replica of this host that is stopped while it works."""

    generation = 1

    def __init__(self, *, ended: bool) -> None:
        self._fault = DeadlineExceededError("stopped or too slow", ended=ended)

    def pick(self, _deployment: str, generation: int = 0) -> Stopping | None:
        return self if generation in (0, self.generation) else None

    def lookup(self, interface: str, _function: str) -> tuple[str, Function, str]:
        return interface, Function(params=(), result=None), ""

    async def call(
        self, _interface: str, _function: str, _args: Sequence[Any], _context: CallContext
    ) -> Any:
        raise self._fault


@pytest.mark.parametrize(
    ("key", "ended", "is_again"), [("k", True, True), (None, True, False), ("k", False, False)]
)
async def test_a_call_in_memory_that_its_replica_ended_is_sent_on_only_with_a_key(
    key: str | None, ended: bool, is_again: bool
) -> None:
    fine = CallReply(ok=[3], host="H2")
    async with answering(lambda: fine, Stopping(ended=ended)) as own:
        call = CallContext(deadline_at_s=CLOCK.monotonic_s() + 5.0, key=key)
        if is_again:
            assert await own.call(replace(LINK, route="auto"), "add", [1, 2], call) == 3
            assert [(leg.route, leg.host) for leg in call.legs] == [("remote", "H2")]
        else:
            with pytest.raises(DeadlineExceededError):
                await own.call(replace(LINK, route="auto"), "add", [1, 2], call)
