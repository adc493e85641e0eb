"""`lattice host`: one host process that joins a lattice."""

from __future__ import annotations

import faulthandler
import os
import platform
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter, validators

from hosts.supervision import WORKERS_MAX
from lattice.bus.base import Connection
from lattice.bus.connecting import connect, identity_of
from lattice.bus.identity import Identity, load_or_create_identity
from lattice.bus.lock import FileLock, read_note
from lattice.cli import exits
from lattice.cli.duty import NO_DUTY, Duty
from lattice.cli.granting import EVERYTHING, Offer
from lattice.cli.listening import NOWHERE, Listening
from lattice.cli.options import (
    DEFAULT,
    LabelWords,
    Options,
    label_pairs,
    settings_of,
)
from lattice.cli.output import print_json_line
from lattice.cli.process import (
    allow_many_files,
    cache_directory,
    log_failed_requests_only,
    log_to_stderr,
    run_until_stopped,
    state_directory,
    tell_ready,
)
from lattice.cli.tracing import exporting
from lattice.cli.workers import Machine, joined_line, make_identities, run_workers
from lattice.config import Settings
from lattice.errors import ConflictError, DeniedError
from lattice.model.ids import HostId

if TYPE_CHECKING:
    # Loaded only where a host runs: a supervisor needs nothing of it.
    from hosts.agent import HostOptions
    from hosts.engine.base import Engine

STDERR = 2
"""The descriptor of the log."""


async def host_(
    *,
    name: str | None = None,
    label: LabelWords | None = None,
    dir: Annotated[Path | None, Parameter(name="--dir")] = None,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=WORKERS_MAX))] = 1,
    offer: Offer = EVERYTHING,
    listening: Listening = NOWHERE,
    duty: Duty = NO_DUTY,
    options: Options = DEFAULT,
) -> int:
    """Run one host that joins a lattice.

    At the first start the host makes its own key in its directory, and that key is its id; the
    NATS servers must know it (`lattice auth host`). Ctrl-C or SIGTERM finishes the running calls
    and leaves the lattice; a second one ends at once. With --workers it is several hosts, named
    NAME-0, NAME-1 and so on, that share what the machine has; one that dies is started again.

    Parameters
    ----------
    name
        Name for people; the machine's by default.
    label
        Label such as zone=eu; may be repeated.
    dir
        Where the host keeps its key, artifacts and compiled components.
    workers
        How many hosts to run as processes, since one uses one core; they divide --cpu and --memory.
    offer
        What replicas may take and see.
    listening
        Where requests over HTTP are taken; workers share the ports.
    duty
        Given by who started this process.
    """
    log_to_stderr(name if name and duty.black_box is not None else "")
    if not faulthandler.is_enabled():
        faulthandler.enable(STDERR)  # the log shows where Python was when native code aborted
    allow_many_files()
    listening.check()
    if not listening.access_log:
        log_failed_requests_only()
    settings = settings_of(options)
    name = name or platform.node() or "host"
    machine = Machine(
        name=name,
        directory=dir or state_directory(settings.lattice) / "hosts" / _file_name(name),
        labels=label_pairs(label or ()),
        capacity=offer.capacity(),
        workers=workers,
        options=options,
        grants=offer.words(),
    )
    if workers == 1:
        await _run_alone(machine, settings, offer, listening, duty)
        return exits.DONE
    make_identities(machine, settings)
    with _lock(machine.directory), listening.reserved() as words:
        machine = replace(machine, grants=(*machine.grants, *words))
        return await run_workers(machine, ends_with_parent=duty.ends_with_parent)


async def _run_alone(
    machine: Machine, settings: Settings, offer: Offer, listening: Listening, duty: Duty
) -> None:
    from hosts.agent import HostOptions
    from hosts.programs import PROGRAM_BYTES_MAX

    identity = load_or_create_identity(machine.directory)
    settings, host_id = identified(settings, identity)
    host_options = HostOptions(
        host=HostId(host_id),
        directory=machine.directory,
        name=machine.name,
        labels=machine.labels,
        capacity=machine.capacity,
        curve_key=identity.curve_public_key,
        directories=offer.directories(),
        taints=offer.taints(),
        program_bytes_max=min(PROGRAM_BYTES_MAX, machine.capacity.memory_bytes),
        guard=duty.guard(),
        after=duty.after,
    )
    with _lock(machine.directory), exporting(machine.name), _engine() as engine:
        host_options = replace(host_options, http=listening.open())
        work = partial(_run, settings, host_options, engine, as_json=machine.options.is_json)
        await run_until_stopped(work, ends_with_parent=duty.ends_with_parent)


async def _run(
    settings: Settings, host_options: HostOptions, engine: Engine, *, as_json: bool
) -> None:
    from hosts.agent import run_host

    host, name, lattice = host_options.host, host_options.name, settings.lattice
    connecting = connect(settings, name=f"host {name}")
    async with _let_in(connecting, host) as connection, anyio.create_task_group() as group:
        await group.start(partial(run_host, connection, host_options, engine))
        urls = host_options.http.urls
        if as_json:
            print_json_line(
                {"host": host, "name": name, "lattice": lattice, "pid": os.getpid(), "http": urls}
            )
        else:
            print(joined_line(name, host, lattice, urls), flush=True)
        tell_ready()


def identified(settings: Settings, identity: Identity) -> tuple[Settings, str]:
    """Return the settings under which a host connects, and its id: the key that they prove.

    A key or token that a context holds is a person's and not taken for a host; one that a flag,
    a variable or a file names is the host's. Otherwise it is the key in the host's directory.

    Raises:
        InvalidError: the file of the key or token cannot be used.
        DeniedError: others can read the key's file.
    """
    is_own = any(
        origin and not origin.startswith("context ")
        for origin in (settings.origins.get("creds"), settings.origins.get("nkey"))
    )
    if not is_own:
        settings = replace(settings, creds=None, nkey=identity.seed_path)
    return settings, identity_of(settings)


@asynccontextmanager
async def _let_in(
    connecting: AbstractAsyncContextManager[Connection], host_id: str
) -> AsyncIterator[Connection]:
    """Yield the connection; a refusal tells which key the servers must learn."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(connecting)
        except DeniedError as exc:
            raise DeniedError(
                f"{exc.message}; this host's key is {host_id}: let it in with `lattice auth host "
                f"{host_id}`, or with --authorize of `lattice up`",
                **exc.details,
            ) from None
        yield connection


@contextmanager
def _engine() -> Iterator[Engine]:
    """Yield an engine; hosts of one user on one machine share what was compiled."""
    from hosts.engine import create_engine

    engine = create_engine(cache_directory() / "compiled")
    try:
        yield engine
    finally:
        engine.close()


def _lock(directory: Path) -> FileLock:
    path = directory / "host.lock"
    try:
        lock = FileLock(path)
    except BlockingIOError:
        raise ConflictError(
            f"a host (process {read_note(path) or 'unknown'}) already runs in {directory}: "
            "give this one another --name or --dir"
        ) from None
    lock.write_note(str(os.getpid()))
    return lock


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".") or "host"
