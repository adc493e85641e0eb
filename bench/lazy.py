"""A process that runs a host with one workload, and tells what memory that took; see `measure`.

python -m bench.lazy COMPOSE CACHE prints the bytes; COMPOSE is that of the manifest.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from wasmtime import wat2wasm

from bench.memory import private_bytes
from lattice.testing import eventually
from tests.integration.host_world import World

COMPONENTS = 20
START_S = 120.0

_FRONT = """
(component
  (core module $m (func (export "run") (result i32) (i32.const 42)))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $it (export "run" (func $run)))
  (export "bench:crowd/front@1.0.0" (instance $it)))
"""

_PART = """
(component
  (core module $m
    (memory 8)
    ;; Interpreters touch about as much before they do anything.
    (func $touch (memory.fill (i32.const 0) (i32.const 1) (i32.const 524288)))
    (start $touch)
    {functions}
    (func (export "run") (result i32) (i32.const {number})))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $it (export "run" (func $run)))
  (export "bench:crowd/part-{number}@1.0.0" (instance $it)))
"""

_FUNCTION = (
    '(func (export "f{0}") (param i32) (result i32) (i32.mul (local.get 0) (i32.const {0})))'
)


def part(number: int) -> bytes:
    """Return a component that touches half a megabyte when it starts."""
    functions = "".join(_FUNCTION.format(each) for each in range(200))
    return bytes(wat2wasm(_PART.format(functions=functions, number=number)))


async def measure(compose: str, cache: Path) -> int:
    """Return the private memory of a workload that has been called once.

    It has a component that was called and 20 others that were not; those are `eager` or `lazy`.
    """
    bodies = {"front": bytes(wat2wasm(_FRONT))}
    bodies |= {f"part-{number}": part(number) for number in range(COMPONENTS)}
    fields: dict[str, Any] = {name: {"compose": compose} for name in bodies if name != "front"}
    world = World(cache)
    await world.submit("crowd", bodies, **fields)
    with tempfile.TemporaryDirectory() as folder:
        async with world.scheduler(), world.host("H1", Path(folder)):
            gc.collect()
            before = private_bytes()
            await world.assign("H1", ("crowd", 1, 1))
            await eventually(
                lambda: world.states("H1").get("crowd", ("", ""))[0] == "running",
                timeout_s=START_S,
            )
            # The second call finds an instance that was made ahead: from then on one is kept.
            for _ in range(2):
                assert await world.call("crowd", "bench:crowd/front@1.0.0", "run") == 42
            await anyio.wait_all_tasks_blocked()
            gc.collect()
            held = private_bytes() - before
            last = COMPONENTS - 1
            got = await world.call("crowd", f"bench:crowd/part-{last}@1.0.0", "run")
            assert got == last, "a component that was not called works all the same"
            return held


if __name__ == "__main__":
    print(anyio.run(measure, sys.argv[1], Path(sys.argv[2])))
