"""The examples that answer HTTP, built by `lattice build` as their pages say.

They are built in a copy below `.build/tests`, which keeps what has not changed; the copy shares the
packages of npm with the other tests.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.guests.languages import building

EXAMPLES = Path(__file__).parents[2] / "examples"
GUESTBOOK = EXAMPLES / "guestbook"
COPIES = building.BUILD / "examples"

_PACKAGES = "node_modules"
_KEPT = ("build", _PACKAGES)
"""What the copy has besides the sources."""


def built(*names: str) -> Path:
    """Return the folder of an example, or of one below it, with its components built.

    Raises:
        Unavailable: it is in JavaScript, and node or npm is missing, or cannot install the tools.
    """
    source, folder = EXAMPLES.joinpath(*names), COPIES.joinpath(*names)
    _copy(source, folder)
    for package in source.rglob("package.json"):
        if _PACKAGES not in package.parts:
            link = folder / package.relative_to(source).parent / _PACKAGES
            link.unlink(missing_ok=True)
            link.symlink_to(building.npm_packages())
    building.run(sys.executable, "-m", "lattice", "build", folder)
    return folder


def _copy(source: Path, target: Path) -> None:
    """Make a folder hold what another one does, besides what was built there."""
    for path in sorted(target.rglob("*"), reverse=True) if target.exists() else ():
        inner = path.relative_to(target)
        if not set(inner.parts) & set(_KEPT) and not (source / inner).exists():
            path.rmdir() if path.is_dir() else path.unlink()
    ignored = shutil.ignore_patterns(*_KEPT, "__pycache__")
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
