"""`lattice serve --workers N`: the words of each worker's process, and what people are told.

`hosts.supervisor` runs them. A worker is an ordinary `lattice serve` that listens on the port of
all of them and answers with the components as they were when the supervisor read them.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from hosts.handlers import web_assembly
from hosts.http.spreading import IS_BALANCED
from hosts.sharing import PortReservation, require_free
from hosts.siblings import runtime_directory
from hosts.supervision import WORKERS_MAX
from hosts.supervisor import Supervisor
from lattice.cli import exits
from lattice.cli.files import read_component_file
from lattice.cli.foreground import Foreground
from lattice.cli.process import NOTIFY_VARIABLE, tell_ready
from lattice.cli.serving import Entrance, Sight, body_path
from lattice.errors import DeniedError, InvalidError
from lattice.model.ids import Digest

QUARANTINE_FILE = "quarantine.json"
"""Where the supervisor tells its workers, in its directory, what they must not start."""

log = logging.getLogger(__name__)


async def run_serving_workers(
    files: Sequence[Path], entrance: Entrance, sight: Sight, workers: int
) -> int:
    """Answer requests with several processes until a signal comes; return the exit status.

    Raises:
        InvalidError: the components or the certificate cannot be used, or the workers are too many.
        ConflictError: the port is taken.
        DeniedError: a component is quarantined, since it brought workers down again and again.
    """
    if workers > WORKERS_MAX:
        raise InvalidError(f"--workers {workers}: at most {WORKERS_MAX}")
    bodies = [(str(file), read_component_file(file)) for file in files]
    web_assembly(bodies)  # what is wrong with them is told once, and not by each worker
    entrance.load_certificate()
    if entrance.port:
        require_free(entrance.address, entrance.port)
    reservation = PortReservation(entrance.address, entrance.port)
    try:
        with runtime_directory() as directory:
            for number, (_, body) in enumerate(bodies):
                body_path(directory, number).write_bytes(body)
            port = reservation.address[1]
            crew = _Crew(files, entrance, sight, count=workers, port=port, directory=directory)
            return await crew.run()
    finally:
        reservation.close()


@dataclass(slots=True)
class _Crew:
    """The workers, and what is known of them."""

    files: Sequence[Path]
    entrance: Entrance
    sight: Sight
    count: int
    port: int
    directory: Path
    joined: set[int] = field(default_factory=set[int])
    fault: str = ""
    ending: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def run(self) -> int:
        """Run the workers to their end."""
        foreground = Foreground()
        supervisor = Supervisor(
            self.count,
            words=self._words,
            quarantine=self.directory / QUARANTINE_FILE,
            tell=self._tell,
            without=(NOTIFY_VARIABLE,),  # the supervisor tells for all of them
            on_quarantine=self._give_up,
        )

        def at_once() -> None:
            supervisor.kill_all()
            shutil.rmtree(self.directory, ignore_errors=True)

        status = exits.DONE
        with foreground.ends(self.ending, at_once=at_once), self.ending:
            status = await supervisor.run()
        if self.fault:
            raise DeniedError(self.fault)
        return status if foreground.status is None else foreground.status

    def _words(self, number: int, box: int, _after: str) -> Sequence[str]:
        """Return the command line of a worker."""
        return [
            sys.executable, "-m", "lattice", "serve", "--ends-with-parent", "--output=json",
            f"--worker={number}",
            f"--port={self.port}",
            f"--bodies={self.directory}",
            f"--spread={0 if IS_BALANCED else self.count}",
            f"--black-box={box}",
            f"--quarantine={self.directory / QUARANTINE_FILE}",
            *self.entrance.words(),
            *self.sight.words(),
            "--", *map(str, self.files),
        ]  # fmt: skip

    def _tell(self, worker: int, _line: str) -> None:
        """Take note of the line that a worker prints when it answers."""
        if worker in self.joined:
            log.info("worker %d answers again", worker)
            return
        self.joined.add(worker)
        if len(self.joined) == self.count:
            try:
                self.entrance.tell(self.files[0], self.port, workers=self.count)
            except BrokenPipeError:
                log.info("all workers answer, but nobody reads that any more")
            tell_ready()

    def _give_up(self, components: Mapping[Digest, str]) -> None:
        """End: without the quarantined components nothing can be answered."""
        reasons = "; ".join(components.values())
        self.fault = f"{self.files[0]}, or what it is linked to, is not served any more: {reasons}"
        self.ending.cancel()
