"""Calls over core NATS while everything on their way fails: the matrix of faults and guarantees.

A call with a key is answered and its effect recorded once, whatever fails; one without a key runs
at most once, and ends with its answer or an error that says that the outcome is unknown. Hosts are
stand-ins, each with the key and the rights of a host; server, caller and routing are real. Whole
hosts that are killed and frozen are in test_calls.py. Short in `make test`, long in `make chaos`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import anyio
import pytest

from hosts.pulses import Pulses
from lattice.bus.base import Bus, Packet
from lattice.bus.embedded import EmbeddedNats
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.clock import SystemClock
from lattice.errors import LatticeError
from lattice.testing import LATTICE, connect_as, eventually, new_host, running_nats
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.pulse import wants_pulses
from lattice.wire.subjects import CALL_QUEUE, Names
from tests.chaos.scale import TIMEOUT_S, sized
from tests.contract.faulty_bus import Fate, FaultyBus
from tests.contract.joining import fresh_token

pytestmark = [pytest.mark.nats, pytest.mark.timeout(TIMEOUT_S)]

CLOCK = SystemClock()
NAMES = Names(LATTICE)
KEYED_S = 60.0
UNKEYED_S = 1.0  # until a call without a key that was lost is given up

Fault = Literal["before", "during", "after", "reply", "dropped", "partition"]
"""What befalls the first attempts of calls at one host: it is killed before, during or after the
effect; its reply is lost; the request is dropped, as of a slow consumer; or it is cut off from the
server and works on."""

LEFT_OPEN = {"before": 0, "during": 1, "after": 1, "reply": 1, "dropped": 0, "partition": 1}
"""How often the effect of a call without a key was begun that ended with an unknown outcome."""


@dataclass
class Callee:
    """What all hosts run: an effect for each call, recorded under its id, which is its key."""

    deployment: str = field(default_factory=lambda: f"faults-{fresh_token()}")
    recorded: dict[str, int] = field(default_factory=dict[str, int])
    runs: Counter[str] = field(default_factory=Counter[str])
    at_work: int = 0
    goes_on: anyio.Event = field(default_factory=anyio.Event)

    def record(self, call: str, value: int) -> None:
        """Make the effect last; what is there under the key stays."""
        self.recorded.setdefault(call, value)


class Host:
    """One that answers for the callee, if its fault lets it."""

    def __init__(self, name: str, bus: Bus, callee: Callee, fault: Fault | None = None) -> None:
        self.name = name
        self.bus = FaultyBus(bus, self._fate)
        self.callee = callee
        self.fault = fault
        self._silent: set[str] = set()
        self._pulses = Pulses(self.bus)

    def _fate(self, subject: str, _body: bytes) -> Fate:
        return "lost" if subject in self._silent else "fine"

    async def _answer(self, packet: Packet) -> bytes | None:
        if not wants_pulses(packet.headers):
            return await self._work(packet)
        with self._pulses.of(packet.reply_to):
            return await self._work(packet)

    async def _work(self, packet: Packet) -> bytes | None:
        """Return the answer, None: it does not leave this host."""
        invocation = decode_as(Invocation, packet.body)
        call, value = invocation.id, int(invocation.args[0])
        fault = self.fault if invocation.attempt == 1 else None
        if fault is not None:
            self._silent.add(packet.reply_to)
        if fault in ("before", "partition"):
            self.bus.cut()
        if fault in ("before", "dropped"):
            return None
        self.callee.runs[call] += 1
        if fault == "during":
            self.bus.cut()
            return None
        self.callee.at_work += 1
        await self.callee.goes_on.wait()
        self.callee.at_work -= 1
        self.callee.record(call, value)
        if fault == "after":
            self.bus.cut()
        return None if fault is not None else encode(CallReply(ok=[value], host=self.name))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group, AsyncExitStack() as stack:
            group.start_soon(self._pulses.run)
            for subject, queue in (
                (NAMES.calls_of(self.callee.deployment), CALL_QUEUE),
                (NAMES.typed_calls_at(self.name), ""),
            ):
                serving = self.bus.serve(subject, self._answer, queue=queue, concurrency=1000)
                await stack.enter_async_context(serving)
            yield
            group.cancel_scope.cancel()


@dataclass
class Calls:
    """Calls of one caller, and how they ended."""

    bus: Bus
    callee: Callee
    answered: dict[str, int] = field(default_factory=dict[str, int])
    failed: dict[str, LatticeError] = field(default_factory=dict[str, LatticeError])

    def __post_init__(self) -> None:
        self._sender = Sender(self.bus, CLOCK, holder=Holder(leader_of(self.bus, NAMES), CLOCK))

    async def call(self, call: str, value: int, *, is_keyed: bool) -> None:
        deployment = self.callee.deployment
        order = Order(
            deployment=deployment,
            what="f",
            subject=NAMES.call(deployment, "", "f"),
            subject_at=lambda host, number: NAMES.call_at(host, deployment, number, "", "f"),
            body=lambda attempt, granted_ms: encode(
                Invocation(
                    op="#f", args=[value], id=call, key=call if is_keyed else None,
                    attempt=attempt, deadline_ms=granted_ms,
                )
            ),
            nobody="nobody is there",
            give_up_s=CLOCK.monotonic_s() + (KEYED_S if is_keyed else UNKEYED_S),
            is_keyed=is_keyed,
            is_patient=True,
        )  # fmt: skip
        try:
            reply, _ = await self._sender.send(order)
        except LatticeError as error:
            self.failed[call] = error
        else:
            self.answered[call] = (reply.ok or [None])[0]

    async def all(self, count: int) -> None:
        """Make so many calls with a key and as many without one, all at the same time."""
        async with anyio.create_task_group() as group:
            for number in range(count):
                for kind in ("keyed", "plain"):
                    name = f"{kind}-{number}"
                    group.start_soon(self._one, name, number, kind == "keyed")

    async def _one(self, name: str, number: int, is_keyed: bool) -> None:
        await self.call(name, number, is_keyed=is_keyed)

    def check(self, count: int) -> None:
        """Assert the guarantees."""
        for number in range(count):
            name = f"keyed-{number}"
            assert self.answered.get(name) == number, self.failed.get(name)
            assert self.callee.recorded[name] == number
            name = f"plain-{number}"
            assert self.callee.runs[name] <= 1, "at most once"
            if name in self.answered:
                assert self.answered[name] == number
                assert self.callee.runs[name] == 1
                assert self.callee.recorded[name] == number


@pytest.fixture(scope="module")
async def nats(anyio_backend: str) -> AsyncIterator[EmbeddedNats]:
    async with running_nats() as nats:
        yield nats


@asynccontextmanager
async def fleet(nats: EmbeddedNats, callee: Callee, fault: Fault | None) -> AsyncIterator[Calls]:
    """Yield a caller of two hosts, the first of which has a fault."""
    async with AsyncExitStack() as stack:
        for name, own in (("ill", fault), ("well", None)):
            identity = await new_host(nats, name)
            connection = await stack.enter_async_context(connect_as(nats, "host", identity))
            host = Host(identity.id, connection.bus, callee, own)
            await stack.enter_async_context(host.serving())
        client = await stack.enter_async_context(connect_as(nats, "client"))
        yield Calls(client.bus, callee)
        callee.goes_on.set()


@pytest.mark.parametrize("fault", get_args(Fault))
async def test_a_call_with_a_key_is_answered_and_one_without_runs_at_most_once(
    nats: EmbeddedNats, fault: Fault
) -> None:
    count = sized(20, 300)
    callee = Callee()
    callee.goes_on.set()
    async with fleet(nats, callee, fault) as calls:
        await calls.all(count)
        calls.check(count)
    lost = set(calls.failed)
    assert lost, "both kinds of calls met the fault"
    for name in lost:
        assert calls.failed[name].kind == "deadline", calls.failed[name]
        assert "unknown" in calls.failed[name].message
        assert callee.runs[name] <= LEFT_OPEN[fault]
    if fault in ("reply", "dropped"):
        assert all(callee.runs[name] == LEFT_OPEN[fault] for name in lost), "and it was as said"


def _all_at_work(callee: Callee, count: int) -> bool:
    return callee.at_work == count


async def test_calls_at_work_when_the_server_is_killed_end_as_promised(nats: EmbeddedNats) -> None:
    """Those with a key are answered when it is there again; none runs twice without one."""
    count = 20
    for _ in range(sized(1, 15)):
        callee = Callee()
        async with fleet(nats, callee, None) as calls, anyio.create_task_group() as group:
            group.start_soon(calls.all, count)
            await eventually(partial(_all_at_work, callee, 2 * count))
            await nats.kill()
            await nats.restart()
            callee.goes_on.set()
        calls.check(count)
        kinds = {error.kind for error in calls.failed.values()}
        assert kinds <= {"deadline", "outcome-unknown", "unavailable"}, kinds
