"""Joining a real server as a role, for tests that need the connection below the lattice."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from lattice.bus.base import Connection
from lattice.bus.connecting import connect_options
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import Identity
from lattice.bus.jetstream import StoreLimits, ensure_stores, open_connection
from lattice.bus.link import Link
from lattice.bus.linking import connect_link
from lattice.bus.permissions import Role
from lattice.errors import UnavailableError
from lattice.testing import eventually, settings_for
from lattice.wire.subjects import Names

SMALL = StoreLimits(
    control_bytes=8 << 20,
    hosts_bytes=1 << 20,
    events_bytes=8 << 20,
    artifacts_bytes=64 << 20,
    jobs_bytes=8 << 20,
)

_numbers = itertools.count(1)


@asynccontextmanager
async def joined(
    nats: EmbeddedNats, role: Role, identity: Identity | None = None
) -> AsyncIterator[tuple[Link, Connection]]:
    """Yield a role's connection to the server and, whatever its stores are, to the lattice."""
    options = connect_options(settings_for(nats, role, identity), name=f"test-{role}")
    async with connect_link(options) as link:
        yield link, open_connection(link, nats.lattice)


def streams_of(names: Names) -> tuple[str, ...]:
    """Return the streams behind the stores of a lattice."""
    return (
        f"KV_{names.control_bucket}",
        f"KV_{names.hosts_bucket}",
        f"OBJ_{names.artifacts_bucket}",
        names.events_stream,
        names.jobs_stream,
    )


async def empty_stores(nats: EmbeddedNats) -> None:
    """Remove everything that the stores of a lattice hold."""
    async with joined(nats, "scheduler") as (link, _), anyio.create_task_group() as tasks:
        for stream in streams_of(Names(nats.lattice)):
            tasks.start_soon(_order, link, "PURGE", stream)


async def make_stores_again(nats: EmbeddedNats) -> None:
    """Make the stores of a lattice anew, as if they had been lost."""
    names = Names(nats.lattice)
    async with joined(nats, "scheduler") as (link, _):
        for stream in streams_of(names):
            await _order(link, "DELETE", stream)

        async def are_made() -> bool:
            try:
                await ensure_stores(link, names, limits=SMALL)
            except UnavailableError:  # the server has not removed all files yet
                return False
            return True

        await eventually(are_made, what="the stores are made again")


def fresh_token() -> str:
    """Return a token of a subject that no other test uses."""
    return f"t{next(_numbers)}"


async def _order(link: Link, verb: str, stream: str) -> None:
    answer = json.loads((await link.ask(f"$JS.API.STREAM.{verb}.{stream}", timeout_s=5)).body)
    assert answer.get("success"), answer
