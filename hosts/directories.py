"""Directories that guests of this host may see: those granted by a name, and scratch of their own.

Deny by default: without a grant of that name, a part that wants one cannot run here. Scratch lies
below the host's own directory and is gone with its replica.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from hosts.engine.base import Directory
from hosts.engine.quota import Quota
from lattice.errors import DeniedError, InternalError
from lattice.model.deployment import Component, Service
from lattice.model.ids import ReplicaId
from lattice.model.mounts import SCRATCH_PATH, Mount

Parts = Iterable[Component | Service]


class Directories:
    """What one host grants, and where its guests have their scratch."""

    def __init__(self, scratch: Path, grants: Mapping[str, Directory] | None = None) -> None:
        """Take the directory of all scratch, which need not exist, and the grants by name."""
        self._scratch = scratch
        self._grants = grants or {}

    def of_replica(self, replica: ReplicaId) -> ReplicaDirectories:
        """Return the directories of a replica; nothing is made yet."""
        return ReplicaDirectories(self._scratch / replica.replace("/", "_"), self._grants)

    async def clear(self) -> None:
        """Remove what an earlier process of this host left behind."""
        await _remove(self._scratch)


class ReplicaDirectories:
    """The directories that the programs of one replica see."""

    def __init__(self, root: Path, grants: Mapping[str, Directory]) -> None:
        self._root = root
        self._grants = grants
        self._wanted: list[Path] = []

    def of_program(self, name: str, parts: Parts) -> dict[str, Directory]:
        """Return by the guest's path what a program of these parts sees.

        Raises:
            DeniedError: a part wants a directory that this host does not grant, or not for
                writing.
        """
        found: dict[str, Directory] = {}
        scratch_bytes = 0
        for part in parts:
            scratch_bytes = max(scratch_bytes, part.scratch_bytes)
            for mount in part.directories:
                found[mount.path] = self._granted(part.name, mount)
        if scratch_bytes:
            path = self._root / name
            self._wanted.append(path)
            found[SCRATCH_PATH] = Directory(
                path, is_writable=True, quota=Quota(path, scratch_bytes)
            )
        return found

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[None]:
        """Have the scratch directories, new and empty, while the block runs.

        Raises:
            InternalError: they cannot be made.
        """
        if not self._wanted:
            yield
            return
        try:
            await to_thread.run_sync(self._make)
        except OSError as error:
            raise InternalError(
                f"scratch cannot be made: {error}; mend the host's directory"
            ) from error
        try:
            yield
        finally:
            await _remove(self._root)

    def _granted(self, part: str, mount: Mount) -> Directory:
        granted = self._grants.get(mount.grant)
        if granted is None:
            known = ", ".join(sorted(self._grants)) or "none"
            raise DeniedError(
                f"{part} wants the directory {mount.grant!r}, granted on this host are {known}; "
                f"start it with --grant-directory {mount.grant}=PATH, or place the replica on a "
                "host that grants it",
                grant=mount.grant,
            )
        if mount.access == "rw" and not granted.is_writable:
            raise DeniedError(
                f"{part} wants to write to the directory {mount.grant!r}, which this host grants "
                "for reading only",
                grant=mount.grant,
            )
        return Directory(granted.path, is_writable=mount.access == "rw")

    def _make(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        for path in self._wanted:
            path.mkdir(parents=True, mode=0o700)


async def _remove(path: Path) -> None:
    # Whoever is cancelled cleans up first. What stays is removed when the host starts again.
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(lambda: shutil.rmtree(path, ignore_errors=True))
