"""Calls that are sent again or held: over memory and over a real server, under the least rights."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import pytest

from hosts.pulses import Pulses
from lattice.bus.base import Bus, Connection, Packet
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import COUNTS_S, Order, Sender
from lattice.clock import SystemClock
from lattice.errors import DeadlineExceededError, NoRouteError, OverloadedError
from lattice.routing.breaking import Breakers, Rules
from lattice.routing.budgets import Budgets
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.pulse import PULSE_S, SILENCE_S, wants_pulses
from lattice.wire.requests import OneDeployment
from lattice.wire.subjects import CALL_QUEUE, Names
from tests.contract.faulty_bus import Fate, FaultyBus
from tests.contract.joining import fresh_token

CLOCK = SystemClock()
LIMIT_S = 30.0


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


CLOSING = CallReply(err=NoRouteError("on its way out").to_wire())


@dataclass
class Lattice:
    """A caller, a host and a leader, and a deployment that no other test calls."""

    names: Names
    asking: Bus
    serving: Bus
    also_serving: Bus
    leading: Bus
    deployment: str = field(default_factory=lambda: f"d{fresh_token()}")
    woken: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        holder = Holder(leader_of(self.asking, self.names), CLOCK, limit=100)
        self.holder = holder
        self.over = anyio.Event()
        self.sender = Sender(self.asking, CLOCK, holder=holder)

    def order(
        self, *, key: str | None = None, deadline_s: float = LIMIT_S, is_patient: bool = False
    ) -> Order:
        def body(attempt: int, granted_ms: int) -> bytes:
            return encode(Invocation(op="#f", attempt=attempt, deadline_ms=granted_ms, key=key))

        return Order(
            deployment=self.deployment,
            what="f",
            subject=self.names.call(self.deployment, "", "f"),
            subject_at=lambda host, number: self.names.call_at(
                host, self.deployment, number, "", "f"
            ),
            body=body,
            nobody="nobody is there",
            give_up_s=CLOCK.monotonic_s() + deadline_s,
            is_keyed=key is not None,
            is_patient=is_patient,
        )

    async def send(
        self, *, key: str | None = None, deadline_s: float = LIMIT_S, is_patient: bool = False
    ) -> CallReply:
        order = self.order(key=key, deadline_s=deadline_s, is_patient=is_patient)
        reply, _ = await self.sender.send(order)
        return reply

    @asynccontextmanager
    async def answering(
        self, answer: Callable[[int], Awaitable[CallReply]], bus: Bus | None = None
    ) -> AsyncIterator[None]:
        """Answer calls of any replica; `answer` is told the number of the attempt."""

        async def handle(packet: Packet) -> bytes:
            invocation = decode_as(Invocation, packet.body)
            self.attempts.append(invocation.attempt)
            return encode(await answer(invocation.attempt))

        async with (bus or self.serving).serve(
            self.names.calls_of(self.deployment), handle, queue=CALL_QUEUE, concurrency=1000
        ):
            try:
                yield
            finally:
                self.over.set()

    async def silence(self) -> CallReply:
        """Say nothing as long as anybody could hear it."""
        await self.over.wait()
        return CLOSING

    @asynccontextmanager
    async def led(
        self, wakes: Callable[[str], Awaitable[dict[str, object]]]
    ) -> AsyncIterator[None]:
        async def handle(packet: Packet) -> bytes:
            name = decode_as(OneDeployment, packet.body).name
            self.woken.append(name)
            return encode({"ok": await wakes(name)})

        async with self.leading.serve(self.names.lead("wake"), handle):
            yield


@pytest.fixture
def lattice(
    names: Names, client: Connection, host: Connection, sibling: Connection, scheduler: Connection
) -> Lattice:
    return Lattice(names, client.bus, host.bus, sibling.bus, scheduler.bus)


async def fine(_attempt: int) -> CallReply:
    return CallReply(ok=[1], host="H", generation=1)


# --- again --------------------------------------------------------------------------------------


async def test_what_a_host_did_not_begin_is_sent_again_though_it_has_no_key(
    lattice: Lattice,
) -> None:
    async def third_time(attempt: int) -> CallReply:
        return CLOSING if attempt < 3 else await fine(attempt)

    async with lattice.answering(third_time):
        assert (await lattice.send()).ok == [1]
    assert lattice.attempts == [1, 2, 3]


async def test_a_call_without_a_key_is_never_sent_again_once_it_was_taken(
    lattice: Lattice,
) -> None:
    async def forget(_attempt: int) -> CallReply:
        return await lattice.silence()

    async with lattice.answering(forget):
        with pytest.raises(DeadlineExceededError, match="unknown"):
            await lattice.send(deadline_s=SILENCE_S * 2)
        assert lattice.attempts == [1]


async def test_a_call_with_a_key_is_sent_again_when_its_host_falls_silent(
    lattice: Lattice,
) -> None:
    async def fall_silent_once(attempt: int) -> CallReply:
        return await (lattice.silence() if attempt == 1 else fine(attempt))

    async with lattice.answering(fall_silent_once):
        with anyio.fail_after(LIMIT_S):
            assert (await lattice.send(key="k")).ok == [1]
        assert lattice.attempts == [1, 2]


async def test_a_call_with_a_key_that_takes_long_and_gives_signs_of_life_runs_once(
    lattice: Lattice,
) -> None:
    long_enough, sent = anyio.Event(), 0

    def count(_subject: str, _body: bytes) -> Fate:
        nonlocal sent
        sent += 1
        if sent * PULSE_S > SILENCE_S:
            long_enough.set()
        return "fine"

    pulses = Pulses(FaultyBus(lattice.serving, count))

    async def work(packet: Packet) -> bytes:
        assert wants_pulses(packet.headers)
        lattice.attempts.append(decode_as(Invocation, packet.body).attempt)
        with pulses.of(packet.reply_to):
            await long_enough.wait()
        return encode(CallReply(ok=[1], host="H"))

    async with anyio.create_task_group() as group:
        group.start_soon(pulses.run)
        async with lattice.serving.serve(
            lattice.names.calls_of(lattice.deployment), work, queue=CALL_QUEUE
        ):
            assert (await lattice.send(key="k")).ok == [1]
        group.cancel_scope.cancel()
    assert lattice.attempts == [1]


async def test_a_call_with_a_key_that_its_host_ended_is_sent_again(lattice: Lattice) -> None:
    stopped = DeadlineExceededError("the replica was stopped", ended=True)

    async def ended_once(attempt: int) -> CallReply:
        if attempt == 1:
            return CallReply(err=stopped.to_wire(), host="H")
        return await fine(attempt)

    async with lattice.answering(ended_once):
        assert (await lattice.send(key="k")).ok == [1]
    assert lattice.attempts == [1, 2]
    lattice.attempts.clear()

    async def always(_attempt: int) -> CallReply:
        return CallReply(err=stopped.to_wire(), host="H")

    async with lattice.answering(always):
        assert (await lattice.send()).err is not None
    assert lattice.attempts == [1]


async def test_a_lost_call_goes_to_the_host_that_answered_last(
    lattice: Lattice, world: object, host: Connection
) -> None:
    """Though the group still has the silent one, as long as the server has not noticed."""
    alive = getattr(world, "host", "")
    counts: Counter[str] = Counter()

    async def at(packet: Packet) -> bytes:
        counts["aimed"] += 1
        return encode(CallReply(ok=[2], host=alive, generation=4))

    async def silent(_attempt: int) -> CallReply:
        if counts["first"] == 0:
            counts["first"] += 1
            return CallReply(ok=[1], host=alive, generation=4)
        return await lattice.silence()

    async with (
        lattice.answering(silent),
        host.bus.serve(lattice.names.typed_calls_at(alive), at),
    ):
        assert (await lattice.send(key="k")).ok == [1]
        with anyio.fail_after(LIMIT_S):
            assert (await lattice.send(key="k")).ok == [2]
    assert counts["aimed"] == 1


# --- what keeps an outage small -----------------------------------------------------------------


async def test_a_deployment_that_answers_nobody_is_refused_at_once_until_it_answers(
    lattice: Lattice,
) -> None:
    clock = FakeClock()
    breakers = Breakers(Rules(consecutive=2, open_ms=500))
    sender = Sender(lattice.asking, clock, holder=lattice.holder, breakers=breakers)
    is_silent = True

    async def maybe(attempt: int) -> CallReply:
        return await (lattice.silence() if is_silent else fine(attempt))

    def order() -> Order:
        return replace(lattice.order(), give_up_s=clock.monotonic_s() + COUNTS_S)

    async with lattice.answering(maybe):
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(failing, sender, order())
        with pytest.raises(OverloadedError, match="not answered lately") as caught:
            await sender.send(order())
        assert caught.value.details["retry_after_ms"] == 500
        assert caught.value.details["breaker"] == "open"
        assert len(lattice.attempts) == 2, "what is refused is not sent"
        is_silent = False
        clock.now_s += 0.5
        assert (await sender.send(order()))[0].ok == [1]
        assert (await sender.send(order()))[0].ok == [1]


async def failing(sender: Sender, order: Order) -> None:
    with pytest.raises(DeadlineExceededError):
        await sender.send(order)


async def test_callers_that_grant_no_time_do_not_close_a_deployment_for_others(
    lattice: Lattice,
) -> None:
    breakers = Breakers(Rules(consecutive=1))
    sender = Sender(lattice.asking, CLOCK, holder=lattice.holder, breakers=breakers)

    async def forget(_attempt: int) -> CallReply:
        return await lattice.silence()

    async with lattice.answering(forget):
        await failing(sender, lattice.order(deadline_s=0.05))
        assert breakers.state(lattice.deployment) == "closed"
        lattice.over.set()


async def test_lost_calls_are_not_sent_again_beyond_their_share(lattice: Lattice) -> None:
    budgets = Budgets(reserve=1, per_second=0)
    sender = Sender(lattice.asking, CLOCK, holder=lattice.holder, budgets=budgets)
    stopped = DeadlineExceededError("the replica was stopped", ended=True)

    async def always(_attempt: int) -> CallReply:
        return CallReply(err=stopped.to_wire(), host="H")

    async with lattice.answering(always):
        with pytest.raises(DeadlineExceededError, match="sent again already"):
            await sender.send(lattice.order(key="k", deadline_s=0.6))
    assert lattice.attempts == [1, 2]


async def test_a_caller_that_leaves_says_so_to_the_hosts_of_the_deployment(
    lattice: Lattice,
) -> None:
    subject = lattice.names.departure(lattice.deployment, "call-7")

    async def forget(_attempt: int) -> CallReply:
        return await lattice.silence()

    async with (
        lattice.serving.subscribe(lattice.names.departure(lattice.deployment, "*")) as told,
        lattice.answering(forget),
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(lattice.sender.send, replace(lattice.order(), leave=subject))
            await eventually(lambda: lattice.attempts)
            group.cancel_scope.cancel()
        with anyio.fail_after(LIMIT_S):
            assert (await anext(told)).subject == subject


# --- held ---------------------------------------------------------------------------------------


async def test_calls_of_a_deployment_at_zero_wake_it_once_and_all_are_answered(
    lattice: Lattice,
) -> None:
    may_come = anyio.Event()
    results: list[CallReply] = []

    async def wake(_name: str) -> dict[str, object]:
        may_come.set()
        return {"wakes": True}

    async def call() -> None:
        results.append(await lattice.send())

    async with lattice.led(wake), anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(call)
        await may_come.wait()
        await eventually(lambda: lattice.holder.held == 100)
        async with lattice.answering(fine):
            await eventually(lambda: len(results) == 100)
    assert lattice.woken == [lattice.deployment]
    assert lattice.holder.held == 0


async def test_one_held_call_too_many_is_told_when_to_come_again(lattice: Lattice) -> None:
    async def wake(_name: str) -> dict[str, object]:
        return {"wakes": True}

    async with lattice.led(wake), anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(lattice.send)
        await eventually(lambda: lattice.holder.held == 100)
        with pytest.raises(OverloadedError) as caught:
            await lattice.send()
        assert caught.value.details["retry_after_ms"]
        group.cancel_scope.cancel()
    assert lattice.holder.held == 0


@pytest.mark.parametrize("is_led", [True, False])
async def test_what_does_not_wake_is_no_route_at_once(lattice: Lattice, *, is_led: bool) -> None:
    async def no(_name: str) -> dict[str, object]:
        return {"wakes": False}

    with anyio.fail_after(LIMIT_S / 2):
        if not is_led:
            with pytest.raises(NoRouteError, match="nobody is there"):
                await lattice.send()
            return
        async with lattice.led(no):
            for _ in range(20):
                with pytest.raises(NoRouteError, match="nobody is there"):
                    await lattice.send()
    assert len(lattice.woken) <= 3, "a router that was told so remembers it for a moment"


async def test_what_is_ready_but_takes_no_such_calls_is_no_route_soon(lattice: Lattice) -> None:
    async def ready(_name: str) -> dict[str, object]:
        return {"wakes": True, "ready": True}

    async with lattice.led(ready):
        with anyio.fail_after(LIMIT_S / 2), pytest.raises(NoRouteError):
            await lattice.send()


async def test_a_patient_caller_waits_for_a_replica_though_the_leader_promises_none(
    lattice: Lattice,
) -> None:
    results: list[CallReply] = []

    async def call() -> None:
        results.append(await lattice.send(is_patient=True))

    async def no(_name: str) -> dict[str, object]:
        return {"wakes": False}

    async with lattice.led(no), anyio.create_task_group() as group:
        group.start_soon(call)
        await eventually(lambda: lattice.woken)
        async with lattice.answering(fine):
            await eventually(lambda: results)


async def test_a_held_call_ends_at_its_deadline_and_leaves_nothing_behind(
    lattice: Lattice,
) -> None:
    async def wake(_name: str) -> dict[str, object]:
        return {"wakes": True}

    async with lattice.led(wake):
        with pytest.raises(NoRouteError):
            await lattice.send(deadline_s=0.3)
    assert lattice.holder.held == 0
    assert not lattice.attempts
