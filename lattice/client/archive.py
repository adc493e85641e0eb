"""The file of a backup: a tar archive that anybody can look into, with a digest of each member.

`backup.json` comes first and says what it is, `checksums.json` last, so that a file that was cut
off is noticed. Between them `keys/<key>` and `artifacts/<sha256>`. Members are streamed; nothing
is ever unpacked to a disk. It does not know what the keys mean.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lattice.errors import ConflictError, InvalidError

FORMAT = 1
"""Version of the format; a reader refuses a newer one."""

HEAD, SUMS = "backup.json", "checksums.json"
KEYS, ARTIFACTS = "keys/", "artifacts/"

MEMBER_BYTES_MAX = 1 << 30
"""Bytes of one member: as many as an artifact may have, because it is held in memory."""

MEMBERS_MAX = 1_000_000
"""Members of a backup: far above what a control bucket holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a backup says of itself."""

    format: int = FORMAT
    lattice: str = ""
    release: str = ""
    keys: int = 0
    artifacts: int = 0


class ArchiveWriter:
    """Adds members, one after the other."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._sums: dict[str, str] = {}

    def add(self, name: str, body: bytes) -> None:
        """Append one member; its bytes are on their way to the disk on return."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(body), 0o600
        self._tar.addfile(info, io.BytesIO(body))
        self._sums[name] = hashlib.sha256(body).hexdigest()

    def finish(self) -> None:
        """Append the digests, without which the file is no backup."""
        self.add(SUMS, json.dumps(self._sums, indent=1).encode())


@contextmanager
def writing(path: Path, head: Head) -> Iterator[ArchiveWriter]:
    """Yield a writer; the file stands under its name only when all of it is on the disk.

    Raises:
        ConflictError: there is such a file already.
        InvalidError: it cannot be written.
    """
    if path.exists():
        raise ConflictError(f"{path} is there already: name another file, or remove it")
    partial = path.with_name(f"{path.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w|") as tar:
                writer = ArchiveWriter(tar)
                writer.add(HEAD, json.dumps(asdict(head), indent=1).encode())
                yield writer
                writer.finish()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as exc:
        raise InvalidError(f"cannot write {path}: {exc.strerror or exc}") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def check(path: Path) -> Head:
    """Return what a backup says of itself, once every member has proved whole.

    Raises:
        InvalidError: it is no backup, it is damaged or cut off, or of a newer format.
    """
    head: Head | None = None
    sums: dict[str, str] = {}
    said: Any = None
    for name, body in _members(path):
        if head is None:
            head = _head(path, name, body)
        if name == SUMS:
            said = _json(path, name, body)
        else:
            sums[name] = hashlib.sha256(body).hexdigest()
    if head is None or said is None:
        raise InvalidError(f"{path} ends before its checksums: it was cut off, take another one")
    if said != sums:
        names = sums.keys() | (said.keys() if isinstance(said, dict) else set())
        wrong = sorted(n for n in names if not isinstance(said, dict) or said.get(n) != sums.get(n))
        raise InvalidError(f"{path} is damaged: {', '.join(wrong[:5])} is not what was written")
    return head


def members(path: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield name (without the prefix) and bytes of the members under a prefix.

    `Raises:` as `check`, which comes first.
    """
    for name, body in _members(path):
        if name.startswith(prefix):
            yield name.removeprefix(prefix), body


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, mode="r|") as tar:
            for count, info in enumerate(tar):
                if count >= MEMBERS_MAX or info.size > MEMBER_BYTES_MAX or not info.isfile():
                    raise InvalidError(f"{path} is no backup: member {info.name!r:.80}")
                member = tar.extractfile(info)
                body = member.read() if member is not None else b""
                if len(body) != info.size:
                    raise InvalidError(f"{path} ends within {info.name!r:.80}: it was cut off")
                yield info.name, body
    except (tarfile.TarError, EOFError) as exc:
        raise InvalidError(f"{path} is no backup, or was cut off: {exc}") from None
    except OSError as exc:
        raise InvalidError(f"cannot read {path}: {exc.strerror or exc}") from None


def _head(path: Path, name: str, body: bytes) -> Head:
    if name != HEAD:
        raise InvalidError(f"{path} is no backup: it begins with {name!r:.80}, expected {HEAD}")
    found = _json(path, name, body)
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise InvalidError(f"{path} is no backup: {HEAD} does not tell its format")
    if found["format"] > FORMAT:
        raise InvalidError(
            f"{path} has format {found['format']}, this release reads up to {FORMAT}: restore it "
            "with the release that wrote it"
        )
    return Head(
        format=found["format"],
        lattice=str(found.get("lattice", "")),
        release=str(found.get("release", "")),
    )


def _json(path: Path, name: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise InvalidError(f"{path} is damaged: {name} cannot be read") from None
