"""Which files a component is made of, and one digest of all of them.

Decides what is looked at: not what was built, what was installed, or what tools keep for
themselves. Nothing is written here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lattice.cli.building.project import BUILD, FILE, MANIFESTS, Component, Project
from lattice.errors import InvalidError

IGNORED = frozenset({BUILD, "node_modules", "__pycache__", "dist", "target", "zig-out", "venv"})
"""Folders that are never sources; nor are those whose name begins with a dot."""

FILES_MAX = 20_000
"""Files of one component: more of them is a home folder or an installation, not a project."""

ENDINGS = {
    "python": (".py", ".toml"),
    "javascript": (".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx", ".json", ".html", ".css",
                   ".txt", ".svg"),
    "c": (".c", ".h"),
    "zig": (".zig", ".c", ".h"),
}  # fmt: skip
"""What sources of each kind end with; JavaScript's bundler takes in other files too."""


def sources_of(component: Component) -> list[Path]:
    """Return the files that a component is made of, sorted, WIT included.

    Raises:
        InvalidError: there are more than `FILES_MAX`.
    """
    if not component.is_built:
        return [component.image]
    endings = ENDINGS[component.kind]
    found = {
        path
        for folder in (component.folder, *component.python_path)
        for path in files_below(folder)
        if path.name.endswith(endings) and path.name not in (FILE, "package-lock.json")
    }
    if component.wit is not None:
        found.update(wit_files(component.wit))
    return sorted(found)


def wit_files(place: Path) -> list[Path]:
    """Return the WIT files of a file or folder, sorted."""
    if place.is_file():
        return [place]
    return sorted(path for path in files_below(place) if path.suffix in (".wit", ".wasm"))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in no order, but for those in ignored folders.

    Raises:
        InvalidError: there are more than `FILES_MAX`.
    """
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not is_ignored(each)]
        count += len(names)
        if count > FILES_MAX:
            raise InvalidError(
                f"{folder} holds more than {FILES_MAX} files: a project has a folder of its own"
            )
        yield from (Path(place) / name for name in names)


def is_ignored(folder: str) -> bool:
    """Tell whether a folder of this name holds no sources."""
    return folder in IGNORED or folder.startswith(".")


def is_source(project: Project, path: Path) -> bool:
    """Tell whether a change of this path may change what the project is or builds."""
    images = {component.image for component in project.components if not component.is_built}
    if path in images or path.name in (FILE, *MANIFESTS):
        return True
    for component in project.components:
        roots = [component.folder, *component.python_path, *filter(None, [component.wit])]
        for root in roots:
            if not path.is_relative_to(root):
                continue
            inner = path.relative_to(root).parts
            ending = (".wit", *ENDINGS.get(component.kind, ()))
            if path.name.endswith(ending) and not any(is_ignored(each) for each in inner[:-1]):
                return True
    return False


def digest_of(files: Iterable[Path], *more: str) -> str:
    """Return a digest of the files' paths and bytes, and of further texts.

    Raises:
        InvalidError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for text in more:
        digest.update(text.encode() + b"\0")
    for path in files:
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            continue  # an editor is just replacing it
        except OSError as exc:
            raise InvalidError(f"cannot read {path}: {exc.strerror}") from None
        digest.update(f"{path}\0{len(body)}\0".encode() + body)
    return digest.hexdigest()[:32]
