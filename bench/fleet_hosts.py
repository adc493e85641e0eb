"""Many hosts in one process: `python -m bench.fleet_hosts SERVERS LATTICE FIRST COUNT FOLDER`.

Each is the agent of a host with a connection of its own: it joins, adopts its target, reports and
answers control requests as ever. Only what happens in a replica is left out: a start is answered
with "ready" at once. Says a line when all have joined, and ends when its parent does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import uvloop
from anyio.abc import TaskStatus

from hosts.agent import Agent, HostOptions
from hosts.engine.fake import FakeEngine
from hosts.lifecycle import Command, StartReplica, StopReplica
from hosts.lifecycle_events import ReplicaReady, ReplicaStopped
from lattice.bus.connecting import connect
from lattice.clock import SystemClock
from lattice.config import Settings
from lattice.errors import LatticeError
from lattice.model.host import Capacity
from lattice.model.ids import HostId

JOINING_MAX = 4
"""Hosts of one process that connect at once: more only wait for the same processor."""

LOOK_S = 1.0
"""Seconds between two looks whether the parent is there."""

CAPACITY = Capacity(cpu_milli=64_000, memory_bytes=256 << 30, slots=1000)


class FleetAgent(Agent):
    """A host whose replicas are ready as soon as they are to start."""

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartReplica():
                asyncio.get_running_loop().call_soon(
                    self._feed, ReplicaReady(replica=command.replica)
                )
            case StopReplica():
                asyncio.get_running_loop().call_soon(
                    self._feed, ReplicaStopped(replica=command.replica)
                )
            case _:
                super()._carry_out(command)


class _Joining(TaskStatus[str]):
    """Gives the room of a host that joins to the next one, once it has joined."""

    def __init__(self, room: anyio.Semaphore, joined: set[str]) -> None:
        self._room, self._joined, self._is_in = room, joined, True

    def started(self, value: str | None = None) -> None:
        self._joined.add(value or "")
        self.leave()

    def leave(self) -> None:
        if self._is_in:
            self._is_in = False
            self._room.release()


async def run(servers: Sequence[str], lattice: str, first: int, count: int, folder: Path) -> None:
    """Run hosts until the process that started this one has ended, or it is interrupted."""
    parent = os.getppid()
    room, joined = anyio.Semaphore(JOINING_MAX), set[str]()
    async with anyio.create_task_group() as group:
        for number in range(first, first + count):
            group.start_soon(_host, servers, lattice, number, folder, room, joined)
        is_said = False
        while os.getppid() == parent:
            await anyio.sleep(LOOK_S)
            if len(joined) == count and not is_said:
                is_said = True
                print(f"joined {count}", flush=True)
        group.cancel_scope.cancel()


async def _host(
    servers: Sequence[str],
    lattice: str,
    number: int,
    folder: Path,
    room: anyio.Semaphore,
    joined: set[str],
) -> None:
    """Run one host; one that fails is started again, as its supervisor would."""
    name = f"fleet-{number:05d}"
    # Each begins at another server of the cluster; the others are for when it is gone.
    at = number % len(servers)
    settings = Settings(lattice=lattice, servers=(*servers[at:], *servers[:at]))
    options = HostOptions(
        host=HostId(name), directory=folder / name, name=name, capacity=CAPACITY,
        labels={"zone": f"zone-{number % 3}"},
    )  # fmt: skip
    while True:
        await room.acquire()
        status = _Joining(room, joined)
        try:
            async with connect(settings, name=name) as connection:
                agent = FleetAgent(
                    connection, options, FakeEngine({}), anyio.Event(), SystemClock()
                )
                await agent.run(task_status=status)
        except* LatticeError as failures:
            print(f"{name} failed, again: {failures.exceptions[0]}", file=sys.stderr)
        finally:
            status.leave()


if __name__ == "__main__":
    words = sys.argv[1:]
    urls = words[0].split(",")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(urls, words[1], int(words[2]), int(words[3]), Path(words[4])))
