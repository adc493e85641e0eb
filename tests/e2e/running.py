"""A running lattice as tests of faults use it: the Python client, real signals, facts to wait for.

Nothing here decides what is right; it only deploys, asks and kills.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lattice.bus.base import Connection
from lattice.bus.connecting import connect as connect_bus
from lattice.client import connect
from lattice.client.session import LatticeClient
from lattice.config import Settings
from lattice.errors import LatticeError
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import Names
from tests.e2e.conftest import Lattice

PATIENCE_S = 60.0
"""Seconds after which a fact that should come counts as missing; machines of tests are busy."""


def settings_of(lattice: Lattice, **fields: Any) -> Settings:
    """Return how the operator reaches a lattice, or whoever holds another key."""
    given = {"nkey": Path(lattice.facts["nkey"])} | fields
    return Settings(lattice=lattice.facts["lattice"], servers=(lattice.facts["nats"],), **given)


@asynccontextmanager
async def client_of(lattice: Lattice) -> AsyncIterator[LatticeClient]:
    async with connect(settings_of(lattice)) as client:
        yield client


def seed_of(lattice: Lattice, role: str) -> Path:
    """Return the key of a role, or of a host by its name."""
    directory = Path(lattice.facts["directory"])
    if role.startswith("host-"):
        return next((directory / "hosts" / role).glob("*.nk"))
    return next((directory / "nats").rglob(f"{role}*.nk"))


@asynccontextmanager
async def connection_as(lattice: Lattice, role: str) -> AsyncIterator[Connection]:
    """Yield the bus and the stores under the permissions of a role or host."""
    settings = settings_of(lattice, nkey=seed_of(lattice, role))
    async with connect_bus(settings, name=f"test-{role}") as connection:
        yield connection


async def deploy(
    client: LatticeClient,
    name: str,
    parts: Mapping[str, bytes],
    *,
    wait: bool = True,
    limits: Mapping[str, Any] | None = None,
    **fields: Any,
) -> int:
    """Apply a deployment and return its generation; parts named `*service` are services."""
    document: dict[str, Any] = {"lattice": "v1", "name": name, "components": [], "services": []}
    for part, body in parts.items():
        entry: dict[str, Any] = {"name": part, "image": await client.connection.artifacts.put(body)}
        if limits:
            entry["limits"] = dict(limits)
        kind = "services" if part.endswith("service") else "components"
        document[kind].append(entry)
    document = {key: value for key, value in document.items() if value} | fields
    [applied] = await client.apply(document, wait=wait, timeout_s=PATIENCE_S)
    return applied.generation


async def places(client: LatticeClient, name: str) -> dict[str, str]:
    """Return the host name of each running replica, by replica id."""
    listed = await client.replicas(name)
    return {r.replica: r.host_name for r in listed.replicas if r.state == "running"}


async def until_placed(client: LatticeClient, name: str, count: int) -> dict[str, str]:
    """Return the places once exactly `count` replicas run and no other is listed."""

    async def settled() -> dict[str, str] | None:
        try:
            listed = await client.replicas(name)
        except LatticeError:
            return None
        running = {r.replica: r.host_name for r in listed.replicas if r.state == "running"}
        return running if len(running) == count == len(listed.replicas) else None

    async def is_settled() -> bool:
        return await settled() is not None

    await eventually(is_settled, timeout_s=PATIENCE_S, what=f"{count} replicas of {name} run")
    found = await settled()
    return found if found is not None else await until_placed(client, name, count)


async def until_leading(client: LatticeClient) -> None:
    """Return when a scheduler leads."""

    async def leads() -> bool:
        try:
            await client.hosts()
        except LatticeError:
            return False
        return True

    await eventually(leads, timeout_s=PATIENCE_S, what="a scheduler leads")


async def until_host(client: LatticeClient, name: str, state: str) -> None:
    """Return when the leader says this of a host; `""` is "it is gone"."""

    async def is_there() -> bool:
        try:
            found = {host.name: host.state for host in await client.hosts()}
        except LatticeError:
            return False
        return found.get(name, "") == state

    await eventually(is_there, timeout_s=PATIENCE_S, what=f"{name} is {state or 'gone'}")


async def answers_itself(client: LatticeClient, host: str, deployment: str) -> bool:
    """Tell whether this very host has a ready replica of an adding deployment."""
    record, _ = await client.record(deployment)
    names = Names(client.connection.lattice)
    subject = names.call_at(host, deployment, record.generation, "test:math/add@0.1.0", "add")
    question = encode(Invocation(op="test:math/add@0.1.0#add", args=[40, 2], deadline_ms=1000))
    try:
        packet = await client.connection.bus.request(subject, question, timeout_s=1)
    except LatticeError:
        return False
    return decode_as(CallReply, packet.body).ok == [42]


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process that the test itself started."""
    os.kill(pid, number)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, or a thread of one whose first thread has ended: it has all that
    the process had, also what listens."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    fields = status.rpartition(")")[2].split()
    state, threads = fields[0], int(fields[17])
    return state != "Z" or threads > 1
