"""Instances are made ahead, used again and closed in time; each call keeps its own context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import pytest

from hosts.callcontext import CallContext
from hosts.engine.base import HostImport, World
from hosts.engine.fake import FakeEngine
from hosts.engine.pool import Policy
from hosts.instances import Instances
from hosts.programs import DroppableProgram, Programs
from lattice.clock import SystemClock
from lattice.errors import DeadlineExceededError, GuestTrapError
from lattice.testing import eventually
from tests.contract.engine.building import COUNTER, GATE, RUN, fakes, part
from tests.guests import components

CLOCK = SystemClock()


class Counted:
    """A program that counts its instances."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self.made = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    async def instantiate(self, imports: Mapping[str, HostImport], world: World) -> Any:
        self.made += 1
        return await self._program.instantiate(imports, world)


async def counted(body: bytes) -> tuple[Counted, DroppableProgram]:
    async def load() -> Any:
        return program

    program = Counted(await FakeEngine(fakes()).load([part("a", body)], []))
    return program, Programs().add(program, load)


def policy(**fields: Any) -> Policy:
    defaults = {"mode": "fresh", "invocations_max": 100, "idle_s": 60.0, "ready": 0}
    return Policy(concurrency=8, **(defaults | fields))


def context(caller: str = "") -> CallContext:
    return CallContext(deadline_at_s=CLOCK.monotonic_s() + 60, caller=caller)


def no_imports(_context: Callable[[], CallContext]) -> Mapping[str, HostImport]:
    return {}


def keeper(program: DroppableProgram, imports_for: Any = no_imports, **fields: Any) -> Instances:
    return Instances(program, policy(**fields), imports_for=imports_for, world=World(), clock=CLOCK)


async def count(instances: Instances) -> Any:
    return await instances.call(COUNTER, "next", [], context(), deadline_s=5)


async def test_fresh_instances_have_no_memory_of_earlier_calls() -> None:
    _, program = await counted(components.counter())
    instances = keeper(program)
    assert [await count(instances) for _ in range(3)] == [1, 1, 1]


async def test_a_reused_instance_remembers_until_it_had_its_calls() -> None:
    made, program = await counted(components.counter())
    instances = keeper(program, mode="reuse", invocations_max=2)
    assert [await count(instances) for _ in range(5)] == [1, 2, 1, 2, 1]
    assert made.made == 3


async def test_a_call_finds_an_instance_that_was_made_ahead() -> None:
    made, program = await counted(components.counter())
    instances = keeper(program, ready=2)
    async with anyio.create_task_group() as group:
        group.start_soon(instances.run)
        await anyio.lowlevel.checkpoint()
        assert instances.idle == 0, "nobody called yet"
        assert await count(instances) == 1
        await eventually(lambda: instances.idle == 2)
        assert made.made == 3
        assert await count(instances) == 1
        await eventually(lambda: made.made == 4)
        group.cancel_scope.cancel()
    assert instances.idle == 0


async def test_instances_that_idle_too_long_are_closed() -> None:
    _, program = await counted(components.counter())
    instances = keeper(program, mode="reuse", idle_s=0.01)
    async with anyio.create_task_group() as group:
        group.start_soon(instances.run)
        await count(instances)
        await eventually(lambda: instances.idle == 0)
        assert await count(instances) == 1
        group.cancel_scope.cancel()


async def test_each_call_of_a_reused_instance_imports_in_its_own_context() -> None:
    seen: list[str] = []

    def imports_for(current: Callable[[], CallContext]) -> Mapping[str, HostImport]:
        async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
            seen.append(current().caller)
            return args[0]

        return {GATE: gate}

    made, program = await counted(components.waiter())
    instances = keeper(program, imports_for, mode="reuse")
    for caller in ("first", "second"):
        await instances.call(RUN, "run", [], context(caller), deadline_s=5)
    assert seen == ["first"] * 3 + ["second"] * 3
    assert made.made == 1


async def test_each_of_many_calls_at_once_imports_in_its_own_context() -> None:
    seen: dict[str, set[int]] = {}
    opened = anyio.Event()

    def imports_for(current: Callable[[], CallContext]) -> Mapping[str, HostImport]:
        async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
            seen.setdefault(current().caller, set()).add(args[0])
            await opened.wait()
            return args[0]

        return {GATE: gate}

    _, program = await counted(components.waiter())
    instances = keeper(program, imports_for, mode="reuse", ready=1)

    async def call(caller: str) -> None:
        await instances.call(RUN, "run", [], context(caller), deadline_s=5)

    async with anyio.create_task_group() as group:
        for index in range(8):
            group.start_soon(call, f"caller {index}")
        await eventually(lambda: len(seen) == 8)
        opened.set()
    assert all(tickets == {1, 2, 3} for tickets in seen.values())
    assert instances.idle == 8


async def test_an_instance_that_trapped_is_not_used_again() -> None:
    made, program = await counted(components.counter())
    instances = keeper(program, mode="reuse")
    with pytest.raises(GuestTrapError):
        await instances.call(COUNTER, "fail", [], context(), deadline_s=5)
    assert await count(instances) == 1
    assert made.made == 2


async def test_an_instance_that_ran_out_of_time_or_was_cancelled_is_not_used_again() -> None:
    made, program = await counted(components.hostile()["spin"])
    instances = keeper(program, mode="reuse")
    with pytest.raises(DeadlineExceededError):
        await instances.call(RUN, "run", [], context(), deadline_s=0.01)
    assert instances.idle == 0
    with anyio.move_on_after(0.01):
        await instances.call(RUN, "run", [], context(), deadline_s=60)
    assert instances.idle == 0
    assert made.made == 2


async def test_what_cannot_be_instantiated_is_not_tried_again_and_again() -> None:
    made, program = await counted(components.hostile()["trap-at-birth"])
    instances = keeper(program, ready=1)
    async with anyio.create_task_group() as group:
        group.start_soon(instances.run)
        with pytest.raises(GuestTrapError):
            await count(instances)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert made.made <= 2


async def test_a_call_that_ends_after_the_keeper_leaves_nothing_behind() -> None:
    opened = anyio.Event()

    def imports_for(_current: Callable[[], CallContext]) -> Mapping[str, HostImport]:
        async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
            await opened.wait()
            return args[0]

        return {GATE: gate}

    _, program = await counted(components.waiter())
    instances = keeper(program, imports_for, mode="reuse")
    async with anyio.create_task_group() as calls:
        async with anyio.create_task_group() as group:
            group.start_soon(instances.run)
            calls.start_soon(lambda: instances.call(RUN, "run", [], context(), deadline_s=5))
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        opened.set()
    assert instances.idle == 0


async def test_an_instance_whose_program_left_memory_is_closed_after_its_call() -> None:
    opened = anyio.Event()

    def imports_for(_current: Callable[[], CallContext]) -> Mapping[str, HostImport]:
        async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
            await opened.wait()
            return args[0]

        return {GATE: gate}

    _, program = await counted(components.waiter())
    instances = keeper(program, imports_for, mode="reuse")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: instances.call(RUN, "run", [], context(), deadline_s=5))
        await anyio.lowlevel.checkpoint()
        program.drop()
        opened.set()
    assert instances.idle == 0
    assert program.footprint_bytes == 0


async def test_a_call_does_not_wait_longer_for_an_instance_than_its_deadline() -> None:
    made, _ = await counted(components.counter())

    async def never() -> Any:
        await anyio.sleep_forever()

    stuck = Programs().add(made, never)
    instances = keeper(stuck)
    stuck.drop()
    with pytest.raises(DeadlineExceededError, match="the call was not started"):
        await instances.call(COUNTER, "next", [], context(), deadline_s=0.01)
