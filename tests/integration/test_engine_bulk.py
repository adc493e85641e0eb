"""Bytes cross between host and guest as frames, in any type and of any size, unseen by callers."""

from __future__ import annotations

import random
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Instance, Part, World
from hosts.engine.bulk import CALLS, wrap, wrap_if_possible
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.reader import read_component
from lattice.component.types import Primitive, TupleType, WitType
from lattice.errors import InvalidError
from lattice.model.ids import Digest
from tests.guests import components, relays

pytestmark = pytest.mark.wasm

TOOL = Path(sysconfig.get_path("scripts")) / "wasm-tools"

HOST = "test:relay/host@0.1.0"
GUEST = "test:relay/guest@0.1.0"
VALUES = "test:values/echo@0.1.0"

WORLD = World(memory_bytes_max=1 << 30)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[WasmtimeEngine]:
    engine = WasmtimeEngine(tmp_path / "cache")
    yield engine
    engine.close()


async def echo(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0]


async def start(engine: WasmtimeEngine, body: bytes) -> Instance:
    program = await engine.load([Part("part", Digest("sha256:part"), body)], [])
    imports = dict.fromkeys(program.type.imports, echo)
    return await program.instantiate(imports, WORLD)


def assert_valid(body: bytes, path: Path) -> None:
    path.write_bytes(body)
    done = subprocess.run(
        [TOOL, "validate", "-f", "all", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def never_native(_interface: str) -> bool:
    return False


@pytest.mark.parametrize("size", [0, 1, 16, 111, 112, 113, 2048, 2049, 65_536, 1_000_003])
async def test_any_bytes_come_back(engine: WasmtimeEngine, size: int) -> None:
    instance = await start(engine, components.values())
    choose = random.Random(size)
    for data in (choose.randbytes(size), b"x" * size, b"\xff" * size, choose.randbytes(size)):
        assert await instance.call(VALUES, "bytes", [data], deadline_s=10) == data


async def test_more_bytes_than_the_plain_path_carries_come_back(engine: WasmtimeEngine) -> None:
    instance = await start(engine, components.values())
    data = random.Random(5).randbytes(8 * 1024 * 1024)
    assert await instance.call(VALUES, "bytes", [data], deadline_s=10) == data


async def test_many_calls_need_no_more_memory_than_one(engine: WasmtimeEngine) -> None:
    program = await engine.load([Part("v", Digest("sha256:v"), components.values())], [])
    instance = await program.instantiate({}, World(memory_bytes_max=2 << 20))
    data = random.Random(6).randbytes(200_000)
    for _ in range(50):
        assert await instance.call(VALUES, "bytes", [data], deadline_s=10) == data


async def test_type_that_callers_see_stays(engine: WasmtimeEngine) -> None:
    body = components.values()
    program = await engine.load([Part("v", Digest("sha256:v"), body)], [])
    assert program.type == read_component(body)


def test_component_without_bytes_stays_as_it_is() -> None:
    body = components.echo()
    assert wrap(body, read_component(body), never_native).body is body


def test_native_import_keeps_its_types() -> None:
    types = relays.Types(HOST, 0)
    body = relays.relay(types, {"f": relays.BYTES}, exports=GUEST)
    component = read_component(body)
    wrapped = wrap(body, component, lambda name: name == HOST)
    assert wrapped.type.imports == component.imports
    assert list(wrapped.calls) == [(GUEST, "f")]


@pytest.mark.parametrize("seed", range(40))
async def test_bytes_inside_any_type_pass_both_ways(
    engine: WasmtimeEngine, tmp_path: Path, seed: int
) -> None:
    types = relays.Types(HOST, seed)
    functions: dict[str, WitType] = {f"f{i}": types.make(3) for i in range(3)}
    functions["many"] = TupleType((Primitive("u64"),) * 15 + (relays.BYTES, types.make(2)))
    body = relays.relay(types, functions, exports=GUEST)
    assert_valid(body, tmp_path / "relay.wasm")
    wrapped = wrap(body, read_component(body), never_native)
    assert_valid(wrapped.body, tmp_path / "wrapped.wasm")
    assert (GUEST, "many") in wrapped.calls
    assert CALLS in read_component(wrapped.body).exports
    choose = random.Random(seed)
    for name, wit in functions.items():
        instance = await start(engine, body)
        for _ in range(5):
            value = relays.value(wit, choose)
            assert await instance.call(GUEST, name, [value], deadline_s=10) == value
        instance.close()


RESOURCES = """
package lib:blobs {
  interface errors { resource error { text: func() -> string; } }
  interface blobs {
    use errors.{error};
    record chunk { at: u64, data: list<u8> }
    type raw = list<u8>;
    variant fault { failed(error), closed }
    resource blob {
      constructor(start: list<u8>);
      write: func(bytes: raw) -> result<_, fault>;
      read: func(size: u64) -> result<list<u8>, fault>;
      merge: static func(all: list<own<blob>>, also: option<chunk>) -> blob;
    }
    look: func(at: borrow<blob>, bytes: list<chunk>) -> option<blob>;
    list-of-borrows: func(all: list<borrow<blob>>, bytes: list<u8>);
  }
  interface users { use blobs.{chunk, blob}; pass: func(which: blob, chunk: chunk) -> chunk; }
}
"""


@pytest.mark.parametrize(
    ("world", "wrapped_exports"),
    [
        ("import lib:blobs/blobs; import lib:blobs/users; export run: func();", 0),
        ("export lib:blobs/errors; export lib:blobs/blobs; export lib:blobs/users;", 6),
        ("import lib:blobs/blobs; export lib:blobs/users;", 1),
        ("import lib:blobs/blobs; import take: func(a: list<u8>); export lib:blobs/blobs;", 0),
        ("use lib:blobs/blobs.{blob, chunk}; export pass: func(a: borrow<blob>) -> chunk;", 1),
    ],
)
def test_functions_with_resources_are_wrapped(
    tmp_path: Path, world: str, wrapped_exports: int
) -> None:
    (tmp_path / "world.wit").write_text(
        f"package test:part;\nworld part {{ {world} }}\n{RESOURCES}", encoding="utf-8"
    )
    core, component = tmp_path / "core.wasm", tmp_path / "component.wasm"
    embed: Sequence[str | Path] = [TOOL, "component", "embed", "--dummy", tmp_path]
    subprocess.run([*embed, "--world", "part", "-o", core], check=True)
    subprocess.run([TOOL, "component", "new", core, "-o", component], check=True)
    body = component.read_bytes()
    wrapped = wrap(body, read_component(body), never_native)
    assert_valid(wrapped.body, tmp_path / "wrapped.wasm")
    assert len(wrapped.calls) == wrapped_exports


@pytest.mark.parametrize(("result", "is_wrapped"), [("$bytes", True), ("$item", False)])
async def test_labelled_imports_are_framed_unless_they_name_types(
    engine: WasmtimeEngine, tmp_path: Path, result: str, is_wrapped: bool
) -> None:
    # One type for both would end the process: wasmparser 0.258 fails on it in a nested component.
    store = f"""(instance
        (type $bytes (list u8))
        (type $item' (record (field "data" (list u8))))
        (export "item" (type $item (eq $item')))
        (export "get" (func (param "keys" (list u8)) (result {result}))))"""
    text = f"""
    (component
      (type $first {store})
      (type $second {store})
      (import "primary" (implements "lib:kv/store@0.1.0") (instance (type $first)))
      (import "secondary" (implements "lib:kv/store@0.1.0") (instance (type $second))))
    """
    body = bytes(wat2wasm(text))
    wrapped = wrap(body, read_component(body), never_native)
    assert (wrapped.body != body) == is_wrapped
    assert_valid(wrapped.body, tmp_path / "wrapped.wasm")
    assert wrapped.type.labels == read_component(wrapped.body).labels != {}
    await start(engine, body)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_components_are_refused_or_wrapped(seed: int) -> None:
    choose = random.Random(seed)
    types = relays.Types(HOST, seed)
    functions = {"f": types.make(3), "g": relays.BYTES}
    bodies = [components.values(), relays.relay(types, functions, exports=GUEST)]
    wrapped = 0
    for _ in range(200):
        body = bytearray(choose.choice(bodies))
        for _ in range(choose.randint(1, 4)):
            body[choose.randrange(8, len(body))] = choose.randrange(256)
        try:
            wrapped += bool(wrap_if_possible(bytes(body), never_native).calls)
        except InvalidError:
            continue
    assert wrapped
