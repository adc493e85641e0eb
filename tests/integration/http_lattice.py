"""A host that takes requests over HTTP, over an in-memory lattice."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from hosts.http.front import HttpOptions
from hosts.sharing import listening_on, own_socket
from lattice.testing import eventually
from tests.guests import web_guests
from tests.integration.host_world import World
from tests.integration.http_client import Client

HELLO = b"Hello, world!\n"
ANY = [{"path": "/"}]


def listening() -> socket.socket:
    return listening_on(own_socket("127.0.0.1", 0), backlog=64)


@asynccontextmanager
async def running(world: World, tmp_path: Path, *, is_dev: bool = False) -> AsyncIterator[int]:
    """Run one host and yield the port where it takes requests."""
    plain = listening()
    port: int = plain.getsockname()[1]
    options = HttpOptions(plain=[plain], is_dev=is_dev)
    async with world.scheduler(), world.host("H1", tmp_path / "H1", http=options):
        yield port


async def until_running(world: World, deployment: str, *generations: int) -> None:
    def is_so() -> bool:
        report = world.reports.get("H1")
        found = {
            each.generation: each.state
            for each in (report.replicas if report else ())
            if each.deployment == deployment
        }
        return found == dict.fromkeys(generations, "running")

    await eventually(is_so, timeout_s=30)


async def deploy(world: World, name: str, guest: bytes | None = None, **fields: Any) -> None:
    """Have H1 run one replica, and nothing else."""
    fields.setdefault("http", ANY)
    await world.submit(name, {"guest": guest or web_guests.hello()}, **fields)
    await world.assign("H1", (name, 1, 1))
    await until_running(world, name, 1)


async def status_of(client: Client, target: str = "/", **words: str) -> int:
    return (await client.get(target, **words)).status


async def until_status(client: Client, status: int, target: str = "/", **words: str) -> None:
    async def is_so() -> bool:
        return await status_of(client, target, **words) == status

    with anyio.fail_after(20):
        while not await is_so():
            await anyio.lowlevel.checkpoint()
