"""Typed calls by each route: from guest to guest in memory, and over NATS against bare nats-py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import anyio
import wasmtime
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from bench.case import Case, LeftOut, Reading, Sampler
from bench.cost import read_cost
from bench.guests import INVOKE_ADD, INVOKE_BYTES, INVOKE_OFTEN
from bench.results import CPU
from bench.running import LINE_BYTES_MAX, RunningLattice, bare_echo, first_line, lattice_up
from lattice.client import LatticeClient, connect

PAYLOADS = {"payload_16b": 16, "payload_1kb": 1000, "payload_64kb": 64_000, "payload_4mb": 4 << 20}
"""Bytes of the argument, and of the result, by case; eight calls are in flight."""

IN_FLIGHT = {"remote_call_serial": 1, "remote_call_100": 100, "remote_call_1000": 1000}

ON_ASYNCIO = "remote_call_100_asyncio"

CASES = (
    "local_call", "local_call_cross_workload", *IN_FLIGHT, ON_ASYNCIO, *PAYLOADS,
)  # fmt: skip

LOCAL_CALLS = 20_000  # of a guest's loop, in one call from outside

LOCAL_TARGET = 300_000.0  # calls in a second
CALLS = {1: 1500, 8: 1500, 100: 6000, 1000: 6000}
"""Calls of a sample, by how many are in flight: half a second to two."""

BYTES_MAX = 16_000_000
"""Bytes that go each way in one sample: large payloads are called less often."""

REPETITIONS = 9

START_S = 60.0


@dataclass(slots=True)
class _Caller:
    """A process that calls (`bench.caller`), and the servers that its calls go through."""

    process: Process
    servers: Mapping[str, int]
    lines: BufferedByteReceiveStream = field(init=False)

    def __post_init__(self) -> None:
        assert self.process.stdout is not None, "it was opened with a pipe"
        self.lines = BufferedByteReceiveStream(self.process.stdout)

    async def sample(self, in_flight: int, size: int, effort: float) -> Reading:
        calls = max(in_flight, min(CALLS[in_flight], BYTES_MAX // size))
        calls = max(1, round(calls * effort))
        assert self.process.stdin is not None, "it was opened with a pipe"
        before_s = read_cost(self.servers).servers_cpu_s
        await self.process.stdin.send(f"{calls} {in_flight} {size}\n".encode())
        found = json.loads(await self.lines.receive_until(b"\n", LINE_BYTES_MAX))
        servers_s = read_cost(self.servers).servers_cpu_s - before_s
        return Reading(
            elapsed_s=found["elapsed_s"],
            operations=calls,
            figures={
                CPU: (found["cpu_s"] + servers_s) / calls * 1e6,
                "caller_cpu_us": found["cpu_s"] / calls * 1e6,
                "p50_us": found["p50_us"],
                "p99_us": found["p99_us"],
            },
        )


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; a lattice and the peer's server run meanwhile."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(lattice_up(hosts=1))
        client = await stack.enter_async_context(connect(running.settings))
        await _deploy(running, client)
        made: list[Case | LeftOut] = [
            _local("local_call", client, running, "often", "a lazy component of its own workload"),
            _local("local_call_cross_workload", client, running, "apart", "another deployment"),
        ]
        if set(wanted) & {*IN_FLIGHT, *PAYLOADS}:
            sides = await _callers(stack, running, "uvloop")
            made += [_remote(name, sides, count, 16) for name, count in IN_FLIGHT.items()]
            made += [_payload(name, sides, size) for name, size in PAYLOADS.items()]
        if ON_ASYNCIO in wanted:
            sides = await _callers(stack, running, "asyncio")
            made.append(_remote(ON_ASYNCIO, sides, 100, 16, "asyncio"))
        yield [case for case in made if case.name in wanted]


async def _deploy(running: RunningLattice, client: LatticeClient) -> None:
    link = {"import": "bench:invoke/add@1.0.0", "to": "add"}
    limits = {"concurrency": 1000, "queue": 1000}

    def component(name: str, text: str, **fields: Any) -> dict[str, Any]:
        image = running.folder / f"{name}.wasm"
        image.write_bytes(wasmtime.wat2wasm(text))
        reused = {"mode": "reuse", "maxInvocations": 1_000_000}
        return {"name": name, "image": str(image), "instances": reused, "limits": limits, **fields}

    def manifest(name: str, *components: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {"lattice": "v1", "name": name, "components": list(components), **fields}

    add = partial(component, "add", INVOKE_ADD)
    for each in (
        manifest("bytes", component("bytes", INVOKE_BYTES)),
        manifest("add", add()),
        manifest("often", component("often", INVOKE_OFTEN), add(compose="lazy")),
        manifest("apart", component("apart", INVOKE_OFTEN), links=[link]),
    ):
        await client.apply(each, wait=True)


def _local(
    name: str, client: LatticeClient, running: RunningLattice, deployment: str, callee: str
) -> Case:
    async def ours() -> float:
        began_s = perf_counter()
        assert await client.call(deployment, "often", [LOCAL_CALLS]) == LOCAL_CALLS, "all were made"
        return perf_counter() - began_s

    return Case(
        name=name,
        what=f"a guest's loop calls add of {callee} on its host, {LOCAL_CALLS} times in one call "
        "from a client, whose own time is counted in",
        ours=ours,
        peer_name="none that does the same",
        unit="op/s",
        operations=LOCAL_CALLS,
        is_clocked=True,
        warm_up=3,
        servers=running.pids,
    )


async def _callers(
    stack: AsyncExitStack, running: RunningLattice, loop: str
) -> tuple[_Caller, _Caller]:
    """Start both callers and return them: ours, and the one that uses nats-py."""
    settings = running.settings
    bare, bare_pids = await stack.enter_async_context(bare_echo(loop))
    assert bare.connected_url is not None, "it is connected"
    words = ("lattice", loop, settings.servers[0], str(settings.nkey), settings.lattice)
    ours = await stack.enter_async_context(_caller(*words))
    peer = await stack.enter_async_context(_caller("nats", loop, bare.connected_url.geturl()))
    pids = {name: pid for name, pid in running.pids.items() if name != "scheduler"}
    return _Caller(ours, pids), _Caller(peer, bare_pids)


@asynccontextmanager
async def _caller(*words: str) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "bench.caller", *words]
    process = await anyio.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None
    )
    try:
        await first_line(process, "the caller", START_S)
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()


def _remote(
    name: str, sides: tuple[_Caller, _Caller], in_flight: int, size: int, loop: str = "uvloop"
) -> Case:
    def sampler(side: _Caller) -> Sampler:
        return partial(side.sample, in_flight, size)

    targets = {"remote_call_100": {CPU: 1.3}, "remote_call_serial": {"p50_us": 0.8}}
    ours, peer = map(sampler, sides)
    return Case(
        name=name,
        what=f"a client calls a guest that returns its {size} bytes, {in_flight} calls in flight; "
        f"instances are used again; `{CPU}` is that of caller, server and who answers",
        ours=ours,
        peer=peer,
        peer_name=f"request and reply of the same bytes by nats-py on {loop}, without a guest",
        unit="op/s",
        is_sampled=True,
        warm_up=1,
        repetitions=REPETITIONS,
        target={"remote_call_100": 1.2}.get(name),
        targets=targets.get(name, {}),
    )


def _payload(name: str, sides: tuple[_Caller, _Caller], size: int) -> Case:
    return _remote(name, sides, 8, size)
