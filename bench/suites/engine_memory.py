"""Memory: a thousand instances, a thousand guests that wait, components not called yet."""

from __future__ import annotations

import gc
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from wasmtime import wat2wasm

from bench.case import Case, UnavailableError
from bench.guests import WAITING
from bench.memory import private_bytes
from hosts.engine.base import HostImport, Instance, Part, Program, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = ("thousand_instances", "suspended_guests", "lazy_components")

INSTANCES = 1000
DEADLINE_S = 60.0
KIB = 1024
CHILD_LIMIT_S = 300.0

TEXT, FUNCTION, ARGUMENTS = "docs:search/text@0.1.0", "tokenize", ["A few words of text"]


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        made: list[Case] = []
        if "thousand_instances" in wanted:
            made.append(_thousand(await _load(engine, _c_guest())))
        if "suspended_guests" in wanted:
            made.append(_suspended(await _load(engine, bytes(wat2wasm(WAITING)))))
        if "lazy_components" in wanted:
            made.append(_lazy(Path(folder) / "lazy"))
        try:
            yield made
        finally:
            engine.close()


def _thousand(program: Program) -> Case:
    held: list[int] = []

    async def made() -> float:
        gc.collect()
        before = private_dirty_bytes()
        started_s = time.perf_counter()
        instances = await _instances(program)
        for instance in instances:
            await instance.call(TEXT, FUNCTION, ARGUMENTS, deadline_s=DEADLINE_S)
        elapsed_s = time.perf_counter() - started_s
        held.append(private_dirty_bytes() - before)
        _close(instances)
        return elapsed_s

    return Case(
        name="thousand_instances",
        what="make a thousand instances of a component in C and call each once, until all are held",
        ours=made,
        peer_name="nothing comparable",
        is_clocked=True,
        operations=INSTANCES,
        warm_up=1,
        repetitions=7,
        # Of the first time: later on, what was freed before is used again.
        figures=lambda: {"private_dirty_each_kib": held[0] / INSTANCES / KIB},
    )


def _suspended(program: Program) -> Case:
    idle: list[int] = []
    held: list[int] = []
    waits: list[float] = []

    async def wait_together() -> float:
        waiting = 0
        gate, all_wait = anyio.Event(), anyio.Event()

        async def host(_interface: str, _function: str, args: Sequence[Any]) -> int:
            nonlocal waiting
            waiting += 1
            if waiting == INSTANCES:
                all_wait.set()
            await gate.wait()
            return int(args[0]) + int(args[1])

        gc.collect()
        before = private_dirty_bytes()
        instances = await _instances(program, host)
        idle.append(private_dirty_bytes() - before)
        answers: list[int] = []

        async def call(number: int) -> None:
            answers.append(await instances[number].call("", "run", [number], deadline_s=DEADLINE_S))

        started_s = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(INSTANCES):
                tasks.start_soon(call, number)
            await all_wait.wait()
            waits.append(time.perf_counter() - started_s)
            held.append(private_dirty_bytes() - before)
            resumed_s = time.perf_counter()
            gate.set()
        elapsed_s = waits[-1] + time.perf_counter() - resumed_s
        assert sorted(answers) == list(range(1, INSTANCES + 1)), "each answers for itself"
        _close(instances)
        return elapsed_s

    return Case(
        name="suspended_guests",
        what="a thousand guests on one thread call the host, all wait at once, and all go on",
        ours=wait_together,
        peer_name="nothing comparable",
        is_clocked=True,
        operations=INSTANCES,
        warm_up=1,
        repetitions=7,
        figures=lambda: {
            "private_dirty_each_kib": held[0] / INSTANCES / KIB,
            "before_the_call_each_kib": idle[0] / INSTANCES / KIB,
            "until_all_wait_ms": sorted(waits)[len(waits) // 2] * 1e3,
        },
    )


def _lazy(cache: Path) -> Case:
    async def held(compose: str) -> float:
        command = [sys.executable, "-m", "bench.lazy", compose, str(cache)]
        with anyio.fail_after(CHILD_LIMIT_S):
            done = await anyio.run_process(command, stderr=None)
        return float(done.stdout)

    return Case(
        name="lazy_components",
        what="private memory of a workload of which one component is called, 20 others are not; "
        "these are lazy",
        ours=lambda: held("lazy"),
        peer=lambda: held("eager"),
        peer_name="the same, eager",
        unit="MiB",
        is_clocked=True,
        warm_up=1,  # the first one compiles
        repetitions=5,
        target=5.0,
    )


def private_dirty_bytes() -> int:
    """Return the memory of this process that is its own and written to."""
    return private_bytes("Private_Dirty")


async def _instances(program: Program, host: HostImport | None = None) -> list[Instance]:
    imports = {} if host is None else {"host": host}
    return [await program.instantiate(imports, World()) for _ in range(INSTANCES)]


def _close(instances: Sequence[Instance]) -> None:
    for instance in instances:
        instance.close()


async def _load(engine: WasmtimeEngine, body: bytes) -> Program:
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    return await engine.load([Part("guest", digest, body)], [])


def _c_guest() -> bytes:
    from examples.docsearch.build import BuildError, build_small_guest

    try:
        return build_small_guest("tokenize")
    except BuildError as error:
        raise UnavailableError(f"the guest cannot be built: {error}") from None
