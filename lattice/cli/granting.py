"""What a host offers of its machine: `--cpu`, `--memory` and `--grant-directory NAME=PATH[:ro]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hosts import inventory
from hosts.engine.base import Directory
from lattice.cli.options import Bytes, CpuMilli
from lattice.errors import InvalidError
from lattice.model.host import Capacity
from lattice.model.ids import name_fault

READ_ONLY = ":ro"


def granted(words: Sequence[str]) -> dict[str, tuple[Path, bool]]:
    """Return by the grant's name the path, and whether it may be written to.

    Raises:
        ValueError: a word is no grant, or two have one name.
    """
    found: dict[str, tuple[Path, bool]] = {}
    for word in words:
        name, equals, path = word.removesuffix(READ_ONLY).partition("=")
        if not (equals and path):
            message = f"{word!r} is no grant, expected NAME=PATH or NAME=PATH{READ_ONLY}"
            raise ValueError(message)
        if fault := name_fault(name):
            raise ValueError(fault)
        if name in found:
            message = f"the directory {name} is granted twice"
            raise ValueError(message)
        found[name] = (Path(path), not word.endswith(READ_ONLY))
    return found


def _check(_: object, words: Sequence[str] | None) -> None:
    granted(words or ())


GrantWords = Annotated[
    list[str],
    Parameter(validator=_check, consume_multiple=False, metavar="NAME=PATH[:ro]"),
]
"""Repeatable `--grant-directory NAME=PATH[:ro]`."""


def grant_options(words: Sequence[str] | None) -> list[str]:
    """Return the options that give another process the same grants."""
    return [f"--grant-directory={word}" for word in words or ()]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the replicas of a host may take and see of this machine."""

    cpu: CpuMilli | None = None
    """Cores that replicas may take, such as 2 or 500m; what was found by default."""

    memory: Bytes | None = None
    """Memory that replicas may take, such as 512Mi; four fifths of what was found by default."""

    grant_directory: GrantWords | None = None
    """Directory that manifests may name under `directories`; may be repeated."""

    def capacity(self) -> Capacity:
        """Return what replicas may take."""
        return inventory.capacity(self.cpu, self.memory)

    def directories(self) -> dict[str, Directory]:
        """Return the directories that are granted, by name.

        Raises:
            InvalidError: a path is no directory.
        """
        found = granted(self.grant_directory or ())
        faults = [f"{path} is no directory" for path, _ in found.values() if not path.is_dir()]
        if faults:
            raise InvalidError("directories cannot be granted", faults)
        return {name: Directory(path.resolve(), w) for name, (path, w) in found.items()}

    def words(self) -> list[str]:
        """Return the options that give another process the same grants."""
        return grant_options(self.grant_directory)


EVERYTHING = Offer()
"""What is offered unless somebody says so: all that was found, and no directory."""
