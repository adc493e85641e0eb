"""`lattice serve`: a component on HTTP at once, without a lattice."""

from __future__ import annotations

import faulthandler
import gc
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter, validators

from lattice.cli import exits
from lattice.cli.duty import NO_DUTY, Duty
from lattice.cli.files import read_component_file
from lattice.cli.foreground import Foreground
from lattice.cli.output import print_error
from lattice.cli.process import (
    allow_many_files,
    cache_directory,
    log_failed_requests_only,
    log_to_stderr,
    tell_ready,
    until_parent_ends,
)
from lattice.cli.serving import ALONE, HERE, NOTHING, Entrance, Place, Sight, body_path
from lattice.cli.tracing import exporting
from lattice.errors import InvalidError

if TYPE_CHECKING:
    import socket

    from hosts.engine.base import Engine
    from hosts.guarded import Guard
    from hosts.http.egress import Egress
    from hosts.http.server import HttpServer
    from hosts.http.tls import Certificate
    from hosts.serving import SiteOptions
    from hosts.standalone import Assembly

STDERR = 2
"""The descriptor of the log."""

DRAIN_S = 9.0
"""Seconds that requests at work get to finish at the end: less than those who end processes by
force give (Docker 10 s, a supervisor of workers 12 s, systemd 90 s)."""

TICK_S = 1.0
"""Pace at which a worker tells its supervisor that its event loop turns."""


async def serve_(
    file: Path,
    /,
    *more: Path,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    entrance: Entrance = HERE,
    sight: Sight = NOTHING,
    duty: Duty = NO_DUTY,
    place: Place = ALONE,
) -> int:
    """Answer HTTP requests with a component, without a lattice.

    The component exports wasi:http/incoming-handler. It sees no file, no variable and no network
    but what is named here; what it prints goes to the log, on the standard error output. The
    address is printed when requests can come. Ctrl-C or SIGTERM takes no more connections and
    finishes the requests at work; a second one ends at once. A file that changes meanwhile is not
    taken anew.

    Parameters
    ----------
    file
        The component that takes the requests.
    more
        Others that it needs: imports and exports that fit are joined.
    workers
        How many processes share the port, since one uses one core.
    duty
        Given by who started this process.
    place
        Given by who started this process.
    """
    try:
        entrance.check()
        sight.check()
    except InvalidError as exc:
        print_error(exc, as_json=entrance.output == "json")
        return exits.USAGE
    log_to_stderr("" if place.worker is None else f"worker-{place.worker}")
    if not faulthandler.is_enabled():
        faulthandler.enable(STDERR)  # the log shows where Python was when native code aborted
    allow_many_files()
    if not entrance.access_log:
        log_failed_requests_only()
    files = [file, *more]
    if workers == 1:
        return await _serve_alone(files, entrance, sight, duty, place)
    from lattice.cli.serve_workers import run_serving_workers

    return await run_serving_workers(files, entrance, sight, workers)


async def _serve_alone(
    files: Sequence[Path], entrance: Entrance, sight: Sight, duty: Duty, place: Place
) -> int:
    # The objects of modules come and stay: looking for garbage among them takes a sixth of the time
    # to the first answer. From then on they are left out of the search.
    gc.disable()
    from hosts.engine import create_engine

    foreground = Foreground()
    ending = anyio.CancelScope()
    assembly = _assembly(files, place)
    certificate = entrance.load_certificate()
    with _listening(entrance, duty) as listen, exporting(files[0].stem):
        engine = create_engine(cache_directory() / "compiled")
        service = _Service(
            engine=engine,
            assembly=assembly,
            options=sight.options(files[0].name),
            certificate=certificate,
            guard=duty.guard(),
            listen=listen,
            place=place,
            tell=partial(entrance.tell, files[0]),
        )
        try:
            with foreground.ends(ending):
                await service.run(ending, ends_with_parent=duty.ends_with_parent)
        finally:
            engine.close()
    # A worker that was told to end did what it should.
    return exits.DONE if duty.is_worker else foreground.status or exits.DONE


def _assembly(files: Sequence[Path], place: Place) -> Assembly:
    from hosts.handlers import web_assembly

    # The supervisor's copies: a worker that starts again must be like its siblings.
    kept = [body_path(place.bodies, each) for each in range(len(files))] if place.bodies else files
    return web_assembly(
        [(str(file), read_component_file(source)) for file, source in zip(files, kept, strict=True)]
    )


@contextmanager
def _listening(entrance: Entrance, duty: Duty) -> Iterator[Callable[[], socket.socket]]:
    """Yield what returns the socket when it listens; no other process gets the port meanwhile."""
    from hosts.sharing import listening_on, listening_socket, own_socket

    if duty.is_worker:
        yield lambda: listening_socket((entrance.address, entrance.port))
        return
    with own_socket(entrance.address, entrance.port) as bound:
        yield lambda: listening_on(bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """One process that answers requests."""

    engine: Engine
    assembly: Assembly
    options: SiteOptions
    certificate: Certificate | None
    guard: Guard
    listen: Callable[[], socket.socket]
    place: Place
    tell: Callable[[int], None]  # gets the port when requests can come

    async def run(self, ending: anyio.CancelScope, *, ends_with_parent: bool) -> None:
        """Answer requests until the scope is cancelled; then finish those at work."""
        from hosts.http.server import HttpServer
        from hosts.serving import site_of

        async with self._egress() as egress, anyio.create_task_group() as group:
            if ends_with_parent:
                group.start_soon(self._end_with_parent, ending)
            group.start_soon(self._tick)
            server = None
            with ending:
                site = await site_of(
                    self.engine, self.assembly, self.options, egress=egress, guard=self.guard
                )
                server = HttpServer(site.handler)
                group.start_soon(site.run)
                await self._take_requests(group, server)
            if server is not None:
                await server.drain(DRAIN_S)
            group.cancel_scope.cancel()

    @asynccontextmanager
    async def _egress(self) -> AsyncIterator[Egress | None]:
        """Yield what carries the component's own requests, if it sends any."""
        if not self.assembly.sends_requests:
            yield None
            return
        from hosts.http.egress import Egress

        async with Egress() as egress:
            yield egress

    async def _take_requests(self, group: anyio.abc.TaskGroup, server: HttpServer) -> None:
        """Take connections until cancelled; the server goes on."""
        listening = self.listen()
        port = listening.getsockname()[1]
        spread = self.place.spread
        sockets = [] if spread else [listening]
        plain, encrypted = ([], sockets) if self.certificate else (sockets, [])
        await group.start(partial(server.serve, plain, encrypted, certificate=self.certificate))
        gc.freeze()
        gc.enable()
        self.tell(port)
        tell_ready()
        if not spread:
            await anyio.sleep_forever()
        from hosts.http.spreading import Spreader
        from hosts.siblings import Siblings

        own, directory = self.place.worker, self.place.bodies
        assert own is not None, "a supervisor tells it"
        assert directory is not None, "a supervisor tells it"
        adopt = partial(server.adopt, certificate=self.certificate)
        await Spreader(Siblings(directory, own), adopt, own=own, workers=spread).run(listening)

    async def _end_with_parent(self, ending: anyio.CancelScope) -> None:
        await until_parent_ends()
        ending.cancel()
        if self.place.bodies is not None:  # a supervisor that was killed could not do so
            shutil.rmtree(self.place.bodies, ignore_errors=True)

    async def _tick(self) -> None:
        while True:
            self.guard.black_box.tick()
            await anyio.sleep(TICK_S)
