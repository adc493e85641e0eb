"""A well-behaved guest beside one that takes all it can get, and how soon that one is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from wasmtime import wat2wasm

from bench.asker import ask_often, quantiles
from bench.case import Case
from bench.guests import ALLOCATING, ECHO, FLOODING, RECURSING, SPINNING
from hosts.engine.base import Instance, Part, Program, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import LatticeError
from lattice.model.ids import Digest

HOSTILE = {
    "neighbour_of_spinning": (SPINNING, "that never returns"),
    "neighbour_of_allocating": (ALLOCATING, "that fills 256 MiB, answers, and is called again"),
    "neighbour_of_recursing": (RECURSING, "that overflows its stack, and is called again"),
    "neighbour_of_flooding": (FLOODING, "that writes to its standard output without end"),
}

CASES = (*HOSTILE, "cancel_spinning")

DEADLINE_S = 60.0
QUESTIONS, RATE = 300, 300.0  # in one sample: a second
CANCELS = 100
"""Cancelled calls in one sample, so that its p99 is the second longest."""

RUNNING_S = 0.011
"""How long a guest spins before it is cancelled: it was interrupted once or twice then."""

CANCEL_LIMIT_MS = 25.0


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        neighbour = await (await _load(engine, ECHO)).instantiate({}, World())
        made: list[Case] = []
        for name, (text, what) in HOSTILE.items():
            if name in wanted:
                made.append(_beside(name, what, neighbour, await _load(engine, text)))
        if "cancel_spinning" in wanted:
            made.append(_cancel(await _load(engine, SPINNING)))
        try:
            yield made
        finally:
            neighbour.close()
            engine.close()


def _beside(name: str, what: str, neighbour: Instance, hostile: Program) -> Case:
    seeds = itertools.count(1)
    seen: dict[str, list[float]] = {}

    async def answer() -> None:
        await neighbour.call("", "add", [1, 2], deadline_s=DEADLINE_S)

    async def asked(where: str) -> float:
        told = await ask_often(answer, questions=QUESTIONS, rate=RATE, seed=next(seeds))
        for key, value_s in told.items():
            seen.setdefault(f"{where}_{key.removesuffix('_s')}_us", []).append(value_s * 1e6)
        return told["p99_s"]

    async def beside() -> float:
        async with _busy(hostile):
            return await asked("beside")

    return Case(
        name=name,
        what=f"p99 of a guest asked {RATE:.0f} times a second from another process, beside one "
        f"{what}",
        ours=beside,
        peer=lambda: asked("alone"),
        peer_name="the same without the other guest",
        is_clocked=True,
        warm_up=0,
        repetitions=9,
        target=0.5,
        figures=lambda: {key: sorted(each)[len(each) // 2] for key, each in sorted(seen.items())},
    )


@asynccontextmanager
async def _busy(program: Program) -> AsyncIterator[None]:
    """Have a guest of the program run meanwhile, again and again when it ends."""

    async def again() -> None:
        while True:
            instance = await program.instantiate({}, World())
            try:
                with contextlib.suppress(LatticeError):  # its trap
                    await instance.call("", "run", [], deadline_s=DEADLINE_S)
            finally:
                instance.close()
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again)
        await anyio.sleep(0.05)  # it runs by then, and the engine knows that it runs for long
        yield
        tasks.cancel_scope.cancel()


def _cancel(program: Program) -> Case:
    async def cancelled() -> float:
        """Return the p99 of the time from a cancellation until the caller has its thread back."""
        return quantiles([await _cancelled_once(program) for _ in range(CANCELS)])["p99_s"]

    return Case(
        name="cancel_spinning",
        what="p99 of the time from the cancellation of a call whose guest spins until it is gone",
        ours=cancelled,
        peer_name="nothing comparable: a thread that spins cannot be cancelled",
        unit="ms",
        is_clocked=True,
        warm_up=0,
        repetitions=7,
        limit=CANCEL_LIMIT_MS,
    )


async def _cancelled_once(program: Program) -> float:
    instance = await program.instantiate({}, World())
    call = asyncio.ensure_future(instance.call("", "run", [], deadline_s=DEADLINE_S))
    asked_s = 0.0
    # Another thread decides, as a client does: this one may be the guest's at that moment.
    loop = asyncio.get_running_loop()

    def ask() -> None:
        nonlocal asked_s
        time.sleep(RUNNING_S)
        asked_s = time.perf_counter()
        loop.call_soon_threadsafe(call.cancel)

    asking = loop.run_in_executor(None, ask)
    with contextlib.suppress(asyncio.CancelledError):
        await call
    gone_s = time.perf_counter()
    await asking
    assert instance.is_dead, "a cancelled guest is gone"
    instance.close()
    return gone_s - asked_s


async def _load(engine: WasmtimeEngine, text: str) -> Program:
    body = bytes(wat2wasm(text))
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    return await engine.load([Part("guest", digest, body)], [])
