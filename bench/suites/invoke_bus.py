"""The bare bus client against bare nats-py: request and reply without a lattice above them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from bench.case import Case, Reading
from bench.cost import read_cost
from bench.results import CPU
from bench.running import ECHO_SUBJECT, LINE_BYTES_MAX, bare_server, first_line, running

CASES = (
    "client_vs_natspy_100", "client_vs_natspy_100_asyncio",
    "client_vs_natspy_serial", "client_vs_natspy_64kb",
)  # fmt: skip

_WHAT = {
    "client_vs_natspy_100": ("uvloop", 100, 16, 20_000),
    "client_vs_natspy_100_asyncio": ("asyncio", 100, 16, 20_000),
    "client_vs_natspy_serial": ("uvloop", 1, 16, 1_500),
    "client_vs_natspy_64kb": ("uvloop", 8, 64_000, 1_500),
}
"""The event loop of both processes, requests in flight, bytes of each, requests of a sample."""

CPU_TARGET = 2.2
"""Processor time of nats-py against ours, of asker, server and echo together."""

REPETITIONS = 15


@dataclass(slots=True)
class _Side:
    """An asker and the processes that it needs."""

    asker: Process
    server_pid: int
    echo_pid: int
    lines: BufferedByteReceiveStream = field(init=False)

    def __post_init__(self) -> None:
        assert self.asker.stdout is not None, "it was opened with a pipe"
        self.lines = BufferedByteReceiveStream(self.asker.stdout)

    async def sample(self, calls: int, in_flight: int, size: int, effort: float) -> Reading:
        """Let the asker ask, and return what that took of every process."""
        calls = max(in_flight, round(calls * effort))
        assert self.asker.stdin is not None, "it was opened with a pipe"
        before = self._spent_s()
        await self.asker.stdin.send(f"{calls} {in_flight} {size}\n".encode())
        found = json.loads(await self.lines.receive_until(b"\n", LINE_BYTES_MAX))
        spent = {name: spent_s - before[name] for name, spent_s in self._spent_s().items()}
        each = {"asker_cpu_us": found["cpu_s"]} | {
            f"{name}_cpu_us": spent_s for name, spent_s in spent.items()
        }
        figures = {name: spent_s / calls * 1e6 for name, spent_s in each.items()}
        clients = figures["asker_cpu_us"] + figures["echo_cpu_us"]
        return Reading(
            elapsed_s=found["elapsed_s"],
            operations=calls,
            figures={CPU: sum(figures.values()), "clients_cpu_us": clients, **figures},
        )

    def _spent_s(self) -> dict[str, float]:
        pids = {"server": self.server_pid, "echo": self.echo_pid}
        return {name: read_cost({name: pid}).servers_cpu_s for name, pid in pids.items()}


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases; each client has a server and processes of its own."""
    async with AsyncExitStack() as stack:
        sides: dict[tuple[str, str], _Side] = {}
        for loop in sorted({_WHAT[name][0] for name in wanted}):
            for client in ("muxed", "nats-py"):
                sides[client, loop] = await stack.enter_async_context(_side(client, loop))
        yield [_case(name, sides) for name in CASES if name in wanted]


def _case(name: str, sides: Mapping[tuple[str, str], _Side]) -> Case:
    loop, in_flight, size, calls = _WHAT[name]
    return Case(
        name=name,
        what=f"request and reply of {size} bytes over the bus, {in_flight} in flight, asker and "
        f"echo on {loop}; `{CPU}` is that of asker, echo and server for one request",
        ours=partial(sides["muxed", loop].sample, calls, in_flight, size),
        peer=partial(sides["nats-py", loop].sample, calls, in_flight, size),
        peer_name=f"the same by nats-py on {loop}, without anything above it",
        unit="op/s",
        is_sampled=True,
        warm_up=1,
        repetitions=REPETITIONS,
        targets={CPU: CPU_TARGET} if name == "client_vs_natspy_100" else {},
    )


@asynccontextmanager
async def _side(client: str, loop: str) -> AsyncIterator[_Side]:
    """Yield an asker with a plain server and an echo of the same client."""
    words = [sys.executable, "-m", "bench.bus_client", client, loop]
    async with bare_server() as (url, server_pid), AsyncExitStack() as stack:
        echo = await stack.enter_async_context(running([*words, "echo", url, ECHO_SUBJECT]))
        await first_line(echo, "the echo")
        asker = await anyio.open_process(
            [*words, "ask", url, ECHO_SUBJECT], stdin=subprocess.PIPE, stderr=None
        )
        try:
            await first_line(asker, "the asker")
            yield _Side(asker, server_pid, echo.pid)
        finally:
            with anyio.CancelScope(shield=True):
                await asker.aclose()
