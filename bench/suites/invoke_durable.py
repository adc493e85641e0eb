"""Durable jobs: from submission to outcome, one after the other and many at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import wasmtime

from bench.case import Case, LeftOut
from bench.guests import INVOKE_BYTES
from bench.running import RunningLattice, lattice_up
from lattice.client import LatticeClient, connect

SUBMIT_TO_RESULT = "durable_submit_to_result"
THROUGHPUT = "durable_throughput"
CASES = (SUBMIT_TO_RESULT, THROUGHPUT)

MANY = 2000  # jobs of a sample, submitted and followed at once

IN_FLIGHT = 100  # of them

LIMIT_MS = 4.0
"""The wanted time of one job from submission to its result."""

PAYLOAD = b"x" * 16


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; a lattice runs meanwhile."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(lattice_up(hosts=1))
        client = await stack.enter_async_context(connect(running.settings))
        await _deploy(running, client)
        made = (_serial(client, running), _many(client, running))
        yield [case for case in made if case.name in wanted]


async def _deploy(running: RunningLattice, client: LatticeClient) -> None:
    image = running.folder / "bytes.wasm"
    image.write_bytes(wasmtime.wat2wasm(INVOKE_BYTES))
    component = {
        "name": "bytes",
        "image": str(image),
        "instances": {"mode": "reuse", "maxInvocations": 1_000_000},
        "limits": {"concurrency": 1000, "queue": 1000},
    }
    await client.apply({"lattice": "v1", "name": "bytes", "components": [component]}, wait=True)


async def _one(client: LatticeClient) -> None:
    job = await client.jobs.submit("bytes", "echo", [PAYLOAD])
    assert await client.jobs.result(job.id) == PAYLOAD, "the outcome is that of the job"


def _serial(client: LatticeClient, running: RunningLattice) -> Case:
    async def ours() -> None:
        await _one(client)

    return Case(
        name=SUBMIT_TO_RESULT,
        what=f"a client submits a durable job of {len(PAYLOAD)} bytes and waits for its outcome",
        ours=ours,
        peer_name="none that does the same",
        unit="ms",
        limit=LIMIT_MS,
        servers=running.pids,
    )


def _many(client: LatticeClient, running: RunningLattice) -> Case:
    async def ours() -> None:
        async def some() -> None:
            for _ in range(MANY // IN_FLIGHT):
                await _one(client)

        async with anyio.create_task_group() as group:
            for _ in range(IN_FLIGHT):
                group.start_soon(some)

    return Case(
        name=THROUGHPUT,
        what=f"a client submits durable jobs and waits for their outcomes, {IN_FLIGHT} at a time",
        ours=ours,
        peer_name="none that does the same",
        unit="op/s",
        operations=MANY,
        warm_up=1,
        repetitions=7,
        servers=running.pids,
    )
