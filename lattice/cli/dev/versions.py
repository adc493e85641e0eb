"""Versions of a program's sources, for guests that run them as they lie on the disk.

A version is a folder that never changes once it is named. Which one is current stands in a file
beside them, which is replaced as a whole; guests look at it when they are called.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lattice.cli.building.sources import files_below
from lattice.errors import InvalidError

CURRENT = "current"

KEPT = 8
"""Versions that stay: a request that still runs an older one may read of it."""


class Versions:
    """The versions of one component, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; what an earlier run left there is removed."""
        self._folder = folder
        self._number = 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    @property
    def name(self) -> str:
        """Return the name of the newest version, `""` when there is none."""
        return f"v{self._number}" if self._number else ""

    def new(self) -> Path:
        """Return the folder of a new version, which is empty; the oldest ones go."""
        self._number += 1
        made = self._folder / self.name
        made.mkdir()
        shutil.rmtree(self._folder / f"v{self._number - KEPT}", ignore_errors=True)
        return made

    def choose(self, name: str) -> None:
        """Make a version the current one."""
        unfinished = self._folder / f"{CURRENT}.unfinished"
        unfinished.write_text(name, encoding="ascii")
        unfinished.replace(self._folder / CURRENT)


def copy_modules(folders: Sequence[Path], target: Path) -> None:
    """Copy the modules of Python in these folders to `target/0`, `target/1` and so on.

    Raises:
        InvalidError: a folder holds too many files to be a program's, or cannot be read.
    """
    for number, folder in enumerate(folders):
        (target / str(number)).mkdir()
        for path in files_below(folder):
            if path.suffix != ".py":
                continue
            copy = target / str(number) / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, copy)
            except FileNotFoundError:
                continue  # an editor is just replacing it
            except OSError as exc:
                raise InvalidError(f"cannot copy {path}: {os.strerror(exc.errno or 0)}") from None
