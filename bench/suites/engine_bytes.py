"""Bytes into a guest and back, and out of a guest and back, as `list<u8>` in the guest's types."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wasmtime import Engine as PeerEngine
from wasmtime import Store, wat2wasm
from wasmtime.component import Component, Linker

from bench.case import Case
from hosts.engine.base import Instance, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = ("call_bytes_64k", "call_bytes_1m", "import_bytes_64k", "call_bytes_100")

SEED = 1
DEADLINE_S = 60.0
MEMORY_BYTES = 64 * 1024 * 1024

_LIBRARY = """
  (core module $library
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 64))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.and (i32.const -16)
        (i32.add (i32.const 15) (i32.add (local.get $at) (local.get 3)))))
      (if (i32.gt_u (global.get $next) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16)))))))
      (local.get $at))
    (func (export "reset") (param i32) (global.set $next (i32.const 64))))
  (core instance $lib (instantiate $library))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
"""  # noqa: E501 (one instruction a line)

ECHO = f"""
(component
  {_LIBRARY}
  (core module $code
    (import "lib" "memory" (memory 1))
    (func (export "echo") (param $data i32) (param $size i32) (result i32)
      (i32.store (i32.const 0) (local.get $data))
      (i32.store (i32.const 4) (local.get $size))
      (i32.const 0)))
  (core instance $it (instantiate $code (with "lib" (instance $lib))))
  (func (export "echo") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $it "echo") (memory $memory) (realloc $realloc)
      (post-return (core func $lib "reset")))))
"""

CALLER = f"""
(component
  (import "host" (instance $host
    (export "echo" (func (param "data" (list u8)) (result (list u8))))))
  {_LIBRARY}
  (alias export $host "echo" (func $echo))
  (core func $lowered (canon lower (func $echo) (memory $memory) (realloc $realloc)))
  (core module $code
    (import "lib" "memory" (memory 1))
    (import "host" "echo" (func $echo (param i32 i32 i32)))
    (func (export "echo") (param $data i32) (param $size i32) (result i32)
      (call $echo (local.get $data) (local.get $size) (i32.const 0))
      (i32.const 0)))
  (core instance $it (instantiate $code (with "lib" (instance $lib))
    (with "host" (instance (export "echo" (func $lowered))))))
  (func (export "echo") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $it "echo") (memory $memory) (realloc $realloc)
      (post-return (core func $lib "reset")))))
"""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        echo = await _instance(engine, ECHO)
        caller = await _instance(engine, CALLER)
        made = (
            _case("call_bytes_64k", echo, ECHO, size=64 * 1024, calls=1, target=300.0),
            _case("call_bytes_1m", echo, ECHO, size=1024 * 1024, calls=1, target=300.0),
            _case("import_bytes_64k", caller, CALLER, size=64 * 1024, calls=1, target=None),
            _case("call_bytes_100", echo, ECHO, size=100, calls=100, target=None),
        )
        try:
            yield [case for case in made if case.name in wanted]
        finally:
            echo.close()
            caller.close()
            engine.close()


def _case(
    name: str, instance: Instance, text: str, *, size: int, calls: int, target: float | None
) -> Case:
    data = random.Random(SEED).randbytes(size)
    peer, store = _peer(text)

    async def ours() -> None:
        for _ in range(calls):
            await instance.call("", "echo", [data], deadline_s=DEADLINE_S)

    def peers() -> None:
        for _ in range(calls):
            peer(store, data)

    def check() -> None:
        assert peer(store, data) == data

    how = "through the guest to a host function and back" if text is CALLER else "in and out"
    return Case(
        name=name,
        what=f"{size} random bytes as list<u8> {how}",
        ours=ours,
        peer=peers,
        peer_name="wasmtime-py's call of the same function",
        operations=calls,
        warm_up=1,
        # The peer takes two seconds for a megabyte.
        repetitions=7 if size > 100_000 else 15 if size > 1000 else None,
        target=target,
        check=check,
    )


def _peer(text: str) -> tuple[Any, Store]:
    core = PeerEngine()
    linker = Linker(core)
    if text is CALLER:
        with linker.root() as root, root.add_instance("host") as host:
            host.add_func("echo", lambda _store, data: data)
    store = Store(core)
    instance = linker.instantiate(store, Component(core, bytes(wat2wasm(text))))
    function = instance.get_func(store, "echo")
    assert function is not None, "the guest exports echo"
    return function, store


async def _instance(engine: WasmtimeEngine, text: str) -> Instance:
    body = bytes(wat2wasm(text))
    program = await engine.load([Part("guest", Digest("sha256:guest"), body)], [])
    imports = dict.fromkeys(program.type.imports, _echo)
    return await program.instantiate(imports, World(memory_bytes_max=MEMORY_BYTES))


async def _echo(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0]
