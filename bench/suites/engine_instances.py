"""Instances of interpreters: cold starts, used again against made anew."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.case import Case, LeftOut, UnavailableError
from bench.guests import javascript
from hosts.engine.base import HostImport, Instance, Part, Program, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = (
    "cold_start_python_guest",
    "reuse_vs_fresh",
    "reuse_vs_fresh_js",
)

INTERFACE, FUNCTION = "docs:search/query@0.1.0", "search"
ARGUMENTS = ['"event loop"', 3]
CACHE = Path(__file__).parents[2] / ".build" / "bench" / "cache"
"""Kept, because compiling an interpreter takes ten seconds that no case wants but one."""

DEADLINE_S = 60.0
REUSE_TARGET = 5.0


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; the Python guest is docsearch's, built when it is missing."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(CACHE, has_baseline=False)
        made: list[Case | LeftOut] = []
        if {"cold_start_python_guest", "reuse_vs_fresh"} & {*wanted}:
            guest = python_guest()
            program = await engine.load([guest], [])  # fills the cache
            made.append(_cold_start(Path(folder), guest))
            made.append(await _reuse(program))
        if "reuse_vs_fresh_js" in wanted:
            made.append(await _reuse_javascript(engine))
        try:
            yield [case for case in made if case.name in wanted]
        finally:
            engine.close()


def _cold_start(folder: Path, guest: Part) -> Case:
    empty = folder / "empty"

    async def from_cache() -> float:
        return await first_call(CACHE, guest, has_baseline=False)

    async def compiled() -> float:
        shutil.rmtree(empty, ignore_errors=True)
        return await first_call(empty, guest, has_baseline=False)

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
        target=REUSE_TARGET,
    )


async def _reuse_javascript(engine: WasmtimeEngine) -> Case | LeftOut:
    from tests.guests.languages.building import Unavailable

    try:
        guest = _part("javascript", javascript().read_bytes())
    except Unavailable as exc:
        return LeftOut(name="reuse_vs_fresh_js", reason=str(exc), target=REUSE_TARGET)
    program = await engine.load([guest], [])
    reused = await program.instantiate(_imports(program), World())

    async def greet(instance: Instance) -> None:
        greeting = await instance.call("", "handle", ["you"], deadline_s=DEADLINE_S)
        assert greeting == "Hello, you!", greeting

    async def fresh() -> None:
        instance = await program.instantiate(_imports(program), World())
        try:
            await greet(instance)
        finally:
            instance.close()

    return Case(
        name="reuse_vs_fresh_js",
        what="a call of an unmodified componentize-js guest, a string in and out, in an instance "
        "that is used again",
        ours=lambda: greet(reused),
        peer=fresh,
        peer_name="a fresh instance for each call",
        target=REUSE_TARGET,
    )


async def first_call(cache: Path, guest: Part, *, has_baseline: bool) -> float:
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

    return {name: nothing for name in program.type.imports if name.startswith(("docs:", "test:"))}


def _part(name: str, body: bytes) -> Part:
    return Part(name, Digest("sha256:" + hashlib.sha256(body).hexdigest()), body)


def python_guest() -> Part:
    from examples.docsearch.build import BuildError, build_query_guest

    try:
        return _part("query", build_query_guest().read_bytes())
    except BuildError as error:
        raise UnavailableError(f"the guest cannot be built: {error}") from None
