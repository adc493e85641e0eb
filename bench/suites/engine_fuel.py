"""What counting fuel costs: the same calls and the same work, metered and not."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from wasmtime import wat2wasm

from bench.case import Case
from bench.guests import COMPUTING, ECHO
from hosts.engine.base import Instance, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = ("metered_call_add", "metered_loop")

CALLS = 1000
ROUNDS = 1_000_000
FUEL = 10**12
DEADLINE_S = 60.0


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        calls = [await _instance(engine, ECHO, is_metered=each) for each in (True, False)]
        loops = [await _instance(engine, COMPUTING, is_metered=each) for each in (True, False)]
        made = (
            Case(
                name="metered_call_add",
                what="a call of two u32 whose fuel is counted",
                ours=_often(calls[0], CALLS, "add", (1, 2)),
                peer=_often(calls[1], CALLS, "add", (1, 2)),
                peer_name="the same without",
                operations=CALLS,
            ),
            Case(
                name="metered_loop",
                what=f"a guest computes {ROUNDS:,} rounds of a loop, whose fuel is counted",
                ours=_often(loops[0], 1, "run", (ROUNDS,)),
                peer=_often(loops[1], 1, "run", (ROUNDS,)),
                peer_name="the same without",
            ),
        )
        try:
            yield [case for case in made if case.name in wanted]
        finally:
            for instance in (*calls, *loops):
                instance.close()
            engine.close()


def _often(
    instance: Instance, calls: int, function: str, args: Sequence[int]
) -> Callable[[], object]:
    async def call() -> None:
        for _ in range(calls):
            await instance.call("", function, args, deadline_s=DEADLINE_S)

    return call


async def _instance(engine: WasmtimeEngine, text: str, *, is_metered: bool) -> Instance:
    body = bytes(wat2wasm(text))
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    program = await engine.load([Part("guest", digest, body)], [], is_metered=is_metered)
    return await program.instantiate({}, World(fuel_max=FUEL))
