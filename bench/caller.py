"""Calls an echo as often as it is told to, in a process of its own: one side of the call bench.

python -m bench.caller {lattice|nats} {asyncio|uvloop} URL [NKEY LATTICE]

Each line on standard input is `CALLS IN_FLIGHT BYTES`; the answer is one line of JSON: the seconds
that all calls took, the processor seconds of this process, and the times of calls at the median and
the 99th percentile. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import uvloop

from bench.running import ECHO_SUBJECT
from lattice.client import connect
from lattice.config import Settings

Call = Callable[[bytes], Awaitable[object]]

DEPLOYMENT, FUNCTION = "bytes", "echo"

TIMEOUT_S = 60.0

PART_BYTES = 512 * 1024
"""Bytes of one request at most by nats-py: a body that no message holds goes in several at once."""


async def main(kind: str, *where: str) -> None:
    """Answer lines until there are no more."""
    async with (_lattice if kind == "lattice" else _nats)(*where) as call:
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            calls, in_flight, size = map(int, line.split())
            print(json.dumps(await _measured(call, calls, in_flight, bytes(size))), flush=True)


@asynccontextmanager
async def _lattice(url: str, nkey: str, lattice: str) -> AsyncIterator[Call]:
    settings = Settings(lattice=lattice, servers=(url,), nkey=Path(nkey))
    async with connect(settings) as client:

        async def call(body: bytes) -> object:
            return await client.call(DEPLOYMENT, FUNCTION, [body], deadline_s=TIMEOUT_S)

        yield call


@asynccontextmanager
async def _nats(url: str) -> AsyncIterator[Call]:
    client = await nats.connect(url)

    async def call(body: bytes) -> bytes:
        return (await client.request(ECHO_SUBJECT, body, timeout=TIMEOUT_S)).data

    async def call_in_parts(body: bytes) -> object:
        if len(body) <= PART_BYTES:
            return await call(body)
        starts = range(0, len(body), PART_BYTES)
        return b"".join(
            await asyncio.gather(*[call(body[start : start + PART_BYTES]) for start in starts])
        )

    try:
        yield call_in_parts
    finally:
        await client.close()


async def _measured(call: Call, calls: int, in_flight: int, body: bytes) -> dict[str, float]:
    if await call(body) != body:
        message = "the echo answered something else"
        raise AssertionError(message)
    took_s: list[float] = []
    left = iter(range(calls))

    async def one_after_the_other() -> None:
        for _ in left:
            began_s = time.perf_counter()
            await call(body)
            took_s.append(time.perf_counter() - began_s)

    began_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_the_other())
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    took_s.sort()
    return {
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "p50_us": took_s[len(took_s) // 2] * 1e6,
        "p99_us": took_s[min(len(took_s) - 1, len(took_s) * 99 // 100)] * 1e6,
    }


if __name__ == "__main__":
    run = uvloop.run if sys.argv[2] == "uvloop" else asyncio.run
    run(main(sys.argv[1], *sys.argv[3:]))
