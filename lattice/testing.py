"""What tests of a lattice need: a broker of their own, connections under each role, waiting.

It starts processes, so the product itself never imports it; and it knows neither hosts nor the
scheduler. Waiting for a fact is allowed here and nowhere else in tests: `eventually` looks again
and again until a deadline, in place of a pause of guessed length.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio

from lattice.bus.base import Connection
from lattice.bus.broker_files import BrokerLimits
from lattice.bus.connecting import connect
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import Identity, load_or_create_identity
from lattice.bus.permissions import Role
from lattice.config import Settings

LATTICE = "test"
"""The name of the lattice that `running_nats` makes."""

WAIT_S = 10.0
"""Seconds that `eventually` waits: far above what anything takes that is tested with it."""

_PAUSE_FIRST_S = 0.001
_PAUSE_MAX_S = 0.05

T = TypeVar("T")


@asynccontextmanager
async def running_nats(
    directory: Path | None = None,
    *,
    lattice: str = LATTICE,
    limits: BrokerLimits | None = None,
    with_stores: bool = True,
) -> AsyncIterator[EmbeddedNats]:
    """Yield a broker that answers, with one user per role; without `directory` it leaves nothing.

    The stores of the lattice are there, unless a test is about their making.
    `Raises:` as entering `EmbeddedNats`.
    """
    with tempfile.TemporaryDirectory(prefix="lattice-nats-") as temporary:
        chosen = directory or Path(temporary) / "nats"
        async with EmbeddedNats(chosen, lattice=lattice, limits=limits) as nats:
            if with_stores:
                async with connect_as(nats, "scheduler"):
                    pass
            yield nats


async def new_host(nats: EmbeddedNats, name: str = "host") -> Identity:
    """Return the identity of a host that may join; the same name gives the same identity."""
    identity = load_or_create_identity(nats.directory / "hosts" / name)
    await nats.authorize("host", identity.id)
    return identity


def settings_for(nats: EmbeddedNats, role: Role, identity: Identity | None = None) -> Settings:
    """Return how a process of a role finds the broker; a host needs its identity."""
    path = identity.seed_path if identity is not None else nats.seed_path(role)
    return Settings(lattice=nats.lattice, servers=(nats.url,), nkey=path)


@asynccontextmanager
async def connect_as(
    nats: EmbeddedNats, role: Role, identity: Identity | None = None
) -> AsyncIterator[Connection]:
    """Yield a connection with a role's least permissions; a host without identity gets one.

    A scheduler creates the stores that are missing.
    `Raises:` as `lattice.bus.connecting.connect`.
    """
    if role == "host" and identity is None:
        identity = await new_host(nats)
    settings = settings_for(nats, role, identity)
    async with connect(
        settings, name=f"test-{role}", creates_stores=role == "scheduler"
    ) as connection:
        yield connection


async def eventually(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = WAIT_S, *, what: str = ""
) -> T:
    """Return the first true value that `condition` gives; it is asked at once and ever more rarely.

    A `LatticeError` or any other exception of the condition ends the wait. `what` names the fact
    in the failure.

    Raises:
        AssertionError: it was not true within `timeout_s`; the last value is shown.
    """
    pause_s = _PAUSE_FIRST_S
    end_s = anyio.current_time() + timeout_s
    while True:
        asked = condition()
        value: T = await asked if inspect.isawaitable(asked) else asked
        if value:
            return value
        left_s = end_s - anyio.current_time()
        if left_s <= 0:
            name = what or getattr(condition, "__qualname__", "the condition")
            raise AssertionError(f"not within {timeout_s:g} s: {name}; last value {value!r}")
        await anyio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)
