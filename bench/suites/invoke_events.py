"""What the event log costs calls: a hundred events a second beside them, and each by itself."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import wasmtime
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from bench.case import Case, LeftOut, Reading
from bench.cost import read_cost
from bench.guests import INVOKE_BYTES
from bench.results import CPU
from bench.running import LINE_BYTES_MAX, first_line, lattice_up
from lattice.client import LatticeClient, connect

OVERHEAD = "event_overhead"
CASES = (OVERHEAD,)

RATE = 100  # events a second beside the calls
EVENTS = 5_000  # of the run that tells what one costs
IN_FLIGHT = 100
CALLS = 6_000  # of a sample
PAYLOAD = bytes(16)
REPETITIONS = 9


@dataclass(slots=True)
class _Bench:
    """A lattice, a client of it, and who writes events."""

    client: LatticeClient
    writer: Process
    servers: Mapping[str, int]
    lines: BufferedByteReceiveStream
    with_events: list[float] = field(default_factory=list[float])  # calls a second
    without: list[float] = field(default_factory=list[float])
    event_cpu_us: float = 0.0

    async def tell(self, line: str) -> Mapping[str, float]:
        """Return what the writer answers."""
        assert self.writer.stdin is not None, "it was opened with a pipe"
        await self.writer.stdin.send(f"{line}\n".encode())
        found: Mapping[str, float] = json.loads(
            await self.lines.receive_until(b"\n", LINE_BYTES_MAX)
        )
        return found

    async def beside_events(self, effort: float) -> Reading:
        """Sample calls while events are written."""
        await self.tell(f"rate {RATE}")
        try:
            return await self._sample(effort, self.with_events)
        finally:
            await self.tell("rate 0")

    async def alone(self, effort: float) -> Reading:
        """Sample calls while nothing happens that is told."""
        return await self._sample(effort, self.without)

    async def cost_of_events(self, count: int) -> None:
        """Measure what so many events cost of who tells them and of the server, each."""
        server = {"nats-server": self.servers["nats-server"]}
        before_s = read_cost(server).servers_cpu_s
        found = await self.tell(f"many {count}")
        server_s = read_cost(server).servers_cpu_s - before_s
        self.event_cpu_us = (found["cpu_s"] + server_s) / count * 1e6

    def figures(self) -> Mapping[str, float]:
        """Return the keys of this case."""
        rates = [statistics.median(each or [0.0]) for each in (self.with_events, self.without)]
        return {
            "cpu_us_per_event": self.event_cpu_us,
            "calls_per_s_ratio": rates[0] / rates[1] if rates[1] else 0.0,
        }

    async def _sample(self, effort: float, rates: list[float]) -> Reading:
        calls = max(IN_FLIGHT, round(CALLS * effort))
        left = iter(range(calls))

        async def one_after_the_other() -> None:
            for _ in left:
                await self.client.call("bytes", "echo", [PAYLOAD])

        before_s, cpu_s = read_cost(self.servers).servers_cpu_s, time.process_time()
        began_s = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(IN_FLIGHT):
                group.start_soon(one_after_the_other)
        elapsed_s = time.perf_counter() - began_s
        spent_s = time.process_time() - cpu_s + read_cost(self.servers).servers_cpu_s - before_s
        rates.append(calls / elapsed_s)
        return Reading(elapsed_s=elapsed_s, operations=calls, figures={CPU: spent_s / calls * 1e6})


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; a lattice and who writes events run meanwhile."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(lattice_up(hosts=1))
        client = await stack.enter_async_context(connect(running.settings))
        image = running.folder / "bytes.wasm"
        image.write_bytes(wasmtime.wat2wasm(INVOKE_BYTES))
        component = {
            "name": "bytes",
            "image": str(image),
            "instances": {"mode": "reuse", "maxInvocations": 1_000_000},
            "limits": {"concurrency": 1000, "queue": 1000},
        }
        manifest = {"lattice": "v1", "name": "bytes", "components": [component]}
        await client.apply(manifest, wait=True)
        settings = running.settings
        assert settings.nkey is not None, "a lattice of its own has keys"
        key = settings.nkey.parent / settings.nkey.name.replace("operator", "scheduler")
        words = (settings.servers[0], str(key), settings.lattice)
        bench = await stack.enter_async_context(_writing(client, running.pids, words))
        await bench.cost_of_events(EVENTS)
        yield [_overhead(bench)] if OVERHEAD in wanted else []


@asynccontextmanager
async def _writing(
    client: LatticeClient, servers: Mapping[str, int], words: Sequence[str]
) -> AsyncIterator[_Bench]:
    process = await anyio.open_process(
        [sys.executable, "-m", "bench.events", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None,
    )  # fmt: skip
    try:
        await first_line(process, "who writes events")
        assert process.stdout is not None, "it was opened with a pipe"
        yield _Bench(client, process, servers, BufferedByteReceiveStream(process.stdout))
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()


def _overhead(bench: _Bench) -> Case:
    return Case(
        name=OVERHEAD,
        what=f"a client calls a guest that returns its {len(PAYLOAD)} bytes, {IN_FLIGHT} calls in "
        f"flight, while {RATE} events a second are written to the log; `cpu_us_per_event` is that "
        f"of who tells {EVENTS} events and of the server that stores them, "
        "`calls_per_s_ratio` the median rate of calls beside events against without",
        ours=bench.beside_events,
        peer=bench.alone,
        peer_name="the same calls while no events are written",
        unit="op/s",
        is_sampled=True,
        warm_up=1,
        repetitions=REPETITIONS,
        figures=bench.figures,
    )
