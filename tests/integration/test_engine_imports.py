"""Imports of unusual shapes on the real engine: labels, maps, the root, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import InvalidError
from tests.contract.engine.building import part, start
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 10.0

LABELLED = """
(component
  (type $counts (map string u32))
  (type $store (instance
    (type $counts (map string u32))
    (export "get" (func (param "keys" $counts) (result $counts)))))
  (import "primary" (implements "lib:kv/store@0.1.0") (instance $primary (type $store)))
  (import "secondary" (implements "lib:kv/store@0.1.0") (instance $secondary (type $store)))
  (core module $memory
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.and (i32.const -8)
        (i32.add (i32.const 7) (i32.add (local.get $at) (local.get $size)))))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $first (canon lower (func $primary "get") (memory $mem) (realloc $realloc)))
  (core func $second (canon lower (func $secondary "get") (memory $mem) (realloc $realloc)))
  (core module $code
    (import "host" "first" (func $first (param i32 i32 i32)))
    (import "host" "second" (func $second (param i32 i32 i32)))
    (import "memory" "memory" (memory 2))
    (func (export "run") (param $at i32) (param $count i32) (result i32)
      (call $first (local.get $at) (local.get $count) (i32.const 16))
      (call $second (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 16))
      (i32.const 16)))
  (core instance $main (instantiate $code
    (with "host" (instance (export "first" (func $first)) (export "second" (func $second))))
    (with "memory" (instance $memory))))
  (func (export "run") (param "counts" $counts) (result $counts)
    (canon lift (core func $main "run") (memory $mem) (realloc $realloc))))
"""

RESOURCE = """
(component
  (import "lib:things/things@0.1.0" (instance $things
    (export "thing" (type $thing (sub resource)))
    (export "make" (func (result (own $thing))))
    (export "count" (func (result u32))))))
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def test_labelled_imports_of_one_interface_are_told_apart_and_maps_pass(
    engine: WasmtimeEngine,
) -> None:
    async def double(interface: str, _function: str, args: Sequence[Any]) -> Any:
        assert interface == "primary"
        return {key: value * 2 for key, value in args[0].items()}

    async def add_key(interface: str, _function: str, args: Sequence[Any]) -> Any:
        assert interface == "secondary"
        return {**args[0], "ß": 7}

    imports = {"primary": double, "secondary": add_key}
    instance = await start(engine, bytes(wat2wasm(LABELLED)), imports=imports)
    counts = await instance.call("", "run", [{"a": 1, "b": 2}], deadline_s=DEADLINE_S)
    assert counts == {"a": 2, "b": 4, "ß": 7}
    assert await instance.call("", "run", [{}], deadline_s=DEADLINE_S) == {"ß": 7}
    instance.close()


async def test_all_labelled_imports_that_are_missing_are_listed(engine: WasmtimeEngine) -> None:
    with pytest.raises(InvalidError) as caught:
        await start(engine, bytes(wat2wasm(LABELLED)))
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["primary", "secondary"]


async def test_import_with_handles_is_refused_and_each_function_is_named(
    engine: WasmtimeEngine,
) -> None:
    async def nothing(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return None

    program = await engine.load([part("a", bytes(wat2wasm(RESOURCE)))], [])
    with pytest.raises(InvalidError, match="#make: values of type handle cannot cross"):
        await program.instantiate({"lib:things/things@0.1.0": nothing}, World())
    with pytest.raises(InvalidError, match="nobody provides make, count"):
        await program.instantiate({}, World())


async def test_refused_instantiation_leaves_the_program_usable(engine: WasmtimeEngine) -> None:
    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        return args[0]

    program = await engine.load([part("a", components.waiter())], [])
    for _ in range(3):
        with pytest.raises(InvalidError):
            await program.instantiate({}, World())
    instance = await program.instantiate({"test:host/gate@0.1.0": gate}, World())
    assert await instance.call(components.RUN, "run", [], deadline_s=DEADLINE_S) == 6
    instance.close()


async def test_instance_outlives_the_last_reference_to_its_program(
    engine: WasmtimeEngine,
) -> None:
    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        return args[0]

    instance = await start(engine, components.waiter(), imports={"test:host/gate@0.1.0": gate})
    assert await instance.call(components.RUN, "run", [], deadline_s=DEADLINE_S) == 6
    instance.close()
