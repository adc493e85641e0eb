"""`lattice host --workers N`: the words of each worker's process, and what people are told.

`hosts.supervisor` runs them. A worker is an ordinary `lattice host` with a name, a key and a
directory of its own and its share of the machine; `lattice.cli.duty` has what it must know besides.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hosts.sharing import shares, worker_directory, worker_name
from hosts.supervisor import Supervisor
from lattice.bus.identity import Identity, load_or_create_identity
from lattice.cli.options import Options
from lattice.cli.output import print_json_line
from lattice.cli.process import NOTIFY_VARIABLE, run_until_stopped, tell_ready
from lattice.config import Settings
from lattice.errors import InvalidError
from lattice.model.host import Capacity

log = logging.getLogger(__name__)

QUARANTINE_FILE = "quarantine.json"
"""Where the supervisor tells its workers, in its directory, what they must not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was asked for: one host, or several workers that have this in common."""

    name: str
    directory: Path
    labels: Mapping[str, str]
    capacity: Capacity
    workers: int
    options: Options
    grants: Sequence[str] = ()  # words of their command line: what they offer, where they listen


def make_identities(machine: Machine, settings: Settings) -> list[Identity]:
    """Return the identities of the workers, in their order; those that are missing are made.

    Raises:
        InvalidError: the settings name one key for all of them.
        DeniedError: others can read a key, or it cannot be written.
        InvalidError: a file of a key does not hold one.
    """
    _require_keys_of_their_own(settings)
    numbers = range(machine.workers)
    return [load_or_create_identity(worker_directory(machine.directory, each)) for each in numbers]


async def run_workers(machine: Machine, *, ends_with_parent: bool = False) -> int:
    """Run the workers until a signal comes or all have ended; return the exit status.

    Raises:
        InvalidError: they are too many to share the machine.
    """
    parts = shares(machine.capacity, machine.workers)
    joined: set[int] = set()

    def tell(worker: int, line: str) -> None:
        tell_joined(line, as_json=machine.options.is_json)
        if worker not in joined:
            joined.add(worker)
            if len(joined) == machine.workers:
                tell_ready()

    supervisor = Supervisor(
        machine.workers,
        words=lambda number, box, after: worker_words(machine, parts[number], number, box, after),
        quarantine=machine.directory / QUARANTINE_FILE,
        tell=tell,
        without=(NOTIFY_VARIABLE,),  # the supervisor tells for all of them
    )
    status = 0

    async def work() -> None:
        nonlocal status
        status = await supervisor.run()

    await run_until_stopped(work, ends_with_parent=ends_with_parent, at_once=supervisor.kill_all)
    return status


def worker_words(
    machine: Machine, share: Capacity, number: int, box: int, after: str
) -> Sequence[str]:
    """Return the command line of a worker."""
    given = machine.options.flags() | {
        "config": machine.options.config and str(machine.options.config),
        "context": machine.options.context,
        "after": after,
    }
    return [
        sys.executable, "-m", "lattice", "host", "--ends-with-parent", "--output=json",
        f"--name={worker_name(machine.name, number)}",
        f"--dir={worker_directory(machine.directory, number)}",
        f"--cpu={share.cpu_milli}m",
        f"--memory={share.memory_bytes}",
        f"--black-box={box}",
        f"--quarantine={machine.directory / QUARANTINE_FILE}",
        *(f"--label={key}={value}" for key, value in machine.labels.items()),
        *machine.grants,
        *(f"--{key}={value}" for key, value in given.items() if value),
    ]  # fmt: skip


def _require_keys_of_their_own(settings: Settings) -> None:
    for key in ("creds", "nkey"):
        origin = settings.origins.get(key, "")
        if origin and not origin.startswith("context "):
            raise InvalidError(
                f"{key} ({origin}) names one key, and each worker is a host with a key of its "
                "own: leave it out, each worker makes its key in its part of --dir"
            )


def joined_line(name: str, host: str, lattice: str, urls: Sequence[str]) -> str:
    """Return what people are told of a host that joined."""
    where = f", takes requests at {', '.join(urls)}" if urls else ""
    return f"host {name} ({host}) joined lattice {lattice}{where}"


def tell_joined(line: str, *, as_json: bool) -> None:
    """Show what a worker printed when it had joined, as long as somebody reads it."""
    try:
        facts = json.loads(line)
        urls = facts.get("http", ())
        text = joined_line(facts["name"], facts["host"], facts["lattice"], urls)
        if as_json:
            print_json_line(facts)
        else:
            print(text, flush=True)
    except (ValueError, KeyError, TypeError):
        log.warning("a worker printed %.200r", line)
    except BrokenPipeError:
        log.info("%s, but nobody reads that any more", text)
