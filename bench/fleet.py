"""A fleet on this machine: a cluster of nats-servers, three schedulers, and many hosts.

All in processes of their own on loopback. Hosts are agents with fake replicas, many in a process
(`bench.fleet_hosts`).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import nats
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
from lattice.wire.subjects import Names

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

EVENTS_S = 120.0
"""Longest wait for the events of an adoption to be stored, before the leader counts as idle."""

SAID_S = 2.0
"""Least seconds between two lines about a fleet that is on its way."""

TAIL_BYTES = 2_000
"""What is shown of each scheduler's log when a fleet fails."""


Assigned = dict[tuple[str, str, int], int]
"""Replicas by host, deployment and assignment, which is a new one with each placing."""


class Fleet:
    """A fleet that is up."""

    def __init__(
        self, client: LatticeClient, cluster: Cluster, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.joined_s = self.events_stored_s = 0.0
        self.hosts: list[Process] = []
        self._folder = folder
        self._started = 0
        self._client, self._cluster, self._image = client, cluster, folder / "echo.wasm"
        self._environment = environment
        self.schedulers: list[Process] = []

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the processes that serve the fleet, by name."""
        mine = {f"scheduler-{at}": process.pid for at, process in enumerate(self.schedulers)}
        return {**self._cluster.pids, **mine}

    def cpu_by_kind(self) -> Mapping[str, float]:
        """Return the processor seconds that processes of each kind have used so far."""
        schedulers = [cpu_s(process.pid) for process in self.schedulers]
        return {
            "leader": max(schedulers),
            "standbys": sum(schedulers) - max(schedulers),
            "nats": sum(cpu_s(pid) for pid in self._cluster.pids.values()),
            "hosts": sum(cpu_s(process.pid) for process in self.hosts),
        }

    async def adopted_s(self, replicas: int) -> float:
        """Submit replicas, and return the seconds until the leader knows all of them as running.

        A deployment is asked about until it is whole, one after the other: a question about one of
        10,000 replicas is work for the leader, which is measured here.

        Raises:
            UnavailableError: it takes longer than `ADOPTED_S`; the ends of the schedulers' logs
                are shown.
        """
        began_s = time.perf_counter()
        for at in range(DEPLOYMENTS):
            part = {"name": "echo", "image": str(self._image)}
            document = {"lattice": "v1", "name": f"app-{at}", "components": [part]}
            await self._client.apply(document | {"replicas": replicas // DEPLOYMENTS})
        whole = found = 0
        said_s = began_s
        while time.perf_counter() - began_s < ADOPTED_S:
            found = await self._running(whole)
            if (now_s := time.perf_counter()) - said_s > SAID_S:
                said_s = now_s
                say(f"{now_s - began_s:.0f} s: {whole} of {DEPLOYMENTS} are whole, next {found}")
            if found >= replicas // DEPLOYMENTS:
                whole, found = whole + 1, 0
                if whole == DEPLOYMENTS:
                    return time.perf_counter() - began_s
                continue
            await anyio.sleep(POLL_S)
        message = (
            f"{whole} of {DEPLOYMENTS} deployments are whole after {ADOPTED_S:g} s, of the next "
            f"one {found} of {replicas // DEPLOYMENTS} replicas run\n{self._logs()}"
        )
        raise UnavailableError(message)

    async def idle_percent(self) -> float:
        """Return the processor time of the busiest scheduler, the leader, in percent of a core.

        Idle means that it has stored the events of what it did before, see `events_stored_s`.
        """
        began_s = time.perf_counter()
        await self._events_stored()
        self.events_stored_s = time.perf_counter() - began_s
        say(f"events are stored after {self.events_stored_s:.0f} s; idle for {IDLE_S:g} s")
        before = {process.pid: cpu_s(process.pid) for process in self.schedulers}
        began_s = time.perf_counter()
        await anyio.sleep(IDLE_S)
        elapsed_s = time.perf_counter() - began_s
        return max(100 * (cpu_s(pid) - spent) / elapsed_s for pid, spent in before.items())

    async def moves_by_restarts(self) -> int:
        """Restart the schedulers one after the other; return how many replicas moved by that."""
        before = await self.assigned()
        for at in range(SCHEDULERS):
            say(f"scheduler {at + 1} of {SCHEDULERS} is started anew")
            old = self.schedulers.pop(0)
            old.send_signal(signal.SIGTERM)
            await old.wait()
            await old.aclose()
            await self.start_scheduler()
            await anyio.sleep(SETTLE_S)
        return withdrawn(before, await self.assigned())

    async def start_scheduler(self) -> None:
        """Start one more scheduler and return when it stands for election."""
        words = ["scheduler", "--nats", ",".join(self._cluster.urls), "--lattice", LATTICE]
        with (self._folder / f"scheduler-{self._started}.log").open("wb") as file:
            process = await anyio.open_process(
                [sys.executable, "-m", "lattice", *words, "--copies", str(SERVERS), "-o", "json"],
                stdin=None, stderr=file, env=self._environment,
            )  # fmt: skip
        self._started += 1
        self.schedulers.append(process)
        await first_line(process, "a scheduler")

    def _logs(self) -> str:
        """Return how the logs of the schedulers end."""
        files = sorted(self._folder.glob("scheduler-*.log"))
        ends = ((file.name, file.read_bytes()[-TAIL_BYTES:].decode(errors="replace"))
                for file in files)  # fmt: skip
        return "\n".join(f"--- {name}\n{end}" for name, end in ends)

    async def _events_stored(self) -> None:
        """Return when no event was stored for `SETTLE_S`, or after `EVENTS_S`."""
        name = Names(LATTICE).events_stream
        nc = await nats.connect(servers=list(self._cluster.urls))
        last, quiet_s = -1, time.perf_counter()
        try:
            with anyio.move_on_after(EVENTS_S):
                while time.perf_counter() - quiet_s < SETTLE_S:
                    state = (await nc.jetstream().stream_info(name)).state
                    if state.last_seq != last:
                        last, quiet_s = state.last_seq, time.perf_counter()
                    await anyio.sleep(POLL_S * 4)
        finally:
            await nc.close()

    async def _running(self, at: int) -> int:
        try:
            return (await self._client.status(f"app-{at}")).running
        except LatticeError:
            return 0  # nobody leads at the moment

    async def assigned(self) -> Assigned:
        """Return how many replicas of what each host is assigned, as its document says."""
        counts: Assigned = {}
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
            **os.environ, HOME_VARIABLE: str(folder / "config"), "LATTICE_LOG": "warning"
        }  # fmt: skip
        (folder / "echo.wasm").write_bytes(wasmtime.wat2wasm(ECHO))
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(cluster_up(folder))
            settings = Settings(lattice=LATTICE, servers=cluster.urls)
            client = await stack.enter_async_context(connect(settings))
            fleet = Fleet(client, cluster, folder, environment)
            stack.push_async_callback(_end, fleet)
            for _ in range(SCHEDULERS):
                await fleet.start_scheduler()
            began_s = time.perf_counter()
            shares = [hosts // processes + (at < hosts % processes) for at in range(processes)]
            for at, share in enumerate(shares):
                words = [",".join(cluster.urls), LATTICE, str(sum(shares[:at])), str(share)]
                command = [sys.executable, "-m", "bench.fleet_hosts", *words, str(folder / "hosts")]
                fleet.hosts.append(await stack.enter_async_context(running(command, environment)))
            for child in fleet.hosts:
                await first_line(child, "a process of hosts", JOIN_S)
            fleet.joined_s = time.perf_counter() - began_s
            say(f"{hosts} hosts have joined within {fleet.joined_s:.1f} s")
            yield fleet


def withdrawn(before: Assigned, after: Assigned) -> int:
    """Return how many replicas are not where they were."""
    return sum(max(0, count - after.get(key, 0)) for key, count in before.items())


def say(text: str) -> None:
    """Tell the user how far it is."""
    print(f"  fleet: {text}", file=sys.stderr, flush=True)


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
