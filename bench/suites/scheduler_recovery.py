"""Hosts that die or vanish: until all replicas answer elsewhere, and what keyed calls see."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio
import numpy as np
import wasmtime
from anyio.abc import Process

from bench.case import Case
from bench.running import RunningLattice, lattice_up, running
from bench.suites.lattice_calls import ECHO
from lattice.bus.identity import Identity, load_or_create_identity
from lattice.client import LatticeClient, connect
from lattice.errors import LatticeError
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import Names

CASES = (
    "recover_process_kill",
    "recover_power_loss",
    "recover_process_kill_fast",
    "recover_power_loss_fast",
)

LIMITS_S: Mapping[str, float] = {"kill": 2.5, "loss": 8.0, "kill_fast": 2.5, "loss_fast": 3.0}
"""What the 99th percentile must stay below."""

ROUNDS = 50

SPARES = 2 * ROUNDS + 20
"""Hosts that take the places of those that are killed, in both cases of one profile."""

HOSTS = 3
"""Two have a replica each, one takes over."""

REPLICAS = 2

CALLS = 200
"""Calls of one round at least: ten thousand in fifty rounds."""

CALLERS = 4
CALL_PAUSE_S = 0.005
DEADLINE_S = 15.0
"""Seconds for a call with a key: more than the loss of a host takes."""

POLL_S = 0.01
RECOVERED_S = 60.0
OP = "bench:calls/echo@1.0.0#echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """A host that may join."""

    name: str
    directory: Path
    identity: Identity


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The hosts of one lattice. Another one takes the place of each that is killed: a host that
    comes back again and again is given no replicas for a while."""

    running: RunningLattice
    client: LatticeClient
    stack: AsyncExitStack
    ids: dict[str, str]  # host id -> name
    pids: dict[str, int]
    spares: list[Spare]
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    calls: dict[str, int] = field(default_factory=dict[str, int])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    async def round(self, case: str, number: signal.Signals) -> float:
        """Return the seconds from the signal to the last replica's answer."""
        victim = await self._victim()
        done = anyio.Event()
        took_s = 0.0
        async with anyio.create_task_group() as group:
            for _ in range(CALLERS):
                group.start_soon(self._call, case, done, CALLS // CALLERS)
            began_s = time.perf_counter()
            os.kill(self.pids[self.ids[victim]], number)
            with anyio.fail_after(RECOVERED_S):
                while True:
                    if len(await self._answering(victim)) == REPLICAS:
                        break
                    await anyio.sleep(POLL_S)
            took_s = time.perf_counter() - began_s
            done.set()
        self.seconds.setdefault(case, []).append(took_s)
        await self._replace(victim)
        return took_s

    def figures(self, case: str) -> dict[str, float]:
        """Return the percentiles of the seconds, and how the calls ended."""
        seconds = self.seconds.get(case, [0.0])
        return {
            "p50_s": float(np.percentile(seconds, 50)),
            "p99_s": float(np.percentile(seconds, 99)),
            "worst_s": max(seconds),
            "keyed_calls": float(self.calls.get(case, 0)),
            "keyed_failures": float(len(self.failures.get(case, []))),
        }

    async def _victim(self) -> str:
        """Return a host that runs a replica, once all run and every host is there."""
        with anyio.fail_after(RECOVERED_S):
            while True:
                ready = {host.id for host in await self.client.hosts() if host.state == "ready"}
                found = await self._answering("")
                if ready == self.ids.keys() and len(found) == REPLICAS:
                    return min(found)
                await anyio.sleep(POLL_S)

    async def _answering(self, but: str) -> set[str]:
        """Return the hosts whose own replica answers."""
        found: set[str] = set()

        async def ask(host: str) -> None:
            names = Names(self.client.connection.lattice)
            interface, _, function = OP.partition("#")
            subject = names.call_at(host, "echo", 1, interface, function)
            question = encode(Invocation(op=OP, args=[7], deadline_ms=1000))
            try:
                packet = await self.client.connection.bus.request(subject, question, timeout_s=1)
            except LatticeError:
                return
            if decode_as(CallReply, packet.body).ok == [7]:
                found.add(host)

        async with anyio.create_task_group() as group:
            for host in self.ids:
                if host != but:
                    group.start_soon(ask, host)
        return found

    async def _call(self, case: str, done: anyio.Event, least: int) -> None:
        count = 0
        while count < least or not done.is_set():
            count += 1
            self.calls[case] = self.calls.get(case, 0) + 1
            try:
                await self.client.call("echo", "echo", [7], deadline_s=DEADLINE_S, key=uuid4().hex)
            except LatticeError as exc:
                self.failures.setdefault(case, []).append(f"{exc.kind}: {exc.message}")
                print(f"a call failed: {exc.kind}: {exc.message}", file=sys.stderr)
            await anyio.sleep(CALL_PAUSE_S)

    async def _replace(self, host: str) -> None:
        """Start another host in the place of one, when what is left of that is gone."""
        name = self.ids.pop(host)
        with suppress(ProcessLookupError):
            os.kill(self.pids[name], signal.SIGKILL)
        if (former := self.processes.pop(name, None)) is not None:
            await former.wait()
        with anyio.fail_after(RECOVERED_S):
            while True:
                if _is_gone(self.pids[name]):
                    break
                await anyio.sleep(POLL_S)
        spare = self.spares.pop()
        words = ["host", "--name", spare.name, "--dir", str(spare.directory), "-o", "json"]
        words += ["--nkey", str(spare.identity.seed_path)]
        words += ["--lattice", self.running.settings.lattice]
        words += ["--nats", ",".join(self.running.settings.servers)]
        process = await self.stack.enter_async_context(
            running([sys.executable, "-m", "lattice", *words], self.running.environment)
        )
        self.ids[spare.identity.id] = spare.name
        self.processes[spare.name], self.pids[spare.name] = process, process.pid


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases, and the lattices whose hosts they kill."""
    async with AsyncExitStack() as stack:
        found = []
        for profile, suffix in (("default", ""), ("fast", "_fast")):
            names = [f"recover_process_kill{suffix}", f"recover_power_loss{suffix}"]
            if not wanted or not {*names} & {*wanted}:
                continue
            fleet = await stack.enter_async_context(_fleet(profile))
            kill, loss = names
            found += [
                _case(fleet, kill, "SIGKILL to a host", signal.SIGKILL, LIMITS_S[f"kill{suffix}"]),
                _case(
                    fleet, loss, "a host that stands still and keeps its connection",
                    signal.SIGSTOP, LIMITS_S[f"loss{suffix}"],
                ),
            ]  # fmt: skip
        yield [case for case in found if case.name in wanted]


def _case(fleet: Fleet, name: str, what: str, number: signal.Signals, limit_s: float) -> Case:
    pids = fleet.running.pids
    return Case(
        name=name,
        what=f"from {what} to both replicas of a deployment answering elsewhere",
        ours=partial(fleet.round, name, number),
        peer_name="none that does the same",
        unit="s",
        is_clocked=True,
        warm_up=0,
        repetitions=ROUNDS,
        limit=limit_s,
        figures=partial(fleet.figures, name),
        servers={server: pids[server] for server in ("nats-server", "scheduler")},
    )


@asynccontextmanager
async def _fleet(profile: str) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        spares = [_spare(folder, number) for number in range(SPARES)]
        words = [f"--authorize={spare.identity.id}" for spare in spares]
        lattice = await stack.enter_async_context(lattice_up(HOSTS, "--profile", profile, *words))
        client = await stack.enter_async_context(connect(lattice.settings))
        image = lattice.folder / "echo.wasm"
        image.write_bytes(wasmtime.wat2wasm(ECHO))
        part = {"name": "echo", "image": str(image)}
        document = {"lattice": "v1", "name": "echo", "replicas": REPLICAS, "components": [part]}
        await client.apply(document, wait=True)
        ids = {host.id: host.name for host in await client.hosts()}
        pids = {name: lattice.pids[name] for name in ids.values()}
        yield Fleet(running=lattice, client=client, stack=stack, ids=ids, pids=pids, spares=spares)


def _spare(folder: Path, number: int) -> Spare:
    name = f"spare-{number}"
    identity = load_or_create_identity(folder / name)
    return Spare(name=name, directory=folder / name, identity=identity)


def _is_gone(pid: int) -> bool:
    """Tell whether a process has ended, with all its threads."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return fields[0] == "Z" and int(fields[17]) <= 1
