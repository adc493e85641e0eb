"""Writes events to the log of a lattice as a scheduler does, in a process of its own.

python -m bench.events URL NKEY LATTICE

Each line on standard input is `rate N`, events a second from now on (0: none), or `many N`: as many
events as fast as they are stored. Each is answered by one line of JSON, that of `many` with the
seconds and the processor seconds that it took. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import anyio
import uvloop

from lattice.bus.connecting import connect
from lattice.bus.event_outbox import EventOutbox
from lattice.clock import SystemClock
from lattice.config import Settings
from lattice.wire.subjects import Names

WAITING_MAX = 20_000
"""Events that wait for the log: those of one `many`."""

LIMIT_S = 120.0

KIND = "replica-running"
DATA = {"deployment": "bench", "generation": 1, "host": "H" * 20, "reason": "the bench says so"}


class Writer:
    """An outbox, and the rate at which it is filled."""

    def __init__(self, outbox: EventOutbox) -> None:
        self._outbox = outbox
        self._rate = 0
        self._count = 0
        self._changed = anyio.Event()

    async def fill(self) -> None:
        """Put events at the rate, until cancelled."""
        while True:
            if not self._rate:
                self._changed = anyio.Event()
                await self._changed.wait()
                continue
            self._put()
            await anyio.sleep(1 / self._rate)

    def set_rate(self, rate: int) -> None:
        """Change the rate, events a second."""
        self._rate = rate
        self._changed.set()

    async def many(self, count: int) -> dict[str, float]:
        """Return what so many events took until all were stored."""
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(count):
            self._put()
        if not await self._outbox.flushed(timeout_s=LIMIT_S):
            message = f"{count} events were not stored within {LIMIT_S:g} s"
            raise AssertionError(message)
        return {
            "elapsed_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - cpu_s,
        }

    def _put(self) -> None:
        self._count += 1
        self._outbox.put(KIND, "bench-1", DATA, event_id=f"bench.{self._count}")


async def main(url: str, nkey: str, lattice: str) -> None:
    """Answer lines until there are no more."""
    settings = Settings(lattice=lattice, servers=(url,), nkey=Path(nkey))
    async with connect(settings, name="bench-events") as connection:
        outbox = EventOutbox(
            connection.events, Names(lattice), source=f"/lattice/{lattice}/scheduler/bench",
            clock=SystemClock(), waiting_max=WAITING_MAX,
        )  # fmt: skip
        writer = Writer(outbox)
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.publish)
            group.start_soon(writer.fill)
            loop = asyncio.get_running_loop()
            print("ready", flush=True)
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                what, _, number = line.partition(" ")
                answer: dict[str, float] = {}
                if what == "many":
                    answer = await writer.many(int(number))
                else:
                    writer.set_rate(int(number))
                print(json.dumps(answer), flush=True)
            group.cancel_scope.cancel()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
