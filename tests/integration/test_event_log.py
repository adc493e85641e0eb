"""The event log over a lattice in memory: it makes what stands, whatever ends in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest

from hosts.announcer import Announcer
from hosts.lifecycle import Announce, Command
from lattice.bus.base import Connection, Log, Record
from lattice.bus.memory import memory_connection
from lattice.client.past import read_past, replay
from lattice.client.session import LatticeClient
from lattice.errors import NotFoundError, UnavailableError
from lattice.model.ids import HostId
from lattice.testing import eventually
from lattice.wire.continuity import MISSING
from lattice.wire.past import SNAPSHOT
from scheduler import chronicle
from tests.integration.test_controller import (
    CLOCK,
    EMPTY_COMPONENT,
    LATTICE,
    NAMES,
    FakeHost,
    Lattice,
)


@dataclass
class TellingHost(FakeHost):
    """A host without an engine that tells its events."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.announcer = Announcer(
            self.connection.events, NAMES, host=self.id, boot=self.boot, clock=CLOCK
        )

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.announcer.publish)
            await super().run()

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Announce):
            facts = {"host": self.id, "reason": command.reason}
            self.announcer.announce(command.kind, command.replica or self.id, facts)
        else:
            super()._carry_out(command)


class World(Lattice):
    """A lattice whose hosts tell their events."""

    def host(self, name: str, *, connection: Connection | None = None, **fields: Any) -> FakeHost:
        fields.setdefault("boot", f"boot-{name}")
        host = TellingHost(connection or self.connection, HostId(name), **fields)
        self.hosts[name] = host

        async def run() -> None:
            with anyio.CancelScope() as scope:
                self.scopes[name] = scope
                await host.run()

        self.group.start_soon(run)
        return host

    async def live(self) -> dict[str, list[tuple[object, ...]]]:
        """Return what the scheduler says that stands."""
        client = LatticeClient(self.connection)
        return {
            "deployments": [
                (d.name, d.generation, d.replicas, d.revision, d.paused)
                for d in await client.deployments()
            ],
            "hosts": [(host.id, host.name, host.state) for host in await client.hosts()],
            "replicas": sorted(
                (r.replica, r.deployment, r.generation, r.host, r.state)
                for r in (await client.replicas()).replicas
            ),
        }

    async def told(self, at_s: float | None = None) -> dict[str, list[tuple[object, ...]]]:
        """Return the same by the event log."""
        state = (await read_past(self.connection.events, NAMES, at_s=at_s)).state
        return {
            "deployments": [
                (d.name, d.generation, d.replicas, d.revision, d.paused) for d in state.deployments
            ],
            "hosts": [(host.id, host.name, host.state) for host in state.hosts],
            "replicas": [
                (r.replica, r.deployment, r.generation, r.host, r.state) for r in state.replicas
            ],
        }

    async def is_told(self) -> bool:
        return await self.live() == await self.told()

    async def now_s(self) -> float:
        """Return a moment after all that is in the log now, and before what comes."""
        async with self.connection.events.read() as records:
            times = [record.time_s async for record in records]
        return max(times)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    connection = memory_connection(LATTICE)
    image = await connection.artifacts.put(EMPTY_COMPONENT)
    async with anyio.create_task_group() as group:
        yield World(connection, group, image)
        group.cancel_scope.cancel()


class Mute:
    """The log of a process that dies before its events get there."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.read = log.read
        self.is_away = False

    async def append(
        self, subject: str, body: bytes, *, headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:  # fmt: skip
        if self.is_away:
            raise UnavailableError("no server")
        return await self._log.append(subject, body, headers=headers, dedup_id=dedup_id)


async def test_the_log_makes_what_stands_now_and_what_stood_before() -> None:
    async with world() as lattice:
        await lattice.scheduler()
        for name in ("h1", "h2"):
            lattice.host(name)
        await lattice.api("put", manifest=lattice.manifest(replicas=3))
        await lattice.until("app", "ready")
        await eventually(lattice.is_told)
        before, moment_s = await lattice.live(), await lattice.now_s()
        await lattice.api("put", manifest=lattice.manifest("other"))
        await lattice.until("other", "ready")
        await lattice.api("scale", name="app", replicas=1)
        await lattice.until("app", "ready")
        await lattice.api("pause", name="other")
        await lattice.api("delete", name="app")
        lattice.kill("h2")
        await eventually(lattice.is_told)
        assert await lattice.told(moment_s) == before


async def test_none_is_lost_when_the_leader_dies_between_a_write_and_its_event() -> None:
    async with world() as lattice:
        mute = Mute(lattice.connection.events)
        lattice.scheduler_connection = replace(lattice.connection, events=mute)
        await lattice.scheduler("s1")
        host = lattice.host("h1")
        await lattice.api("put", manifest=lattice.manifest("former", replicas=2))
        await lattice.until("former", "ready")
        await eventually(lattice.is_told)
        mute.is_away = True
        await lattice.api("put", manifest=lattice.manifest(replicas=2))
        await lattice.until("app", "ready")
        await lattice.api("scale", name="former", replicas=1)
        await lattice.until("former", "ready")
        await lattice.api("put", manifest=lattice.manifest("gone"))
        await lattice.until("gone", "ready")
        await lattice.api("delete", name="gone")
        await eventually(lambda: _has(host, 3))
        lattice.kill("s1")
        lattice.scheduler_connection = None
        await lattice.scheduler("s2")
        await lattice.until("app", "ready")
        await eventually(lattice.is_told)
        kinds = [kind for kind, entity in await lattice.events() if entity == "app"]
        assert "deployment-applied" in kinds


async def _has(host: FakeHost, replicas: int) -> bool:
    return len(host.running) == replicas


async def test_one_change_that_two_schedulers_tell_is_read_once_and_without_a_gap() -> None:
    async with world() as lattice:
        await lattice.scheduler("s1")
        await lattice.scheduler("s2")
        lattice.host("h1")
        for number in range(6):
            await lattice.api("put", manifest=lattice.manifest(labels={"v": str(number)}))
        await lattice.until("app", "ready")
        await eventually(lattice.is_told)
        client = LatticeClient(lattice.connection)
        found = [event async for event in client.events()]
        ids = [event.id for event in found]
        assert len(ids) == len(set(ids))
        assert not [event for event in found if event.kind == MISSING]
        assert [event.kind for event in found].count("deployment-applied") == 6


async def test_snapshots_bound_the_replay_of_a_log_that_lost_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chronicle, "SNAPSHOT_S", 0.0)
    monkeypatch.setattr(chronicle, "LOOK_S", 0.05)
    async with world() as lattice:
        await lattice.scheduler()
        lattice.host("h1")
        await lattice.api("put", manifest=lattice.manifest(replicas=3))
        await lattice.until("app", "ready")
        await eventually(lattice.is_told)
        whole = await lattice.told()

        async def is_kept() -> bool:
            shortened = Shortened(lattice.connection.events)
            found = await replay(shortened, NAMES, is_lenient=True)
            return await shortened.start() > 1 and len(found.past.replicas) == 3

        await eventually(is_kept)
        lattice.kill("s1")
        shortened = Shortened(lattice.connection.events)
        async with shortened.read() as records:
            first = await anext(records)
        state = (await read_past(shortened, NAMES)).state
        assert [each.replica for each in state.replicas] == [r[0] for r in whole["replicas"]]
        with pytest.raises(NotFoundError, match="the event log begins at"):
            await read_past(shortened, NAMES, at_s=first.time_s - 1.0)


class Shortened:
    """A log whose records from before the newest snapshot are no longer kept."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.append = log.append

    async def start(self) -> int:
        """Return the position of the first record that is kept: the newest snapshot."""
        async with self._log.read(NAMES.event(SNAPSHOT, "lattice")) as snapshots:
            return max([record.sequence async for record in snapshots], default=1)

    @asynccontextmanager
    async def read(
        self, subject: str = ">", *, after: int = 0, since_s: float | None = None,
        follow: bool = False,
    ) -> AsyncIterator[AsyncIterator[Record]]:  # fmt: skip
        after = max(after, await self.start() - 1)
        async with self._log.read(subject, after=after, since_s=since_s, follow=follow) as records:
            yield records
