"""A whole lattice for tests: a NATS of its own, and a scheduler and a host in this process.

It starts in about a second, since only NATS is another process. What ends this process ends all of
it, so it is for tests and nothing else; `lattice up` starts one whose parts can be killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from hosts.agent import HostOptions, run_host
from hosts.engine import create_engine
from lattice.bus.connecting import connect
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import load_or_create_identity
from lattice.cli.process import cache_directory
from lattice.client import LatticeClient
from lattice.config import Settings
from lattice.errors import DeadlineExceededError, LatticeError, first_cause
from lattice.model.ids import HostId
from scheduler.controller import run_scheduler
from scheduler.profile import DEFAULT

NAME = "test"
"""What the lattice and its host are called."""

READY_S = 30.0
"""Seconds until the host must have joined: far above what a busy machine takes."""

FIRST_REPORT_S = 0.05
"""Seconds between reports until the scheduler leads, and tells the host its own pace."""

POLL_S = 0.01
"""Seconds between two looks at whether it has: it takes a few hundredths."""


@asynccontextmanager
async def running_lattice(directory: Path) -> AsyncIterator[Settings]:
    """Yield how to reach a new lattice, as who may do everything, once its host has joined.

    All files but compiled code, which is kept for the next time, lie in a directory. Leaving the
    context ends everything.

    Raises:
        UnavailableError: nats-server cannot be started; the end of its log is shown.
        DeadlineExceededError: the host did not join within `READY_S`.
    """
    identity = load_or_create_identity(directory / "host")
    engine = create_engine(cache_directory() / "compiled")
    try:
        async with EmbeddedNats(directory / "nats", lattice=NAME) as nats:
            await nats.authorize("host", identity.id)

            def reaching(nkey: Path) -> Settings:
                return Settings(lattice=NAME, servers=(nats.url,), nkey=nkey)

            operator = reaching(nats.seed_path("operator"))
            options = HostOptions(
                host=HostId(identity.id),
                directory=directory / "host",
                name=NAME,
                heartbeat_s=FIRST_REPORT_S,
            )
            async with (
                connect(
                    reaching(nats.seed_path("scheduler")), name="scheduler", creates_stores=True
                ) as control,
                connect(reaching(identity.seed_path), name="host") as hosting,
                # The host leaves first, so that the scheduler sees it leave.
                anyio.create_task_group() as schedulers,
                anyio.create_task_group() as hosts,
            ):
                run = partial(run_scheduler, control, identity=NAME, profile=DEFAULT)
                await schedulers.start(run)
                await hosts.start(partial(run_host, hosting, options, engine))
                try:
                    await _joined(operator)
                    yield operator
                finally:
                    hosts.cancel_scope.cancel()
                    schedulers.cancel_scope.cancel()
    except* LatticeError as failures:
        raise first_cause(failures) from None
    finally:
        engine.close()


async def _joined(operator: Settings) -> None:
    """Return when the host is ready for work. `Raises:` as `running_lattice`."""
    with anyio.move_on_after(READY_S):
        async with connect(operator, name="operator") as connection:
            client = LatticeClient(connection)
            while True:
                if any(host.state == "ready" for host in await client.hosts()):
                    return
                await anyio.sleep(POLL_S)
    raise DeadlineExceededError(f"the host did not join within {READY_S:g} s")
