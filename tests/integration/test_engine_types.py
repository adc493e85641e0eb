"""Every kind of value crosses in both directions, as wasmtime-py converts it, and nothing leaks."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from wasmtime import Engine as PeerEngine
from wasmtime import Store, wat2wasm
from wasmtime.component import Component, Linker

from hosts.engine.base import Direct, Import, World
from hosts.engine.instance import WasmtimeInstance
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.types import (
    EnumType,
    FlagsType,
    ListType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.errors import IncompatibleError, InvalidError
from tests.contract.engine.building import part
from tests.integration.echoes import HOST, TURNS, component, families, wrapped
from tests.integration.peer_values import from_peer, is_told_apart, to_peer
from tests.unit.engine.test_values import value_of

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0
MEMORY_OF_THIS_PROCESS = Path("/proc/self/statm")
VALUES = 100_000
"""In each direction: half of them by calls of the guest, half by its calls of the host."""

GROWTH_BYTES_MAX = 1_000_000
"""20 bytes for each call: anything forgotten would be more."""

FAMILIES = families()
F32, F64 = Primitive("f32"), Primitive("f64")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def engine(cache: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(cache)
    yield made
    made.close()


async def echoing(
    engine: WasmtimeEngine, types: Sequence[WitType], *, is_direct: bool = True
) -> WasmtimeInstance:
    """Return an instance of the component that returns values of these types."""
    program = await engine.load([part("a", bytes(wat2wasm(component(types))))], [])

    async def turn(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        return args[0]

    direct = Direct({f"turn-{index}": lambda value: value for index in range(len(types))})
    host: Import = direct if is_direct else turn
    return await program.instantiate({HOST: host}, World())


async def through(instance: WasmtimeInstance, function: str, value: Any) -> Any:
    """Return what a function makes of a value."""
    answer = await instance.call("", function, [wrapped(value)], deadline_s=DEADLINE_S)
    assert answer[1:] == wrapped(value)[1:]
    return answer[0]


@pytest.mark.parametrize("mode", ["compiled", "checked"])
@pytest.mark.parametrize("is_direct", [True, False])
async def test_every_kind_of_value_comes_back_from_guest_and_host(
    engine: WasmtimeEngine, monkeypatch: pytest.MonkeyPatch, mode: str, is_direct: bool
) -> None:
    monkeypatch.setenv("LATTICE_ENGINE", mode)
    types = [wit for wit, _ in FAMILIES.values()]
    instance = await echoing(engine, types, is_direct=is_direct)
    for index, (_, value) in enumerate(FAMILIES.values()):
        assert await through(instance, f"echo-{index}", value) == value
        assert await through(instance, f"relay-{index}", value) == value
    instance.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_hundred_thousand_values_leak_nothing(engine: WasmtimeEngine, family: str) -> None:
    wit, value = FAMILIES[family]
    instance = await echoing(engine, [wit])

    async def call(function: str, count: int) -> None:
        for _ in range(count):
            answer = await instance.call("", function, [sent], deadline_s=DEADLINE_S)
        assert answer == sent

    sent = wrapped(value)
    await call("echo-0", 500)
    await call("relay-0", 200)
    before = _resident_bytes()
    await call("echo-0", VALUES // 2)
    await call("relay-0", VALUES // 2 // TURNS)
    assert _resident_bytes() - before < GROWTH_BYTES_MAX
    instance.close()


_NAMES = st.lists(
    st.sampled_from(["a", "b-c", "d1", "long-name", "x"]), min_size=1, max_size=4, unique=True
)
_LEAVES = st.one_of(
    st.sampled_from(
        ["bool", "u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "char"]
    ).map(Primitive),
    st.just(Primitive("string")),
    st.just(ListType(Primitive("u8"))),
    _NAMES.map(lambda names: EnumType(tuple(names))),
    _NAMES.map(lambda names: FlagsType(tuple(names))),
)


def _members(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    return _NAMES.flatmap(
        lambda names: st.tuples(*[of for _ in names]).map(
            lambda types: tuple(zip(names, types, strict=True))
        )
    )


def _composite(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
    return st.one_of(
        inner.map(ListType),
        inner.map(OptionType),
        _members(inner).map(RecordType),
        _members(st.none() | inner).map(VariantType),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: TupleType(tuple(items))),
        st.tuples(st.none() | inner, st.none() | inner).map(lambda pair: ResultType(*pair)),
    )


_TYPES = st.recursive(_LEAVES, _composite, max_leaves=6).filter(is_told_apart)
_CASES = st.lists(
    _TYPES.flatmap(
        lambda wit: st.tuples(st.just(wit), st.lists(value_of(wit), min_size=3, max_size=3))
    ),
    min_size=12,
    max_size=12,
    unique_by=lambda case: case[0],
)


def _drawn(count: int, number: int) -> list[list[tuple[WitType, list[Any]]]]:
    """Return some batches of types with values, the same for the same number."""
    batches: list[list[tuple[WitType, list[Any]]]] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_CASES)
    def collect(batch: list[tuple[WitType, list[Any]]]) -> None:
        batches.append(batch)

    collect()
    return batches


async def test_values_of_any_type_are_those_of_wasmtimes_own_conversion(
    engine: WasmtimeEngine,
) -> None:
    number = random.SystemRandom().randrange(2**32)
    for batch in _drawn(8, number):
        types = [wit for wit, _ in batch]
        instance = await echoing(engine, types)
        peer = _peer(types)
        for index, (wit, values) in enumerate(batch):
            for value in values:
                for function in (f"echo-{index}", f"relay-{index}"):
                    ours = await through(instance, function, value)
                    theirs = peer(function, wit, value)
                    expected = repr(_ordered(wit, value))
                    assert (repr(ours), repr(theirs)) == (expected, expected), f"seed {number}"
        instance.close()


def _peer(types: Sequence[WitType]) -> Any:
    """Return how wasmtime-py calls the same functions, with plain values."""
    engine = PeerEngine()
    linker, store = Linker(engine), Store(engine)
    with linker.root() as root, root.add_instance(HOST) as host:
        for index in range(len(types)):
            host.add_func(f"turn-{index}", lambda _store, value: value)
    made = linker.instantiate(store, Component(engine, wat2wasm(component(types))))

    def call(name: str, wit: WitType, value: Any) -> Any:
        function = made.get_func(store, name)
        assert function is not None, f"the component exports {name}"
        _, *padding = wrapped(value)
        answer: Any = function(store, (to_peer(wit, value), *padding))
        return from_peer(wit, answer[0])

    return call


def _ordered(wit: WitType, value: Any) -> Any:
    """Return a value with its flags in the order of their type, as they come back."""
    return from_peer(wit, to_peer(wit, value))


@pytest.mark.parametrize(("wit", "form", "bits"), [
    (F64, "d", 0x7FF8_0000_0000_0001), (F64, "d", 0xFFF0_0000_0000_0001),
    (F32, "f", 0x7FC0_0001), (F32, "f", 0xFFA0_0000),
])  # fmt: skip
async def test_not_a_number_with_a_payload_comes_back_as_not_a_number(
    engine: WasmtimeEngine, wit: WitType, form: str, bits: int
) -> None:
    (value,) = struct.unpack(f"<{form}", bits.to_bytes(struct.calcsize(form), "little"))
    instance = await echoing(engine, [wit, ListType(wit)])
    for function in ("echo-0", "relay-0"):
        assert math.isnan(await through(instance, function, value))
    for length in (1, 100):
        assert all(map(math.isnan, await through(instance, "relay-1", [value] * length)))
    instance.close()


@pytest.mark.parametrize(
    ("family", "value"),
    [
        ("string", "\ud800"),
        ("bool and char", [True, "\udfff"]),
        ("list of strings", ["fine", "\udc00"]),
        ("record", {"x": 1, "label": "\ud800", "note": None}),
        ("option", "\ud8ff"),
        ("map", {"\ud800": {"x": 1, "label": "", "note": None}}),
        ("variant", ["long-name-" * 12 + "a", "\ud800"]),
        ("enum", "\ud800"),
        ("flags", ["\ud800"]),
    ],
)
async def test_text_that_would_abort_the_process_is_refused_from_either_side(
    engine: WasmtimeEngine, family: str, value: Any
) -> None:
    wit, good = FAMILIES[family]
    instance = await echoing(engine, [wit])
    with pytest.raises(InvalidError, match="does not fit"):
        await through(instance, "echo-0", value)
    assert await through(instance, "echo-0", good) == good, "nothing is lost"
    program = await engine.load([part("a", bytes(wat2wasm(component([wit]))))], [])
    host = Direct({"turn-0": lambda _value: wrapped(value)})
    answered = await program.instantiate({HOST: host}, World())
    with pytest.raises(IncompatibleError, match="answered wrongly"):
        await through(answered, "relay-0", good)
    assert answered.is_dead
    instance.close()


@pytest.mark.parametrize(
    ("wit", "reason"),
    [
        ("(list u32 4)", "Fixed-length lists require"),
        ("(stream u8)", "`stream` requires"),
        ("(future)", "`future` requires"),
        ("error-context", "`error-context` requires"),
    ],
)
async def test_component_with_a_type_that_cannot_cross_is_refused_when_it_is_loaded(
    engine: WasmtimeEngine, wit: str, reason: str
) -> None:
    text = f"""(component (type $t {wit})
      (import "host" (instance (export "f" (func (param "x" $t))))))"""
    with pytest.raises(InvalidError, match=reason):
        await engine.load([part("a", bytes(wat2wasm(text)))], [])


def _resident_bytes() -> int:
    return int(MEMORY_OF_THIS_PROCESS.read_text().split()[1]) * 4096
