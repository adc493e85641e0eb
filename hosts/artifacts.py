"""Bytes by digest on this machine: read from disk when they are there, else fetched and kept.

Objects never change, so a file under its digest is valid for ever once its content was checked.
The directory may be deleted at any time; it is bounded by `CACHE_BYTES_MAX`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import anyio
from anyio import to_thread

from lattice.bus.base import Objects
from lattice.errors import InternalError
from lattice.model.ids import Digest, digest_hex

CACHE_BYTES_MAX = 4 * 1024**3
"""Bytes of artifacts kept on disk: a few hundred large components; the oldest used go first."""

log = logging.getLogger(__name__)


class Artifacts:
    """A host's view of the artifact store. One fetch of a digest runs at a time."""

    def __init__(self, objects: Objects, directory: Path) -> None:
        self._objects = objects
        self._directory = directory
        self._locks: dict[Digest, anyio.Lock] = {}

    async def get(self, digest: Digest) -> bytes:
        """Return the bytes of an artifact.

        Raises:
            NotFoundError: neither the disk nor the lattice has it.
            ConflictError: what the lattice holds has another digest.
        """
        return await to_thread.run_sync((await self.path(digest)).read_bytes)

    async def path(self, digest: Digest) -> Path:
        """Return a read-only file with the artifact's bytes. `Raises:` as `get`."""
        path = self._directory / digest_hex(digest)
        # One lock a digest, so that ten replicas of one image cost one download.
        async with self._locks.setdefault(digest, anyio.Lock()):
            if not await to_thread.run_sync(_is_intact, path, digest):
                body = await self._objects.get(digest)
                await to_thread.run_sync(_keep, path, body)
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


def _keep(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        partial.write_bytes(body)
        partial.chmod(0o400)
        partial.replace(path)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise InternalError(
            f"cannot write {len(body)} bytes to the artifact cache: {exc}, free some space"
        ) from exc
    _evict(path.parent, keep=path)


def _evict(directory: Path, *, keep: Path) -> None:
    files = sorted(
        ((file.stat().st_mtime, file.stat().st_size, file) for file in directory.iterdir()),
        key=lambda entry: entry[0],
    )
    excess = sum(size for _, size, _ in files) - CACHE_BYTES_MAX
    for _, size, file in files:
        if excess <= 0:
            return
        if file != keep:
            file.unlink(missing_ok=True)
            excess -= size
