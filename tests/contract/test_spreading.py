"""Calls that leave go to hosts that have less to do, and around those that are full."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from lattice.bus.base import Bus, Connection, Packet
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.client.spreading import FULL, REFUSALS_MAX
from lattice.clock import SystemClock
from lattice.errors import OverloadedError
from lattice.testing import connect_as, new_host
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import CALL_QUEUE, Names
from tests.contract.conftest import World
from tests.contract.joining import fresh_token

CLOCK = SystemClock()
LIMIT_S = 60.0
IN_FLIGHT = 20
ENOUGH = 300

Answer = Callable[[str], Awaitable[CallReply]]


@dataclass
class Fleet:
    """A caller and two hosts that answer for a deployment."""

    names: Names
    asking: Bus
    hosts: dict[str, Bus]
    deployment: str = field(default_factory=lambda: f"d{fresh_token()}")
    counts: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.sender = Sender(
            self.asking, CLOCK, holder=Holder(leader_of(self.asking, self.names), CLOCK)
        )

    @asynccontextmanager
    async def answering(self, answer: Answer) -> AsyncIterator[None]:
        """Answer in the group and by name; `answer` is told which host it is."""
        async with AsyncExitStack() as stack:
            for host, bus in self.hosts.items():

                async def handle(packet: Packet, host: str = host) -> bytes:
                    assert decode_as(Invocation, packet.body).op == "#f"
                    self.counts[host] += 1
                    return encode(await answer(host))

                for subject, queue in (
                    (self.names.calls_of(self.deployment), CALL_QUEUE),
                    (self.names.typed_calls_at(host), ""),
                ):
                    serving = bus.serve(subject, handle, queue=queue, concurrency=1000)
                    await stack.enter_async_context(serving)
            yield

    async def call(self) -> CallReply:
        order = Order(
            deployment=self.deployment,
            what="f",
            subject=self.names.call(self.deployment, "", "f"),
            subject_at=lambda host, number: self.names.call_at(
                host, self.deployment, number, "", "f"
            ),
            body=lambda attempt, granted_ms: encode(
                Invocation(op="#f", attempt=attempt, deadline_ms=granted_ms)
            ),
            nobody="nobody is there",
            give_up_s=CLOCK.monotonic_s() + LIMIT_S,
        )
        reply, _ = await self.sender.send(order)
        return reply

    async def meet_all(self) -> None:
        """Call until every host has answered."""
        with anyio.fail_after(LIMIT_S):
            while set(self.counts) != set(self.hosts):
                await self.call()
        self.counts.clear()


@pytest.fixture
async def fleet(names: Names, world: World, client: Connection) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        hosts: dict[str, Bus] = {}
        if world.nats is None:
            hosts = {"HA": client.bus, "HB": client.bus}
        else:
            for name in ("host", "spreading"):
                identity = await new_host(world.nats, name)
                joined = await stack.enter_async_context(connect_as(world.nats, "host", identity))
                hosts[identity.id] = joined.bus
        yield Fleet(names, client.bus, hosts)


async def test_a_slow_host_gets_fewer_calls_than_the_other(fleet: Fleet) -> None:
    """It keeps what it gets until all is over; by chance it would get half of the calls."""
    slow, fast = fleet.hosts
    over, is_slow = anyio.Event(), False

    async def answer(host: str) -> CallReply:
        if host == slow and is_slow:
            await over.wait()
        return CallReply(ok=[1], host=host)

    async def caller() -> None:
        while fleet.counts[fast] < ENOUGH:
            await fleet.call()

    async with fleet.answering(answer):
        await fleet.meet_all()
        is_slow = True
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                for _ in range(IN_FLIGHT):
                    group.start_soon(caller)
                while fleet.counts[fast] < ENOUGH:
                    await anyio.lowlevel.checkpoint()
                over.set()
    assert fleet.counts[slow] < ENOUGH / 4, fleet.counts


async def test_a_load_that_others_make_is_told_by_replies_and_counts(fleet: Fleet) -> None:
    busy, idle = fleet.hosts

    async def answer(host: str) -> CallReply:
        return CallReply(ok=[1], host=host, load=50 if host == busy else 0)

    async with fleet.answering(answer):
        await fleet.meet_all()
        for _ in range(100):
            await fleet.call()
    assert fleet.counts[idle] > fleet.counts[busy] * 4, fleet.counts


async def test_a_call_that_a_full_host_refuses_is_answered_by_the_other(fleet: Fleet) -> None:
    full, free = fleet.hosts
    error = OverloadedError("full", retry_after_ms=100, full="its queue")

    async def answer(host: str) -> CallReply:
        if host == full:
            return CallReply(err=error.to_wire(), host=host)
        return CallReply(ok=[1], host=host)

    async with fleet.answering(answer):
        for _ in range(60):
            reply = await fleet.call()
            if reply.host == free:
                assert reply.ok == [1]
            else:  # until the other one is known: the group may have given it to the same one twice
                assert not fleet.counts[free]
    assert fleet.counts[free] > 40, fleet.counts
    assert fleet.counts[full] < 40, "once it said that it is full, it is left out for a while"


async def test_when_all_are_full_the_caller_is_told_at_once_when_to_come_again(
    fleet: Fleet,
) -> None:
    error = OverloadedError("full", retry_after_ms=100, full="its queue")

    async def answer(host: str) -> CallReply:
        return CallReply(err=error.to_wire(), host=host)

    async with fleet.answering(answer):
        reply = await fleet.call()
    assert reply.err is not None
    assert reply.err["kind"] == OverloadedError.kind
    assert reply.err["details"]["retry_after_ms"] == 100
    assert FULL not in reply.err["details"], "it is for who routes"
    assert fleet.counts.total() <= REFUSALS_MAX


async def test_a_callee_that_was_refused_by_another_one_is_not_called_again(fleet: Fleet) -> None:
    """It did begin: what it called was full."""
    error = OverloadedError("somebody else is full", retry_after_ms=100)

    async def answer(host: str) -> CallReply:
        return CallReply(err=error.to_wire(), host=host)

    async with fleet.answering(answer):
        assert (await fleet.call()).err is not None
    assert fleet.counts.total() == 1


async def test_a_host_that_goes_is_asked_by_name_once_and_its_calls_go_elsewhere(
    fleet: Fleet,
) -> None:
    async def answer(host: str) -> CallReply:
        return CallReply(ok=[1], host=host)

    gone, _ = fleet.hosts
    async with fleet.answering(answer):
        await fleet.meet_all()
    del fleet.hosts[gone]
    async with fleet.answering(answer):
        for _ in range(40):
            assert (await fleet.call()).ok == [1]
    assert not fleet.counts[gone]
