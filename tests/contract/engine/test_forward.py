"""What every engine promises about imports that another instance's exports satisfy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from hosts.engine.base import Engine, Forward, Lease
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    GuestTrapError,
    NoRouteError,
)
from tests.contract.engine.building import COUNTER, GATE, HELLO, RUN, TICKET, WELCOME, start
from tests.contract.engine.leases import To
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 10.0

claimed = pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "called"])


@claimed
async def test_value_passes_from_guest_to_guest(engine: Engine, is_claimed: bool) -> None:
    hello = await start(engine, components.hello())
    to = To(hello, is_claimed)
    greeter = await start(engine, components.greeter(), imports={HELLO: to.forward()})
    for name in ("Åsa", "", "x" * 10_000):
        answer = await greeter.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S)
        assert answer == f"Hello, {name}!"
    assert [lease.released for lease in to.leases] == ([1, 1, 1] if is_claimed else [])
    called = [] if is_claimed else [["Åsa"], [""], ["x" * 10_000]]
    assert [list(args) for args in to.asked] == called
    greeter.close()
    hello.close()


@claimed
async def test_state_of_the_callee_stays_with_it(engine: Engine, is_claimed: bool) -> None:
    counter = await start(engine, components.counter())
    to = To(counter, is_claimed)
    first = await start(engine, components.ticket(), imports={COUNTER: to.forward()})
    second = await start(engine, components.ticket(), imports={COUNTER: to.forward()})
    drawn = [await each.call(TICKET, "draw", [], deadline_s=DEADLINE_S) for each in (first, second)]
    assert drawn == [2, 3]
    for instance in (first, second, counter):
        instance.close()


@claimed
async def test_callee_that_waits_suspends_both_while_others_run(
    engine: Engine, is_claimed: bool
) -> None:
    asked, opened = anyio.Event(), anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        asked.set()
        await opened.wait()
        return args[0]

    callee = await start(engine, components.waiter(), imports={GATE: gate})
    to = To(callee, is_claimed)
    caller = await start(engine, components.hostile()["calls-itself"], imports={RUN: to.forward()})
    other = await start(engine, components.counter())
    results: list[Any] = []

    async def run() -> None:
        results.append(await caller.call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await asked.wait()
        assert await other.call(COUNTER, "next", [], deadline_s=DEADLINE_S) == 1
        assert [lease.released for lease in to.leases] == ([0] if is_claimed else [])
        opened.set()
    assert results == [7]
    assert [lease.released for lease in to.leases] == ([1] if is_claimed else [])
    for instance in (caller, callee, other):
        instance.close()


@claimed
async def test_trap_of_the_callee_ends_the_caller_and_names_the_callee(
    engine: Engine, is_claimed: bool
) -> None:
    callee = await start(engine, components.hostile()["trap"])
    to = To(callee, is_claimed)
    caller = await start(engine, components.hostile()["calls-itself"], imports={RUN: to.forward()})
    with pytest.raises(GuestTrapError, match=f"{RUN}#run trapped"):
        await caller.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert callee.is_dead
    assert caller.is_dead
    assert [lease.released for lease in to.leases] == ([1] if is_claimed else [])
    caller.close()
    callee.close()


@claimed
async def test_cancelling_the_caller_ends_the_callee(engine: Engine, is_claimed: bool) -> None:
    asked = anyio.Event()
    ended: list[str] = []

    async def gate(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("gate")

    callee = await start(engine, components.waiter(), imports={GATE: gate})
    to = To(callee, is_claimed)
    caller = await start(engine, components.hostile()["calls-itself"], imports={RUN: to.forward()})

    async def run() -> None:
        await caller.call(RUN, "run", [], deadline_s=DEADLINE_S)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await asked.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["gate"]
    assert caller.is_dead
    assert callee.is_dead
    assert [lease.released for lease in to.leases] == ([1] if is_claimed else [])
    caller.close()
    callee.close()


@claimed
@pytest.mark.parametrize("whose", ["caller", "callee"])
async def test_passed_deadline_ends_both(engine: Engine, is_claimed: bool, whose: str) -> None:
    async def gate(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.sleep_forever()

    callee = await start(engine, components.waiter(), imports={GATE: gate})
    to = To(callee, is_claimed, deadline_s=0.03 if whose == "callee" else DEADLINE_S)
    caller = await start(engine, components.hostile()["calls-itself"], imports={RUN: to.forward()})
    deadline_s = 0.03 if whose == "caller" else DEADLINE_S
    with pytest.raises(DeadlineExceededError):
        await caller.call(RUN, "run", [], deadline_s=deadline_s)
    assert caller.is_dead
    assert callee.is_dead
    assert [lease.released for lease in to.leases] == ([1] if is_claimed else [])
    caller.close()
    callee.close()


@claimed
async def test_caller_that_calls_itself_gets_a_conflict(engine: Engine, is_claimed: bool) -> None:
    leases: list[To] = []
    forward = Forward(
        lambda *call: leases[0].forward().call(*call),
        (lambda *call: _claim_of(leases[0], *call)) if is_claimed else None,
    )
    caller = await start(engine, components.hostile()["calls-itself"], imports={RUN: forward})
    leases.append(To(caller, is_claimed))
    with pytest.raises(ConflictError, match="one at a time"):
        await caller.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert caller.is_dead
    caller.close()


def _claim_of(to: To, interface: str, function: str) -> Lease | None:
    claim = to.forward().claim
    assert claim is not None
    return claim(interface, function)


async def test_claim_that_is_refused_ends_the_call_with_that_error(engine: Engine) -> None:
    error = NoRouteError("nobody is there")

    def refuse(_interface: str, _function: str) -> Lease | None:
        raise error

    async def call(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        raise AssertionError("a refused claim is final")

    caller = await start(
        engine, components.hostile()["calls-itself"], imports={RUN: Forward(call, refuse)}
    )
    with pytest.raises(NoRouteError) as caught:
        await caller.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert caught.value is error
    assert caller.is_dead
    caller.close()


async def test_claim_that_finds_nobody_leaves_it_to_the_call(engine: Engine) -> None:
    async def call(interface: str, function: str, args: Sequence[Any]) -> Any:
        assert (interface, function, list(args)) == (HELLO, "greet", ["Åsa"])
        return "plain"

    greeter = await start(
        engine, components.greeter(), imports={HELLO: Forward(call, lambda *_: None)}
    )
    assert await greeter.call(WELCOME, "welcome", ["Åsa"], deadline_s=DEADLINE_S) == "plain"
    greeter.close()


@claimed
async def test_chain_of_guests_passes_through_all(engine: Engine, is_claimed: bool) -> None:
    program_body = components.hostile()["calls-itself"]
    chain = [await start(engine, components.waiter(), imports={GATE: _same})]
    for _ in range(30):
        to = To(chain[-1], is_claimed)
        chain.append(await start(engine, program_body, imports={RUN: to.forward()}))
    for _ in range(2):
        assert await chain[-1].call(RUN, "run", [], deadline_s=DEADLINE_S) == 36
    for instance in chain:
        instance.close()


async def _same(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0]
