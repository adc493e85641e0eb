"""Runs a project: an embedded lattice, the building of what changes, and the logs.

Starts the parts and joins them; what each does is its own matter.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import anyio

from hosts.http.certificates import LocalCertificate
from hosts.http.front import HttpOptions
from lattice.cli import exits
from lattice.cli.building.project import Project
from lattice.cli.dev.documents import GRANT, kind_names
from lattice.cli.dev.embedded import embedded_lattice
from lattice.cli.dev.places import Places
from lattice.cli.dev.session import Session
from lattice.cli.dev.site import Site
from lattice.cli.dev.state import Line, State
from lattice.cli.dev.terminal import Terminal
from lattice.cli.dev.watching import changes_of
from lattice.cli.process import certificate_directory
from lattice.client import LatticeClient

LINES_VARIABLE = "WASMTIME_BACKTRACE_DETAILS"
"""Has the engine tell lines of the sources in backtraces, where the component has them."""

STOP_S = 2.5
"""Seconds that ending may take; then it is done without further ado."""


async def run_project(
    project: Project,
    directory: Path,
    plain: socket.socket,
    encrypted: socket.socket,
    *,
    adds_script: bool,
) -> None:
    """Run a project until cancelled; its own files go to a directory. The sockets are closed.

    Raises:
        DeniedError: others can read keys that lie in the directory, or the certificates.
    """
    started_s = time.monotonic()
    os.environ.setdefault(LINES_VARIABLE, "1")
    sources = directory / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    terminal = Terminal()
    state = State(name=project.name, kinds=kind_names(project.components), tell=terminal.tell)
    state.on_step = terminal.step
    places = Places(project.folder, sources)
    site = Site(state, places, adds_script=adds_script)
    certificate = LocalCertificate(certificate_directory())
    http = HttpOptions(
        plain=[plain], encrypted=[encrypted], certificate=certificate, is_dev=True,
        around=site.around, on_served=site.on_served,
    )  # fmt: skip
    state.urls = tuple(
        f"{scheme}://localhost:{each.getsockname()[1]}"
        for scheme, each in (("http", plain), ("https", encrypted))
    )
    async with embedded_lattice(directory, http, grant=GRANT, sources=sources) as client:
        session = Session(
            place=project.place, sources=sources, client=client, state=state, places=places
        )
        try:
            async with anyio.create_task_group() as group:
                terminal.write(_banner(state, certificate))
                group.start_soon(_follow_logs, client, state, places)
                group.start_soon(_keep_current, session, project)
                await state.settled()
                if state.version:
                    terminal.step(f"ready, {time.monotonic() - started_s:.1f} s after the start")
        finally:
            state.is_closing = True
            state.changed()
            _end_in_time()


def _banner(state: State, certificate: LocalCertificate) -> str:
    return "\n".join(
        [
            f"{state.name} ({state.kinds}): {'  '.join(state.urls)}",
            f"status page: {state.urls[0]}/.lattice",
            f"https is vouched for by {certificate.authority}: trust it once, if you like",
            "changes are put into service when they are saved; Ctrl-C ends it",
        ]
    )


async def _keep_current(session: Session, project: Project) -> None:
    """Build at the start and after each change; a newer change ends the build of an older one."""
    wanted = ["start"]
    more = anyio.Event()

    async def watch() -> None:
        stop = anyio.Event()
        async for what in changes_of(project.folder, lambda: session.project or project, stop):
            wanted.append(what)
            more.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        while True:
            if not wanted:
                await more.wait()
            more = anyio.Event()
            what = ", ".join(dict.fromkeys(wanted))
            wanted.clear()
            if not await _refreshed(session, what, more):
                wanted.insert(0, what)


async def _refreshed(session: Session, what: str, more: anyio.Event) -> bool:
    """Refresh, and tell whether it came to its end before there was more to do."""
    is_done = False
    async with anyio.create_task_group() as group:

        async def give_way() -> None:
            await more.wait()
            await session.can_give_way()
            group.cancel_scope.cancel()

        group.start_soon(give_way)
        await session.refresh(what)
        is_done = True
        group.cancel_scope.cancel()
    return is_done


async def _follow_logs(client: LatticeClient, state: State, places: Places) -> None:
    """Show what guests write."""
    async for line in client.logs(lines=0, follow=True):
        text = places.line(line.line) if line.deployment else None
        if text is not None:
            state.note(
                Line(time_s=line.time_s, level=line.level, deployment=line.deployment, text=text)
            )


def _end_in_time() -> None:
    """End the process if ending takes too long: a guest that hangs holds nobody up."""
    timer = threading.Timer(STOP_S, os._exit, (exits.DONE,))
    timer.daemon = True
    timer.start()
