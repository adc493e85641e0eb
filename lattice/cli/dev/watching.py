"""Tells which sources of a project changed, in bursts: editors write several files at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import anyio
from watchfiles import Change, awatch

from lattice.cli.building.project import Project
from lattice.cli.building.sources import is_ignored, is_source
from lattice.errors import InvalidError

QUIET_MS = 40
"""Milliseconds without a further change after which a burst is over."""

BURST_MS = 400
"""Milliseconds after which a burst is told even if it goes on."""

LOOK_MS = 500
"""Milliseconds between two looks at whether to stop."""

FOLDERS_MAX = 5_000
"""Folders that are watched: systems give a user some ten thousand watches in all."""

SHOWN = 3
"""Files of a burst that are named."""


async def changes_of(
    folder: Path, project: Callable[[], Project | None], stop: anyio.Event
) -> AsyncIterator[str]:
    """Yield what changed, for people, each time sources of the project changed, until `stop`.

    `project` says what are sources; folders outside of `folder` that it names are watched too.

    Raises:
        InvalidError: there are more than `FOLDERS_MAX` folders.
    """
    while not stop.is_set():
        folders = _folders(folder, project())
        async for burst in awatch(
            *folders,
            watch_filter=lambda change, path: _is_wanted(change, Path(path), project()),
            debounce=BURST_MS,
            step=QUIET_MS,
            rust_timeout=LOOK_MS,
            stop_event=stop,
            recursive=False,
        ):
            yield _told(Path(path) for _, path in burst)
            if set(_folders(folder, project())) != set(folders):
                break  # a folder came that is not watched yet, or one went


def _is_wanted(change: Change, path: Path, project: Project | None) -> bool:
    if change is Change.added and path.is_dir():
        return not is_ignored(path.name)
    return project is None or is_source(project, path)


def _told(paths: Iterable[Path]) -> str:
    names = sorted({path.name for path in paths})
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _folders(folder: Path, project: Project | None) -> list[Path]:
    """Return the folders that may hold sources: what was built or installed is not watched."""
    roots = {folder}
    for component in project.components if project else ():
        roots.update((component.folder, *component.python_path))
        if component.wit is not None:
            roots.add(component.wit)
        if not component.is_built:
            roots.add(component.image.parent)
    found: set[Path] = set()
    for root in roots:
        if root.is_file():
            found.add(root.parent)
        for place, inner, _ in os.walk(root):
            inner[:] = [each for each in inner if not is_ignored(each)]
            found.add(Path(place))
            if len(found) > FOLDERS_MAX:
                raise InvalidError(
                    f"{root} has more than {FOLDERS_MAX} folders: a project has one of its own"
                )
    return sorted(found)
