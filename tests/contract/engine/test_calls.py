"""What every engine promises about calls: values, errors, and what they leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hosts.engine.base import Capability, Direct, Engine
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
    NoRouteError,
    NotFoundError,
)
from tests.contract.engine.building import ADD, COUNTER, DIVIDE, ECHO, GATE, RUN, VALUES, start
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 10.0


async def test_function_returns_its_result(engine: Engine) -> None:
    instance = await start(engine, components.add())
    assert await instance.call(ADD, "add", [2**32 - 1, 3], deadline_s=DEADLINE_S) == 2
    instance.close()


async def test_root_functions_have_the_empty_interface(engine: Engine) -> None:
    instance = await start(engine, components.root())
    assert await instance.call("", "add", [1, 2], deadline_s=DEADLINE_S) == 3
    assert await instance.call("", "answer", [], deadline_s=DEADLINE_S) == 42
    instance.close()


async def test_another_version_of_the_same_track_is_found(engine: Engine) -> None:
    instance = await start(engine, components.add())
    assert await instance.call("test:math/add@0.1.7", "add", [1, 2], deadline_s=DEADLINE_S) == 3
    instance.close()


async def test_wit_result_is_a_value_and_no_error(engine: Engine) -> None:
    instance = await start(engine, components.divide())
    assert await instance.call(DIVIDE, "divide", [-7, 2], deadline_s=DEADLINE_S) == ["ok", -3]
    answer = await instance.call(DIVIDE, "divide", [1, 0], deadline_s=DEADLINE_S)
    assert answer == ["err", "division by zero"]
    assert not instance.is_dead
    instance.close()


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("bool", True),
        ("u8", 255),
        ("char", "\U0001f30d"),
        ("string", ""),
        ("string", "grüße"),
        ("bytes", bytes(range(256))),
        ("bytes", b""),
        ("numbers", [0, 1, 2**32 - 1]),
        ("nested", [[], ["a", ""]]),
        ("record", {"x": -1, "y": 0.5, "name": "p"}),
        ("variant", ["dot", None]),
        ("variant", ["circle", 2.5]),
        ("enum", "green"),
        ("flags", []),
        ("flags", ["read", "run"]),
        ("option", None),
        ("option", 0),
        ("options", [None, [None], ["x"]]),
        ("result", ["ok", 1]),
        ("result", ["err", "no"]),
        ("tuple", [7, "seven"]),
    ],
)
async def test_value_comes_back_as_it_went(engine: Engine, function: str, value: Any) -> None:
    instance = await start(engine, components.values())
    for _ in range(2):
        assert await instance.call(VALUES, function, [value], deadline_s=DEADLINE_S) == value
    instance.close()


async def test_unknown_export_is_not_found_and_what_exists_is_named(engine: Engine) -> None:
    instance = await start(engine, components.add())
    with pytest.raises(NotFoundError):
        await instance.call("no:such/thing@1.0.0", "add", [1, 2], deadline_s=DEADLINE_S)
    with pytest.raises(NotFoundError, match="subtract"):
        await instance.call(ADD, "subtract", [1, 2], deadline_s=DEADLINE_S)
    assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
    instance.close()


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ([], "takes 2 arguments"),
        ([1, 2, 3], "takes 2 arguments"),
        ([1, "2"], "b: expected u32, found '2'"),
        ([-1, 2], "a: -1 is out of range for u32"),
        ([1, True], "b: expected u32, found True"),
    ],
)
async def test_unfit_arguments_are_refused_and_the_instance_lives(
    engine: Engine, args: Sequence[Any], fault: str
) -> None:
    instance = await start(engine, components.add())
    with pytest.raises(InvalidError, match=fault):
        await instance.call(ADD, "add", args, deadline_s=DEADLINE_S)
    assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
    instance.close()


async def test_fault_in_a_nested_value_is_named_by_its_path(engine: Engine) -> None:
    instance = await start(engine, components.values())
    with pytest.raises(InvalidError) as caught:
        await instance.call(VALUES, "nested", [[["a"], ["b", 3]]], deadline_s=DEADLINE_S)
    assert caught.value.faults == ("value[1][1]: expected string, found 3",)
    instance.close()


async def test_state_stays_between_calls_and_ends_with_the_instance(engine: Engine) -> None:
    first = await start(engine, components.counter())
    second = await start(engine, components.counter())
    counts = [await first.call(COUNTER, "next", [], deadline_s=DEADLINE_S) for _ in range(3)]
    assert counts == [1, 2, 3]
    assert await second.call(COUNTER, "next", [], deadline_s=DEADLINE_S) == 1
    first.close()
    second.close()


async def test_trap_kills_the_instance_and_spares_its_neighbour(engine: Engine) -> None:
    victim = await start(engine, components.counter())
    neighbour = await start(engine, components.counter())
    with pytest.raises(GuestTrapError, match="unreachable"):
        await victim.call(COUNTER, "fail", [], deadline_s=DEADLINE_S)
    assert victim.is_dead
    with pytest.raises(ConflictError):
        await victim.call(COUNTER, "next", [], deadline_s=DEADLINE_S)
    assert await neighbour.call(COUNTER, "next", [], deadline_s=DEADLINE_S) == 1
    assert not neighbour.is_dead
    neighbour.close()
    victim.close()


async def test_deadline_ends_a_spinning_guest(engine: Engine) -> None:
    instance = await start(engine, components.hostile()["spin"])
    with pytest.raises(DeadlineExceededError):
        await instance.call(RUN, "run", [], deadline_s=0.05)
    assert instance.is_dead
    instance.close()


async def test_deadline_ends_a_guest_that_waits(engine: Engine) -> None:
    async def never(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.sleep_forever()

    instance = await start(engine, components.waiter(), imports={GATE: never})
    with pytest.raises(DeadlineExceededError):
        await instance.call(RUN, "run", [], deadline_s=0.05)
    assert instance.is_dead
    instance.close()


async def test_spent_deadline_refuses_the_call_and_the_instance_lives(engine: Engine) -> None:
    instance = await start(engine, components.add())
    with pytest.raises(DeadlineExceededError):
        await instance.call(ADD, "add", [1, 2], deadline_s=0)
    assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
    instance.close()


async def test_import_suspends_the_guest_while_other_guests_run(engine: Engine) -> None:
    asked = anyio.Event()
    opened = anyio.Event()
    calls: list[tuple[str, str, list[Any]]] = []

    async def gate(interface: str, function: str, args: Sequence[Any]) -> Any:
        calls.append((interface, function, list(args)))
        asked.set()
        await opened.wait()
        return args[0] * 10

    waiting = await start(engine, components.waiter(), imports={GATE: gate})
    other = await start(engine, components.add())
    results: list[Any] = []

    async def run() -> None:
        results.append(await waiting.call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await asked.wait()
        assert await other.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
        assert results == []
        opened.set()
    assert results == [60]
    assert calls == [(GATE, "wait", [ticket]) for ticket in (1, 2, 3)]
    waiting.close()
    other.close()


async def test_busy_instance_refuses_a_second_call_and_finishes_the_first(engine: Engine) -> None:
    asked = anyio.Event()
    opened = anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        asked.set()
        await opened.wait()
        return args[0]

    instance = await start(engine, components.waiter(), imports={GATE: gate})
    results: list[Any] = []

    async def run() -> None:
        results.append(await instance.call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await asked.wait()
        with pytest.raises(ConflictError):
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        opened.set()
    assert results == [6]
    instance.close()


async def test_reentered_instance_is_a_conflict_for_the_caller(engine: Engine) -> None:
    async def reenter(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)

    instance = await start(engine, components.waiter(), imports={GATE: reenter})
    with pytest.raises(ConflictError):
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    instance.close()


async def test_error_of_an_import_reaches_the_caller_as_it_is(engine: Engine) -> None:
    error = NoRouteError("nobody answers", deployment="dictionary")

    async def fail(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        raise error

    instance = await start(engine, components.waiter(), imports={GATE: fail})
    with pytest.raises(NoRouteError) as caught:
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert caught.value is error
    assert instance.is_dead
    instance.close()


async def test_wrongly_typed_answer_of_an_import_is_incompatible(engine: Engine) -> None:
    async def wrong(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return "ten"

    instance = await start(engine, components.waiter(), imports={GATE: wrong})
    with pytest.raises(IncompatibleError, match="expected u32, found 'ten'"):
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    instance.close()


async def test_cancelling_a_call_kills_the_instance_and_ends_its_import(engine: Engine) -> None:
    asked = anyio.Event()
    ended: list[str] = []

    async def gate(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("import")

    instance = await start(engine, components.waiter(), imports={GATE: gate})
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)

        tasks.start_soon(run)
        await asked.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["import"]
    assert instance.is_dead
    instance.close()


async def test_close_is_idempotent_and_ends_the_instance(engine: Engine) -> None:
    instance = await start(engine, components.echo())
    assert await instance.call(ECHO, "echo", ["x"], deadline_s=DEADLINE_S) == "x"
    instance.close()
    instance.close()
    assert instance.is_dead
    with pytest.raises(ConflictError):
        await instance.call(ECHO, "echo", ["x"], deadline_s=DEADLINE_S)


async def test_direct_import_answers_at_once(engine: Engine) -> None:
    direct = Direct({"wait": lambda ticket: ticket * 10})
    instance = await start(engine, components.waiter(), imports={GATE: direct})
    assert await instance.call(RUN, "run", [], deadline_s=DEADLINE_S) == 60
    instance.close()


async def test_error_and_wrong_answer_of_a_direct_import_end_the_call(engine: Engine) -> None:
    def closed(_ticket: int) -> int:
        raise NoRouteError("the gate is closed")

    for function, expected in ((closed, NoRouteError), (str, IncompatibleError)):
        imports = {GATE: Direct({"wait": function})}
        instance = await start(engine, components.waiter(), imports=imports)
        with pytest.raises(expected):
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        assert instance.is_dead
        instance.close()


async def test_capability_answers_at_once_or_suspends_the_guest(engine: Engine) -> None:
    async def wait(ticket: int) -> int:
        await anyio.lowlevel.checkpoint()
        return ticket * 100

    both = Capability({"wait": lambda ticket: ticket * 10}), Capability(waiting={"wait": wait})
    for capability, result in zip(both, (60, 600), strict=True):
        instance = await start(engine, components.waiter(), imports={GATE: capability})
        assert await instance.call(RUN, "run", [], deadline_s=DEADLINE_S) == result
        instance.close()


async def test_capability_without_a_function_is_refused_when_instantiated(engine: Engine) -> None:
    with pytest.raises(InvalidError, match=f"{GATE}#wait: the host's interface has no such"):
        await start(engine, components.waiter(), imports={GATE: Capability()})


async def test_error_of_a_capability_reaches_the_caller_as_it_is(engine: Engine) -> None:
    error = NoRouteError("the gate is closed")

    async def wait(_ticket: int) -> int:
        raise error

    def at_once(_ticket: int) -> int:
        raise error

    for capability in (Capability({"wait": at_once}), Capability(waiting={"wait": wait})):
        instance = await start(engine, components.waiter(), imports={GATE: capability})
        with pytest.raises(NoRouteError) as caught:
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        assert caught.value is error
        assert instance.is_dead
        instance.close()
