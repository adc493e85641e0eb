"""A fleet on this machine: a cluster of nats-servers, three schedulers, and many hosts.

All in processes of their own on loopback. Hosts are agents with fake replicas, many in a process
(`bench.fleet_hosts`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import wasmtime
from anyio.abc import Process

from bench.case import UnavailableError
from bench.cluster import SERVERS, Cluster, cluster_up
from bench.running import first_line, running
from bench.suites.lattice_calls import ECHO
from lattice.client import LatticeClient, connect
from lattice.config import HOME_VARIABLE, Settings
from lattice.errors import LatticeError
from lattice.wire.codec import decode_as
from lattice.wire.messages import Target

LATTICE = "fleet"

SCHEDULERS = 3

DEPLOYMENTS = 10

HOST_PROCESSES = 6
"""Processes of hosts: one would be a single thread for a thousand hosts."""

POLL_S = 0.25

ADOPTED_S = 300.0
"""Seconds after which a fleet that has not adopted everything counts as failed."""

SETTLE_S, IDLE_S = 10.0, 30.0
"""Rest before the idle leader is watched, and for how long it is."""

JOIN_S = 300.0


class Fleet:
    """A fleet that is up."""

    def __init__(
        self, client: LatticeClient, cluster: Cluster, image: Path, environment: Mapping[str, str]
    ) -> None:
        self.joined_s = 0.0
        self._client, self._cluster, self._image = client, cluster, image
        self._environment = environment
        self.schedulers: list[Process] = []

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the processes that serve the fleet, by name."""
        mine = {f"scheduler-{at}": process.pid for at, process in enumerate(self.schedulers)}
        return {**self._cluster.pids, **mine}

    async def adopted_s(self, replicas: int) -> float:
        """Submit replicas, and return the seconds until the leader knows all of them as running.

        Raises:
            UnavailableError: it takes longer than `ADOPTED_S`.
        """
        began_s = time.perf_counter()
        for at in range(DEPLOYMENTS):
            part = {"name": "echo", "image": str(self._image)}
            document = {"lattice": "v1", "name": f"app-{at}", "components": [part]}
            await self._client.apply(document | {"replicas": replicas // DEPLOYMENTS})
        found = 0
        while time.perf_counter() - began_s < ADOPTED_S:
            found = await self._running()
            if found >= replicas // DEPLOYMENTS * DEPLOYMENTS:
                return time.perf_counter() - began_s
            await anyio.sleep(POLL_S)
        message = f"{found} of {replicas} replicas run after {ADOPTED_S:g} s"
        raise UnavailableError(message)

    async def idle_percent(self) -> float:
        """Return the processor time of the busiest scheduler, the leader, in percent of a core."""
        await anyio.sleep(SETTLE_S)
        before = {process.pid: cpu_s(process.pid) for process in self.schedulers}
        began_s = time.perf_counter()
        await anyio.sleep(IDLE_S)
        elapsed_s = time.perf_counter() - began_s
        return max(100 * (cpu_s(pid) - spent) / elapsed_s for pid, spent in before.items())

    async def moves_by_restarts(self) -> int:
        """Restart the schedulers one after the other; return how many replicas moved by that."""
        before = await self._assigned()
        for _ in range(SCHEDULERS):
            old = self.schedulers.pop(0)
            old.send_signal(signal.SIGTERM)
            await old.wait()
            await old.aclose()
            await self.start_scheduler()
            await anyio.sleep(SETTLE_S)
        after = await self._assigned()
        return sum(max(0, before.get(key, 0) - after.get(key, 0)) for key in {*before, *after})

    async def start_scheduler(self) -> None:
        """Start one more scheduler and return when it stands for election."""
        words = ["scheduler", "--nats", ",".join(self._cluster.urls), "--lattice", LATTICE]
        process = await anyio.open_process(
            [sys.executable, "-m", "lattice", *words, "--copies", str(SERVERS), "-o", "json"],
            stdin=None, stderr=subprocess.DEVNULL, env=self._environment,
        )  # fmt: skip
        self.schedulers.append(process)
        await first_line(process, "a scheduler")

    async def _running(self) -> int:
        try:
            found = [await self._client.status(f"app-{at}") for at in range(DEPLOYMENTS)]
        except LatticeError:
            return 0  # nobody leads at the moment
        return sum(status.running for status in found)

    async def _assigned(self) -> dict[tuple[str, str, int], int]:
        """Return how many replicas of what each host is assigned, as its document says."""
        counts: dict[tuple[str, str, int], int] = {}
        store = self._client.connection.control
        for key in await store.keys("target"):
            entry = await store.get(key)
            if entry is None or entry.value is None:
                continue
            target = decode_as(Target, entry.value)
            for item in target.items:
                counts[target.host, item.deployment, item.assignment] = item.count
        return counts


@asynccontextmanager
async def fleet_up(hosts: int, processes: int = HOST_PROCESSES) -> AsyncIterator[Fleet]:
    """Yield a fleet whose hosts have all joined.

    Raises:
        UnavailableError: part of it does not start.
    """
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        environment = {
            **os.environ, HOME_VARIABLE: str(folder / "config"), "LATTICE_LOG": "error"
        }  # fmt: skip
        image = folder / "echo.wasm"
        image.write_bytes(wasmtime.wat2wasm(ECHO))
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(cluster_up(folder))
            settings = Settings(lattice=LATTICE, servers=cluster.urls)
            client = await stack.enter_async_context(connect(settings))
            fleet = Fleet(client, cluster, image, environment)
            stack.push_async_callback(_end, fleet)
            for _ in range(SCHEDULERS):
                await fleet.start_scheduler()
            began_s = time.perf_counter()
            shares = [hosts // processes + (at < hosts % processes) for at in range(processes)]
            children = []
            for at, share in enumerate(shares):
                words = [",".join(cluster.urls), LATTICE, str(sum(shares[:at])), str(share)]
                command = [sys.executable, "-m", "bench.fleet_hosts", *words, str(folder / "hosts")]
                children.append(await stack.enter_async_context(running(command, environment)))
            for child in children:
                await first_line(child, "a process of hosts", JOIN_S)
            fleet.joined_s = time.perf_counter() - began_s
            yield fleet


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used, with all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _end(fleet: Fleet) -> None:
    with anyio.CancelScope(shield=True):
        for process in fleet.schedulers:
            if process.returncode is None:
                process.kill()
            await process.aclose()
