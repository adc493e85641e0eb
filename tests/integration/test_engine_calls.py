"""Calls in both directions on the real engine: same values as wasmtime-py, nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wasmtime import Engine as PeerEngine
from wasmtime import Store, wat2wasm
from wasmtime.component import Component, Linker, Record, Variant

from bench.guests import CALLER, ECHO
from hosts.engine.base import Direct, Import, World
from hosts.engine.instance import WasmtimeInstance
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import IncompatibleError, InvalidError, NotFoundError
from tests.contract.engine.building import part

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0
MEMORY_OF_THIS_PROCESS = Path("/proc/self/statm")
CALLS = 100_000
GROWTH_BYTES_MAX = 4_000_000
"""40 bytes for each call: anything forgotten would be more."""

POINT = {"x": 1, "y": 2.5, "s": "here"}
THING = {
    "id": 7, "name": "a name" * 20, "kind": ["c", "text" * 20], "alt": ["b", 3],
    "note": "a note" * 20, "at": POINT, "ok": ["err", "no" * 50],
    "tags": ["red" * 20, "green", "blue"], "flag": True,
}  # fmt: skip

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_KIND = st.one_of(
    st.just(["a", None]),
    st.integers(0, 2**32 - 1).map(lambda number: ["b", number]),
    _TEXT.map(lambda text: ["c", text]),
)
_POINTS = st.fixed_dictionaries(
    {"x": st.integers(0, 2**32 - 1), "y": st.floats(allow_nan=False), "s": _TEXT}
)
_THINGS = st.fixed_dictionaries(
    {
        "id": st.integers(0, 2**64 - 1),
        "name": _TEXT,
        "kind": _KIND,
        "alt": st.none() | _KIND,
        "note": st.none() | _TEXT,
        "at": _POINTS,
        "ok": st.integers(0, 2**32 - 1).map(lambda number: ["ok", number])
        | _TEXT.map(lambda text: ["err", text]),
        "tags": st.lists(_TEXT, max_size=5),
        "flag": st.booleans(),
    }
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def instance_of(
    engine: WasmtimeEngine, text: str, imports: Mapping[str, Import]
) -> WasmtimeInstance:
    program = await engine.load([part("a", bytes(wat2wasm(text)))], [])
    return await program.instantiate(imports, World())


def _peers_shape(thing: Mapping[str, Any]) -> Record:
    """Return the value as wasmtime-py wants it: payloads alone where their types tell the case."""
    record, at = Record(), Record()
    for name, value in thing["at"].items():
        setattr(at, name, value)
    alt = thing["alt"]
    changed = {
        "kind": thing["kind"][1],
        "alt": Variant("none") if alt is None else Variant("some", alt[1]),
        "at": at,
        "ok": thing["ok"][1],
    }
    for name, value in {**thing, **changed}.items():
        setattr(record, name, value)
    return record


async def test_values_are_those_of_wasmtimes_own_conversion(engine: WasmtimeEngine) -> None:
    instance = await instance_of(engine, ECHO, {})
    peer_engine = PeerEngine()
    store = Store(peer_engine)
    peer = Linker(peer_engine).instantiate(store, Component(peer_engine, wat2wasm(ECHO)))
    echo = peer.get_func(store, "echo-thing")
    assert echo is not None, "the component exports it"
    cases: list[Any] = []

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(_THINGS)
    def collect(thing: Any) -> None:
        cases.append(thing)

    collect()
    for thing in cases:
        ours = await instance.call("", "echo-thing", [thing], deadline_s=DEADLINE_S)
        assert ours == thing
        theirs: Any = echo(store, _peers_shape(thing))
        shape: Any = _peers_shape(ours)
        assert vars(theirs.at) == vars(shape.at)
        assert (theirs.kind, theirs.ok) == (shape.kind, shape.ok)
        assert (theirs.alt.tag, theirs.alt.payload) == (shape.alt.tag, shape.alt.payload)
        for name in ("id", "name", "note", "tags", "flag"):
            assert getattr(theirs, name) == ours[name]
    instance.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("function", "value", "calls"),
    [
        ("echo-string", "x" * 300, CALLS),
        ("echo-thing", THING, CALLS),
        ("echo-points", [POINT] * 40, CALLS // 10),
    ],
)
async def test_a_hundred_thousand_calls_leak_nothing(
    engine: WasmtimeEngine, function: str, value: Any, calls: int
) -> None:
    instance = await instance_of(engine, ECHO, {})

    async def call(count: int) -> None:
        for _ in range(count):
            got = await instance.call("", function, [value], deadline_s=DEADLINE_S)
        assert got == value

    await call(500)
    before = _resident_bytes()
    await call(calls)
    assert _resident_bytes() - before < GROWTH_BYTES_MAX
    instance.close()


async def _add_slowly(_interface: str, function: str, args: Sequence[Any]) -> Any:
    return args[0] + args[1] if function == "add" else args[0]


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("function", ["add-often", "echo-often"])
@pytest.mark.parametrize("is_direct", [True, False])
async def test_a_hundred_thousand_imported_calls_leak_nothing(
    engine: WasmtimeEngine, function: str, is_direct: bool
) -> None:
    direct = Direct({"add": lambda a, b: a + b, "echo": lambda text: text})
    instance = await instance_of(engine, CALLER, {"host": direct if is_direct else _add_slowly})
    expected = 500 if function == "add-often" else 100
    assert await instance.call("", function, [500], deadline_s=DEADLINE_S) == expected
    before = _resident_bytes()
    await instance.call("", function, [CALLS], deadline_s=DEADLINE_S)
    assert _resident_bytes() - before < GROWTH_BYTES_MAX
    instance.close()


async def test_error_of_a_direct_function_ends_the_call_with_that_error(
    engine: WasmtimeEngine,
) -> None:
    def missing(_a: int, _b: int) -> int:
        raise NotFoundError("no such number")

    instance = await instance_of(engine, CALLER, {"host": Direct({"add": missing})})
    with pytest.raises(NotFoundError, match="no such number"):
        await instance.call("", "add-often", [3], deadline_s=DEADLINE_S)
    assert instance.is_dead


@pytest.mark.parametrize("answer", ["1", -1, None, True])
async def test_wrong_answer_of_a_direct_function_is_refused(
    engine: WasmtimeEngine, answer: Any
) -> None:
    direct = Direct({"add": lambda _a, _b: answer})
    instance = await instance_of(engine, CALLER, {"host": direct})
    with pytest.raises(IncompatibleError, match="an import was answered wrongly: the result of"):
        await instance.call("", "add-often", [3], deadline_s=DEADLINE_S)
    assert instance.is_dead


async def test_direct_string_that_would_abort_the_process_is_refused(
    engine: WasmtimeEngine,
) -> None:
    direct = Direct({"echo": lambda _text: "\ud800"})
    instance = await instance_of(engine, CALLER, {"host": direct})
    with pytest.raises(IncompatibleError):
        await instance.call("", "echo-often", [3], deadline_s=DEADLINE_S)


async def test_instances_of_one_program_may_be_served_directly_or_not(
    engine: WasmtimeEngine,
) -> None:
    program = await engine.load([part("a", bytes(wat2wasm(CALLER)))], [])
    direct = await program.instantiate({"host": Direct({"add": lambda a, _: a + 2})}, World())
    waiting = await program.instantiate({"host": _add_slowly}, World())
    assert await direct.call("", "add-often", [3], deadline_s=DEADLINE_S) == 6
    assert await waiting.call("", "add-often", [3], deadline_s=DEADLINE_S) == 3
    direct.close()
    waiting.close()


async def test_checked_mode_serves_the_same_calls(
    engine: WasmtimeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATTICE_ENGINE", "checked")
    echo = await instance_of(engine, ECHO, {})
    assert await echo.call("", "echo-thing", [THING], deadline_s=DEADLINE_S) == THING
    direct = Direct({"add": lambda a, b: a + b, "echo": lambda text: text})
    caller = await instance_of(engine, CALLER, {"host": direct})
    assert await caller.call("", "add-often", [5], deadline_s=DEADLINE_S) == 5
    assert await caller.call("", "echo-often", [5], deadline_s=DEADLINE_S) == 100
    with pytest.raises(InvalidError, match="takes 2 arguments"):
        await echo.call("", "add", [1], deadline_s=DEADLINE_S)
    echo.close()
    caller.close()


def _resident_bytes() -> int:
    return int(MEMORY_OF_THIS_PROCESS.read_text().split()[1]) * 4096
