"""Bytes by digest on this machine: read from disk when they are there, else fetched and kept.

Objects never change, so a file under its digest is valid for ever once its content was checked.
The directory may be deleted while no replica runs. It is bounded by `CACHE_BYTES_MAX`, beyond which
only what is in use is kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import weakref
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from anyio import to_thread

from hosts.once import OncePerKey
from lattice.bus.base import Objects
from lattice.errors import InternalError
from lattice.model.ids import Digest, digest_hex

CACHE_BYTES_MAX = 4 * 1024**3
"""Bytes of artifacts kept on disk: a few hundred large components; the oldest used go first."""

PART_SUFFIX = ".part"
"""Ends the names of files that are being written; they are no artifacts yet."""

PART_AGE_MAX_S = 3600.0
"""A file that is being written for longer than this is left over from a process that was killed."""

log = logging.getLogger(__name__)


class Hold:
    """Keeps the files of some digests on disk for as long as somebody has it."""

    def __init__(self, digests: Iterable[Digest]) -> None:
        self.names = frozenset(map(digest_hex, digests))


class Artifacts:
    """A host's view of the artifact store. One fetch of a digest runs at a time."""

    def __init__(self, objects: Objects, directory: Path) -> None:
        self._objects = objects
        self._directory = directory
        self._fetches = OncePerKey[Digest]()
        self._holds = weakref.WeakSet[Hold]()

    def hold(self, digests: Iterable[Digest]) -> Hold:
        """Return what keeps the digests' files from being removed while the caller has it.

        To be asked for before the files are, so that those that come later push out none of them.
        """
        hold = Hold(digests)
        self._holds.add(hold)
        return hold

    async def get(self, digest: Digest) -> bytes:
        """Return the bytes of an artifact.

        Raises:
            NotFoundError: neither the disk nor the lattice has it.
            ConflictError: what the lattice holds has another digest.
        """
        return await to_thread.run_sync((await self.path(digest)).read_bytes)

    async def path(self, digest: Digest) -> Path:
        """Return a read-only file with the artifact's bytes. `Raises:` as `get`.

        It stays for as long as the digest is held; see `hold`.
        """
        path = self._directory / digest_hex(digest)
        # One at a time, so that ten replicas of one image cost one download.
        async with self._fetches.turn(digest):
            if not await to_thread.run_sync(_is_intact, path, digest):
                body = await self._objects.get(digest)
                held = frozenset[str]().union(*(hold.names for hold in self._holds))
                await to_thread.run_sync(_keep, path, body, held)
        return path


def _is_intact(path: Path, digest: Digest) -> bool:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise InternalError(f"cannot read {path.name} of the artifact cache: {exc}") from exc
    if found == digest_hex(digest):
        os.utime(path)
        return True
    log.warning("artifact %s on disk is damaged, fetching it again", digest)
    return False


def _keep(path: Path, body: bytes, held: Collection[str]) -> None:
    partial = path.with_suffix(f".{os.getpid()}{PART_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_bytes(body)
        partial.chmod(0o400)
        partial.replace(path)
        _evict(path, held)
    except OSError as exc:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InternalError(
            f"cannot write {len(body)} bytes to the artifact cache: {exc}; free some space, or "
            "mend the host's directory"
        ) from exc


def _evict(newest: Path, held: Collection[str]) -> None:
    """Remove files beside `newest`, the oldest used first, until the rest is within the bound."""
    files = _files(newest.parent, until_s=newest.stat().st_mtime)
    excess = sum(size for _, size, _ in files) - CACHE_BYTES_MAX
    for _, size, file in files:
        if excess <= 0:
            return
        if file != newest and file.name not in held:
            file.unlink(missing_ok=True)
            excess -= size


def _files(directory: Path, *, until_s: float) -> list[tuple[float, int, Path]]:
    """Return (time of last use, bytes, path) of the files that may go, the oldest first."""
    found: list[tuple[float, int, Path]] = []
    for file in directory.iterdir():
        try:
            status = file.stat()
        except FileNotFoundError:
            continue  # Another thread finished writing it, or removed it.
        is_written = file.suffix == PART_SUFFIX and until_s - status.st_mtime < PART_AGE_MAX_S
        if not is_written:
            found.append((status.st_mtime, status.st_size, file))
    return sorted(found, key=lambda entry: entry[0])
