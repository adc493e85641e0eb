"""A whole lattice in this process: bus in memory, scheduler, one host. It starts in a moment.

Nothing of it can be reached from outside but the host's HTTP ports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from hosts.agent import HostOptions, run_host
from hosts.engine import create_engine
from hosts.engine.base import Directory
from hosts.http.front import HttpOptions
from lattice.bus.identity import load_or_create_identity
from lattice.bus.memory import memory_connection
from lattice.cli.process import cache_directory
from lattice.client import LatticeClient
from lattice.model.ids import HostId
from scheduler.controller import run_scheduler
from scheduler.profile import DEFAULT

NAME = "dev"


@asynccontextmanager
async def embedded_lattice(
    directory: Path, http: HttpOptions, *, grant: str, sources: Path
) -> AsyncIterator[LatticeClient]:
    """Yield a client of a new lattice whose host keeps its files in a directory.

    `sources` is granted to guests for reading, under the name `grant`. Leaving the context finishes
    the requests at work and ends everything.

    Raises:
        DeniedError: others can read the host's key in the directory.
    """
    connection = memory_connection(NAME)
    identity = load_or_create_identity(directory / "host")
    options = HostOptions(
        host=HostId(identity.id),
        directory=directory / "host",
        name=NAME,
        directories={grant: Directory(sources)},
        http=http,
    )
    engine = create_engine(cache_directory() / "compiled")
    try:
        # The host leaves first, so that the scheduler sees it leave.
        async with anyio.create_task_group() as schedulers, anyio.create_task_group() as hosts:
            run = partial(run_scheduler, connection, identity=NAME, profile=DEFAULT)
            await schedulers.start(run)
            await hosts.start(partial(run_host, connection, options, engine))
            try:
                yield LatticeClient(connection, client_id="dev")
            finally:
                hosts.cancel_scope.cancel()
                schedulers.cancel_scope.cancel()
    finally:
        engine.close()
