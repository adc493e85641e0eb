"""Resources of the host in guests of the real engine: who owns an object, and when it ends."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Capability, Direct, Forward, Instance, Resource, World
from hosts.engine.binder import bind
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import (
    DeadlineExceededError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
    NoRouteError,
)
from tests.contract.engine.building import part, start
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 20.0
THINGS = "test:things/things@0.1.0"
MEMORY_OF_THIS_PROCESS = Path("/proc/self/statm")


MAKER = """
(component
  (type $own (resource (rep i32)))
  (export $thing "thing" (type $own))
  (core func $new (canon resource.new $own))
  (core module $code
    (import "own" "new" (func $new (param i32) (result i32)))
    (global $count (mut i32) (i32.const 0))
    (func (export "make") (result i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (call $new (global.get $count)))
    (func (export "count") (result i32) (global.get $count)))
  (core instance $it (instantiate $code (with "own" (instance (export "new" (func $new))))))
  (func (export "make") (result (own $thing)) (canon lift (core func $it "make")))
  (func (export "count") (result u32) (canon lift (core func $it "count"))))
"""


@pytest.fixture(params=["compiled", "checked"])
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WasmtimeEngine]:
    monkeypatch.setenv("LATTICE_ENGINE", request.param)
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


@dataclass(slots=True, eq=False)
class Thing:
    value: int


class Other:
    """A resource of another type."""


@dataclass(slots=True)
class Things:
    """What the host gives: counts what it made, and what was dropped."""

    made: list[Thing] = field(default_factory=list[Thing])
    dropped: list[object] = field(default_factory=list[object])
    found: Thing | None = None
    error: Exception | None = None
    gate: anyio.Event | None = None

    def new(self, value: int) -> Thing:
        self.made.append(Thing(value))
        return self.made[-1]

    async def later(self, value: int) -> Thing:
        await anyio.lowlevel.checkpoint()
        return self.new(value)

    async def wait(self, thing: Thing) -> int:
        if self.gate is not None:
            await self.gate.wait()
        return thing.value

    def drop(self, value: object) -> None:
        self.dropped.append(value)
        if self.error is not None:
            raise self.error

    def capability(self, **others: Any) -> Capability:
        direct = {
            "[constructor]thing": self.new,
            "[method]thing.get": lambda thing: thing.value,
            "[static]thing.merge": lambda a, b: self.new(a.value + b.value),
            "[constructor]other": Other,
            "take": lambda thing: thing.value,
            "find": lambda _value: self.found,
            "many": lambda count: [self.new(each) for each in range(count)],
            **others,
        }
        waiting: dict[str, Callable[..., Awaitable[Any]]]
        waiting = {"[method]thing.wait": self.wait, "later": self.later}
        resources = {"thing": Resource(Thing, self.drop), "other": Resource(Other, self.drop)}
        return Capability(direct, waiting, resources)


async def _keeper(engine: WasmtimeEngine, things: Things, **others: Any) -> Instance:
    return await start(engine, components.keeper(), imports={THINGS: things.capability(**others)})


async def _call(instance: Instance, function: str, value: int) -> Any:
    return await instance.call("", function, [value], deadline_s=DEADLINE_S)


@pytest.mark.parametrize(
    ("function", "value", "result", "made", "dropped"),
    [
        ("churn", 5, 15, 5, 5),
        ("get-often", 7, 7, 1, 1),
        ("wait", 9, 9, 1, 1),
        ("merge", 11, 111, 3, 1),  # the two that were merged are the host's again
        ("give-back", 13, 13, 1, 0),
        ("many", 6, 15, 6, 6),
    ],
)
async def test_object_is_dropped_once_when_its_owner_drops_it(
    engine: WasmtimeEngine, function: str, value: int, result: int, made: int, dropped: int
) -> None:
    things = Things()
    keeper = await _keeper(engine, things)
    for _ in range(3):
        assert await _call(keeper, function, value) == result
        assert len(things.made) == made
        assert len(things.dropped) == len({id(each) for each in things.dropped}) == dropped
        things.made.clear()
        things.dropped.clear()
    keeper.close()
    assert things.dropped == []


async def test_object_in_an_option_may_be_absent(engine: WasmtimeEngine) -> None:
    things = Things()
    keeper = await _keeper(engine, things)
    assert await _call(keeper, "find", 1) == 0
    things.found = Thing(21)
    for _ in range(2):  # an object that came back may be given again
        assert await _call(keeper, "find", 1) == 21
    assert things.dropped == [things.found] * 2
    keeper.close()


@pytest.mark.parametrize("end", ["close", "trap", "deadline", "cancel"])
async def test_what_a_guest_leaves_is_dropped_once_when_it_ends(
    engine: WasmtimeEngine, end: str
) -> None:
    things = Things(gate=anyio.Event())
    keeper = await _keeper(engine, things)
    await _call(keeper, "leave", 3)
    assert things.dropped == []
    if end == "trap":
        with pytest.raises(GuestTrapError):
            await _call(keeper, "use-invented", 1)
    elif end == "deadline":
        with pytest.raises(DeadlineExceededError):
            await keeper.call("", "wait", [1], deadline_s=0.02)
    elif end == "cancel":
        with anyio.move_on_after(0.02):
            await _call(keeper, "wait", 1)
    keeper.close()
    assert things.dropped == things.made[::-1], "each once, what was made last first"
    keeper.close()
    assert len(things.dropped) == len(things.made)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        ("use-dropped", "unknown handle index"),
        ("use-given", "unknown handle index"),
        ("drop-twice", "unknown handle index"),
        ("use-invented", "unknown handle index"),
        ("use-other", "handle index [0-9]+ used with the wrong type"),
    ],
)
async def test_handle_that_is_not_the_guests_traps(
    engine: WasmtimeEngine, function: str, cause: str
) -> None:
    things = Things()
    keeper = await _keeper(engine, things)
    neighbour_things = Things()
    neighbour = await _keeper(engine, neighbour_things)
    await _call(neighbour, "leave", 2)
    with pytest.raises(GuestTrapError, match=cause):
        await _call(keeper, function, 1)
    assert keeper.is_dead
    keeper.close()
    assert await _call(neighbour, "merge", 1) == 101
    neighbour.close()
    assert len(neighbour_things.dropped) == 3


async def test_object_of_another_class_is_refused(engine: WasmtimeEngine) -> None:
    for wrong in (Other(), None, 7, Thing):
        things = Things()
        keeper = await _keeper(engine, things, **{"[constructor]thing": lambda _value: wrong})  # noqa: B023 (called in this turn)
        with pytest.raises(IncompatibleError, match=r"expected own<thing> \(Thing\), found"):
            await _call(keeper, "churn", 1)
        assert things.dropped == []


async def test_object_that_a_guest_owns_is_not_given_again(engine: WasmtimeEngine) -> None:
    things = Things()
    shared = Thing(1)
    owner = await _keeper(engine, things, **{"[constructor]thing": lambda _value: shared})
    await _call(owner, "leave", 1)
    other = await _keeper(engine, Things(), **{"[constructor]thing": lambda _value: shared})
    for instance in (other, owner):
        with pytest.raises(IncompatibleError, match="a guest owns this Thing already"):
            await _call(instance, "leave", 1)
    assert things.dropped == [shared]
    other.close()
    owner.close()
    assert things.dropped == [shared]


async def test_misfit_beside_a_handle_takes_the_handle_back(engine: WasmtimeEngine) -> None:
    things = Things()
    first = Thing(1)
    keeper = await _keeper(engine, things, many=lambda _count: [first, "no thing"])
    with pytest.raises(IncompatibleError, match="expected own<thing>"):
        await _call(keeper, "many", 2)
    keeper.close()
    assert things.dropped == [], "the guest never got it"


async def test_error_in_a_drop_ends_the_call(engine: WasmtimeEngine) -> None:
    error = NoRouteError("cannot end it")
    things = Things(error=error)
    keeper = await _keeper(engine, things)
    with pytest.raises(NoRouteError) as caught:
        await _call(keeper, "churn", 1)
    assert caught.value is error
    assert keeper.is_dead
    assert len(things.dropped) == 1


async def test_error_in_a_drop_at_the_end_spares_the_others(
    engine: WasmtimeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    things = Things(error=ValueError("cannot end it"))
    keeper = await _keeper(engine, things)
    await _call(keeper, "leave", 3)
    keeper.close()
    assert things.dropped == things.made[::-1]
    assert caplog.text.count("an object that a guest left could not be dropped") == 3


async def test_interface_with_resources_lists_all_that_is_missing(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("a", components.keeper())], [])
    everything = Things().capability()
    direct = {name: each for name, each in everything.direct.items() if name != "take"}
    half = Capability(direct, everything.waiting, {"thing": everything.resources["thing"]})
    with pytest.raises(InvalidError) as caught:
        await program.instantiate({THINGS: half}, World())
    assert caught.value.faults == (
        f"{THINGS}: nobody provides the resource other",
        f"{THINGS}#take: the host's interface has no such function",
    )
    for other in (Direct(everything.direct), Forward(_never)):
        with pytest.raises(InvalidError, match="cannot cross between host and guest"):
            await program.instantiate({THINGS: other}, World())


async def _never(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
    raise AssertionError("handles are not passed from guest to guest")


async def test_handle_of_a_guests_own_resource_does_not_come_out(engine: WasmtimeEngine) -> None:
    instance = await start(engine, bytes(wat2wasm(MAKER)))
    with pytest.raises(InvalidError, match="make: values of type handle cannot cross"):
        await instance.call("", "make", [], deadline_s=DEADLINE_S)
    assert await instance.call("", "count", [], deadline_s=DEADLINE_S) == 0
    instance.close()


async def test_borrowed_object_stays_the_guests_while_the_host_waits(
    engine: WasmtimeEngine,
) -> None:
    things = Things(gate=anyio.Event())
    keeper = await _keeper(engine, things)
    results: list[int] = []

    async def run() -> None:
        results.append(await _call(keeper, "wait", 5))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert len(things.made) == 1
        assert things.dropped == []
        assert things.gate is not None
        things.gate.set()
    assert results == [5]
    assert things.dropped == things.made
    keeper.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read in /proc")
async def test_hundred_thousand_handles_leak_nothing(engine: WasmtimeEngine) -> None:
    dropped = 0

    def drop(_value: object) -> None:
        nonlocal dropped
        dropped += 1

    things = Things()
    capability = things.capability(
        **{
            "[constructor]thing": Thing,
            "[static]thing.merge": lambda a, b: Thing(a.value + b.value),
            "many": lambda count: [Thing(each) for each in range(count)],
        }
    )
    capability = Capability(
        capability.direct, capability.waiting,
        {"thing": Resource(Thing, drop), "other": Resource(Other, drop)},
    )  # fmt: skip
    keeper = await start(engine, components.keeper(), imports={THINGS: capability})

    async def calls(count: int) -> None:
        for _ in range(count):
            for function in ("churn", "get-often", "many", "merge", "give-back"):
                await _call(keeper, function, 20)
            await _call(keeper, "wait", 1)
            things.made.clear()

    await calls(50)
    before, before_dropped = _resident_bytes(), dropped
    await calls(2_500)
    assert dropped - before_dropped == 2_500 * (20 + 1 + 20 + 1 + 0 + 1)
    # 4 MB are 40 bytes for each handle: any that was forgotten would be more.
    assert _resident_bytes() - before < 4_000_000
    keeper.close()


def _resident_bytes() -> int:
    gc.collect()
    return int(MEMORY_OF_THIS_PROCESS.read_text().split()[1]) * 4096


class Shop:
    """As people write a capability: bound to the interface that the component imports."""

    errors: ClassVar[dict[type[Exception], str]] = {}

    def __init__(self) -> None:
        self.dropped = 0

    class Thing:
        def __init__(self, value: int) -> None:
            self.value = value
            self.shop: Shop | None = None

        def get(self) -> int:
            return self.value

        async def wait(self) -> int:
            await anyio.lowlevel.checkpoint()
            return self.value

        @staticmethod
        def merge(a: Shop.Thing, b: Shop.Thing) -> Shop.Thing:
            return Shop.Thing(a.value + b.value)

        def on_drop(self) -> None:
            if self.shop is not None:
                self.shop.dropped += 1

    class Other:
        pass

    def new_thing(self, value: int) -> Thing:
        thing = self.Thing(value)
        thing.shop = self
        return thing

    async def later(self, value: int) -> Thing:
        return self.new_thing(value)

    def take(self, thing: Thing) -> int:
        return thing.value

    def find(self, value: int) -> Thing | None:
        return self.new_thing(value) if value else None

    def many(self, count: int) -> list[Thing]:
        return [self.new_thing(each) for each in range(count)]


async def test_plain_class_serves_a_guest(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("a", components.keeper())], [])
    shop = Shop()
    capability = bind(shop, program.type.imports[THINGS])
    keeper = await program.instantiate({THINGS: capability}, World())
    wanted = {"churn": 10, "get-often": 4, "wait": 4, "merge": 104, "find": 4, "many": 6,
              "give-back": 4}  # fmt: skip
    for function, result in wanted.items():
        assert await _call(keeper, function, 4) == result
    await _call(keeper, "leave", 2)
    dropped = shop.dropped
    keeper.close()
    assert shop.dropped == dropped + 2
