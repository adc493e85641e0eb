"""A whole lattice of several hosts: how long a deployment is away after its host was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import anyio
import wasmtime

from bench.case import Case
from bench.running import lattice_up
from bench.suites.lattice_calls import ECHO
from lattice.client import LatticeClient, connect
from lattice.errors import LatticeError

CASES = ("recovery_after_kill",)

KILLS = 5
HOSTS = KILLS + 2  # one is killed as the first call, and one is left

POLL_S = 0.02

ANSWER_S = 60.0
"""Seconds after which a deployment that has not come back counts as lost."""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the case, if it is wanted, and the lattice whose hosts it kills."""
    async with lattice_up(hosts=HOSTS) as running, connect(running.settings) as client:
        image = running.folder / "echo.wasm"
        image.write_bytes(wasmtime.wat2wasm(ECHO))
        part = {"name": "echo", "image": str(image)}
        await client.apply({"lattice": "v1", "name": "echo", "components": [part]}, wait=True)

        dead: set[str] = set()

        async def recover() -> float:
            name = await _host_of(client, dead)
            dead.add(name)
            os.kill(running.pids[name], signal.SIGKILL)
            started = time.perf_counter()
            with anyio.fail_after(ANSWER_S):
                while True:
                    if await _answers(client):
                        return time.perf_counter() - started
                    await anyio.sleep(POLL_S)

        case = Case(
            name="recovery_after_kill",
            what="from SIGKILL of the only host of a deployment to its next answer elsewhere",
            ours=recover,
            peer_name="none that does the same",
            unit="s",
            is_clocked=True,
            warm_up=0,
            repetitions=KILLS,
            servers={name: running.pids[name] for name in ("nats-server", "scheduler")},
        )
        yield [case] if case.name in wanted else []


async def _answers(client: LatticeClient) -> bool:
    try:
        await client.call("echo", "echo", [7], deadline_s=1)
    except LatticeError:
        return False
    return True


async def _host_of(client: LatticeClient, dead: Collection[str]) -> str:
    """Return the name of the living host that runs the deployment, once the scheduler knows it."""
    with anyio.fail_after(ANSWER_S):
        while True:
            for replica in (await client.replicas("echo")).replicas:
                if replica.state == "running" and replica.host_name not in dead:
                    return replica.host_name
            await anyio.sleep(POLL_S)
