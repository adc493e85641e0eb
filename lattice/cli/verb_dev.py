"""`lattice dev`: a project that runs while it is being written.

This module says what is started, in which order, and what ends it; `lattice.cli.dev` has the parts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from lattice.bus.lock import FileLock, read_note
from lattice.cli import exits
from lattice.cli.process import LOG_VARIABLE, allow_many_files, run_until_stopped, state_directory
from lattice.errors import ConflictError

if TYPE_CHECKING:
    from lattice.cli.building.project import Project

PORT = 8080
HTTPS_PORT = 8443
"""Where the project answers when nobody says; the next free ones when these are taken."""

Port = Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65535))]


async def dev_(
    dir: Path = Path(),
    /,
    *,
    port: Port = None,
    https_port: Port = None,
    no_script: Annotated[bool, Parameter(name="--no-script")] = False,
) -> int:
    """Run a project while it is being written.

    Builds the project, runs it in a lattice inside this process, and answers on http and https.
    When a source is saved, what it changes is in service within a second or so, and no request is
    lost; a mistake leaves the version before in service and is shown here, on the status page at
    /.lattice, and in the pages of the project themselves. Logs of guests and requests are shown.
    Ctrl-C ends it all.

    Parameters
    ----------
    dir
        Folder of the project, or a component.
    port
        Port for http on the loopback address; 0 takes a free one, and so does the default when
        8080 is taken.
    https_port
        Port for https, in the same way; 8443 by default.
    no_script
        Leave pages of HTML as they are: without the script that loads them again.
    """
    from lattice.cli.building.project import read_project
    from lattice.cli.dev.running import run_project

    project = read_project(dir)
    allow_many_files()
    _log_quietly()
    directory = _directory_of(project)
    with ExitStack() as stack:
        stack.enter_context(_lock(directory))
        plain = stack.enter_context(_listening("http", port, PORT))
        encrypted = stack.enter_context(_listening("https", https_port, HTTPS_PORT))
        run = partial(run_project, project, directory, plain, encrypted, adds_script=not no_script)
        await run_until_stopped(run)
    return exits.DONE


# --- this machine -----------------------------------------------------------------------------


def _directory_of(project: Project) -> Path:
    """Return where a project's own files of this verb lie: two projects share none."""
    digest = hashlib.sha256(str(project.folder).encode()).hexdigest()[:12]
    return state_directory("dev") / f"{project.name}-{digest}"


def _lock(directory: Path) -> FileLock:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "dev.lock"
    try:
        lock = FileLock(path)
    except BlockingIOError:
        holder = read_note(path) or "unknown"
        raise ConflictError(f"`lattice dev` (process {holder}) already runs this project") from None
    lock.write_note(str(os.getpid()))
    return lock


def _listening(scheme: str, wanted: int | None, usual: int) -> socket.socket:
    """Return a socket that listens: on the wanted port, or on the usual one or a free one.

    Raises:
        ConflictError: somebody has the wanted port.
    """
    from hosts.sharing import listening_on, own_socket
    from lattice.cli.listening import LOOPBACK

    if wanted is not None:
        return listening_on(own_socket(LOOPBACK, wanted))
    for port in (usual, 0):
        try:
            return listening_on(own_socket(LOOPBACK, port))
        except ConflictError:
            if not port:
                raise
            print(f"port {port} is taken: {scheme} gets another one", file=sys.stderr)
    raise AssertionError("port 0 is always free or an error")


def _log_quietly() -> None:
    """Show of our own log what is wrong, or what the variable asks for."""
    level = os.environ.get(LOG_VARIABLE, "error").upper()
    logging.basicConfig(
        stream=sys.stderr,
        level=level if level in logging.getLevelNamesMapping() else logging.ERROR,
        format="%(asctime)s %(levelname)-7s %(name)s %(message)s",
    )
