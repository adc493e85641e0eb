"""Saves what a lattice was told to a file, and tells it to a lattice again.

Saved are the deployments with their history, what the leader remembers of them, and the components
and files that they name. Not saved is what belongs to one bucket: who leads, and which host runs
what, which the hosts themselves know. The scheduler writes what is restored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread

from lattice import __version__
from lattice.bus.base import CaughtUp, Connection
from lattice.client.archive import ARTIFACTS, KEYS, Head, check, members, writing
from lattice.client.asking import Asker
from lattice.errors import InvalidError, NotFoundError
from lattice.model.ids import Digest
from lattice.wire.requests import RestoreStep
from lattice.wire.subjects import DESIRED, RESTORE

FAMILIES = (DESIRED, "status", "route", "config", "history")
"""What is saved, in the order of reading: history last, so that it has each generation that a
deployment names."""

STEP_BYTES_MAX = 256 * 1024
"""Bytes of one step of a restore, far below what a message may have."""

STEP_KEYS_MAX = 500
"""Keys of one step."""

STEP_S = 30.0
"""Seconds for the answer to one step."""

Tell = Callable[[str], None]

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a backup holds."""

    deployments: int
    generations: int
    artifacts: int
    bytes: int


async def backup(connection: Connection, path: Path, *, tell: Tell) -> Saved:
    """Write a backup and return what it holds; nothing stands under `path` unless all of it does.

    Raises:
        ConflictError: there is such a file already.
        InvalidError: it cannot be written.
        NotFoundError: a component that a deployment names is not in the lattice any more.
    """
    keys = await _read_keys(connection)
    digests = sorted({Digest(found.decode()) for body in keys.values() for found in
                      _DIGEST.findall(body)})  # fmt: skip
    head = Head(
        lattice=connection.lattice, release=__version__, keys=len(keys), artifacts=len(digests)
    )
    size = 0
    with writing(path, head) as archive:
        for key, body in keys.items():
            archive.add(f"{KEYS}{key}", body)
            size += len(body)
        for number, digest in enumerate(digests, 1):
            tell(f"artifact {number} of {len(digests)}")
            try:
                body = await connection.artifacts.get(digest)
            except NotFoundError:
                if not _is_needed(digest, keys):
                    continue  # of a generation whose artifacts were removed
                raise
            name = f"{ARTIFACTS}{digest.removeprefix('sha256:')}"
            await anyio.to_thread.run_sync(archive.add, name, body)
            size += len(body)
    return _saved(keys, len(digests), size)


async def restore(connection: Connection, path: Path, *, is_replacing: bool, tell: Tell) -> Saved:
    """Tell a lattice what a backup holds, and return that. The file is checked before.

    When it is broken off, what runs goes on and nothing is placed until it was done again.

    Raises:
        InvalidError: the file is no backup, or damaged.
        ConflictError: the lattice is not empty and `is_replacing` is not said, or it has other
            generations under the numbers of the backup.
        NoRouteError: no scheduler answers.
    """
    tell(f"checking {path.name}")
    await anyio.to_thread.run_sync(check, path)
    keys = dict(await anyio.to_thread.run_sync(lambda: tuple(members(path, KEYS))))
    if unknown := sorted(key for key in keys if key.partition(".")[0] not in FAMILIES):
        raise InvalidError(f"{path} holds {unknown[0]}, which no backup has")
    step = partial(_step, Asker(connection))
    await step(RestoreStep(step="begin", is_replacing=is_replacing, floor=_highest(keys)))
    artifacts, size = 0, sum(len(body) for body in keys.values())
    for name, body in members(path, ARTIFACTS):
        artifacts, size = artifacts + 1, size + len(body)
        tell(f"artifact {artifacts}")
        found = await connection.artifacts.put(body)
        if found != f"sha256:{name}":
            raise InvalidError(f"{path} is damaged: artifact {name} is {found}")
    # A deployment names a generation, so its history stands before.
    for family in reversed(FAMILIES):
        tell(f"{family} of deployments")
        for entries in _steps({k: v for k, v in keys.items() if k.startswith(f"{family}.")}):
            await step(RestoreStep(step="put", entries=entries))
    names = [key.partition(".")[2] for key in keys if key.startswith(f"{DESIRED}.")]
    await step(RestoreStep(step="end", deployments=names))
    return _saved(keys, artifacts, size)


async def _step(asker: Asker, question: RestoreStep) -> None:
    await asker.api("restore", question, timeout_s=STEP_S)


async def _read_keys(connection: Connection) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for family in FAMILIES:
        async with connection.control.watch(family) as entries:
            async for entry in entries:
                if isinstance(entry, CaughtUp):
                    break
                if entry.value is not None and entry.key != RESTORE:
                    found[entry.key] = entry.value
    return found


def _steps(entries: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    step: dict[str, bytes] = {}
    size = 0
    for key, body in entries.items():
        if step and (size + len(body) > STEP_BYTES_MAX or len(step) == STEP_KEYS_MAX):
            yield step
            step, size = {}, 0
        step[key] = body
        size += len(key) + len(body)
    if step:
        yield step


def _is_needed(digest: Digest, keys: Mapping[str, bytes]) -> bool:
    """Tell whether a deployment names an artifact now, and not only in its history."""
    return any(
        digest.encode() in body for key, body in keys.items() if key.startswith(f"{DESIRED}.")
    )


def _highest(keys: Iterable[str]) -> int:
    numbers = (key.rpartition(".")[2] for key in keys if key.startswith("history."))
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _saved(keys: Iterable[str], artifacts: int, size: int) -> Saved:
    families = [key.partition(".")[0] for key in keys]
    return Saved(
        deployments=families.count(DESIRED),
        generations=families.count("history"),
        artifacts=artifacts,
        bytes=size,
    )
