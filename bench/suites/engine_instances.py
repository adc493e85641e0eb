"""Instances: cold starts, baseline code, reuse against fresh ones, the memory of a thousand."""

from __future__ import annotations

import gc
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wasmtime

from bench.case import Case, UnavailableError
from hosts.engine.base import HostImport, Instance, Part, Program, World
from hosts.engine.tiers import HAS_BASELINE
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = (
    "cold_start_python_guest",
    "first_answer_python_guest",
    "reuse_vs_fresh",
    "thousand_instances",
)

INTERFACE, FUNCTION = "docs:search/query@0.1.0", "search"
ARGUMENTS = ['"event loop"', 3]
DEADLINE_S = 60.0
INSTANCES = 1000

SMALL = """
(component
  (core module $code
    (memory 1)
    (func (export "add") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0))
      (i32.add (local.get 0) (local.get 1))))
  (core instance $main (instantiate $code))
  (func $add (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $main "add")))
  (export "add" (func $add)))
"""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases; the Python guest is docsearch's, built when it is missing."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder) / "cache", has_baseline=False)
        made: list[Case] = []
        if {"cold_start_python_guest", "first_answer_python_guest", "reuse_vs_fresh"} & {*wanted}:
            guest = _python_guest()
            program = await engine.load([guest], [])  # fills the cache
            made.append(_cold_start(Path(folder), guest))
            made.append(_first_answer(Path(folder), guest))
            made.append(await _reuse(program))
        if "thousand_instances" in wanted:
            made.append(await _thousand(engine))
        try:
            yield [case for case in made if case.name in wanted]
        finally:
            engine.close()


def _cold_start(folder: Path, guest: Part) -> Case:
    empty = folder / "empty"

    async def from_cache() -> float:
        return await _first_call(folder / "cache", guest, has_baseline=False)

    async def compiled() -> float:
        shutil.rmtree(empty, ignore_errors=True)
        return await _first_call(empty, guest, has_baseline=False)

    return Case(
        name="cold_start_python_guest",
        what=f"load a componentize-py guest of {len(guest.body) / 1e6:.0f} MB in a new engine, "
        "make an instance, first call; the compiled code is in the cache",
        ours=from_cache,
        peer=compiled,
        peer_name="the same with an empty cache",
        unit="ms",
        is_clocked=True,
        warm_up=0,
        repetitions=5,
        target=100,
    )


def _first_answer(folder: Path, guest: Part) -> Case:
    empty = folder / "unknown"

    async def measured(has_baseline: bool) -> float:
        shutil.rmtree(empty, ignore_errors=True)
        return await _first_call(empty, guest, has_baseline=has_baseline)

    return Case(
        name="first_answer_python_guest",
        what="the same guest, seen for the first time on this machine, until its first answer",
        ours=lambda: measured(HAS_BASELINE),
        peer=lambda: measured(has_baseline=False),
        peer_name="the same without a baseline tier",
        unit="ms",
        is_clocked=True,
        warm_up=0,
        repetitions=5,
    )


async def _reuse(program: Program) -> Case:
    reused = await program.instantiate(_imports(program), World())

    async def fresh() -> Any:
        instance = await program.instantiate(_imports(program), World())
        try:
            return await _call(instance)
        finally:
            instance.close()

    return Case(
        name="reuse_vs_fresh",
        what="a call of a componentize-py guest, which calls one import, in an instance that is "
        "used again",
        ours=lambda: _call(reused),
        peer=fresh,
        peer_name="a fresh instance for each call",
        target=5,
    )


async def _thousand(engine: WasmtimeEngine) -> Case:
    body = bytes(wasmtime.wat2wasm(SMALL))
    program = await engine.load([_part("small", body)], [])

    async def make() -> list[Instance]:
        instances: list[Instance] = []
        for number in range(INSTANCES):
            instance = await program.instantiate({}, World())
            await instance.call("", "add", [number, 1], deadline_s=DEADLINE_S)
            instances.append(instance)
        return instances

    async def made() -> float:
        started = time.perf_counter()
        instances = await make()
        elapsed_s = time.perf_counter() - started
        _close(instances)
        return elapsed_s

    held = await _private_bytes(make)
    return Case(
        name="thousand_instances",
        what="make a thousand instances of a small component and call each once; one holds "
        f"{held / INSTANCES / 1024:.0f} KiB of private memory",
        ours=made,
        peer_name="nothing comparable",
        unit="us",
        is_clocked=True,
        operations=INSTANCES,
        warm_up=1,
    )


async def _private_bytes(make: Callable[[], Awaitable[list[Instance]]]) -> int:
    """Return the private memory of a thousand instances at once, without that of the first ones."""
    _close(await make())
    gc.collect()
    before = _private()
    instances = await make()
    held = _private() - before
    _close(instances)
    return held


def _private() -> int:
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _close(instances: Sequence[Instance]) -> None:
    for instance in instances:
        instance.close()


async def _first_call(cache: Path, guest: Part, *, has_baseline: bool) -> float:
    """Return the seconds from a new engine's load to the first answer."""
    engine = WasmtimeEngine(cache, has_baseline=has_baseline)
    started = time.perf_counter()
    program = await engine.load([guest], [])
    instance = await program.instantiate(_imports(program), World())
    await _call(instance)
    elapsed_s = time.perf_counter() - started
    instance.close()
    engine.close()
    return elapsed_s


async def _call(instance: Instance) -> Any:
    return await instance.call(INTERFACE, FUNCTION, ARGUMENTS, deadline_s=DEADLINE_S)


def _imports(program: Program) -> dict[str, HostImport]:
    """Return stand-ins for what the guest imports: no text has any terms."""

    async def nothing(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return []

    return {name: nothing for name in program.type.imports if name.startswith("docs:")}


def _part(name: str, body: bytes) -> Part:
    return Part(name, Digest("sha256:" + hashlib.sha256(body).hexdigest()), body)


def _python_guest() -> Part:
    from examples.docsearch.build import BuildError, build_query_guest

    try:
        return _part("query", build_query_guest().read_bytes())
    except BuildError as error:
        raise UnavailableError(f"the guest cannot be built: {error}") from None
