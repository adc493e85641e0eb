"""Builds a project's components, each only when what it is made of has changed.

What is built lies in `build/NAME.wasm`, what it was built from is noted beside it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

import anyio
import anyio.to_thread

from lattice.cli.building import javascript, native, python
from lattice.cli.building.project import Component, Project
from lattice.cli.building.sources import digest_of, sources_of
from lattice.cli.building.wit import gather, standard_versions
from lattice.errors import InvalidError

WORK = ".work"
"""Folder below `build` for what lies between sources and component."""

Say = Callable[[str], None]
"""Told of each step, in some words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A component that is ready, and what it took."""

    component: Component
    digest: str  # of all that it was made from
    took_s: float
    is_unchanged: bool  # it was there already


def work_folder(project: Project, component: Component) -> Path:
    """Return where the intermediate files of a component lie; made when it is needed."""
    return project.folder / "build" / WORK / component.name


def digest_of_component(component: Component, *, is_debug: bool) -> str:
    """Return a digest of all that a component is built from: sources, settings and tools."""
    kind = component.kind
    tools = ""
    if kind == "python":
        tools = python.versions()
    elif kind == "javascript":
        tools = javascript.versions(component)
    elif kind in ("c", "zig"):
        tools = native.versions()
    settings = (kind, component.source, component.world, *component.flags)
    return digest_of(sources_of(component), tools, *settings, "debug" if is_debug else "")


async def make(
    project: Project, component: Component, *, say: Say, is_debug: bool = False
) -> Built:
    """Return a component that is up to date with its sources.

    With `is_debug` it is built for `lattice dev`: quickly, and traps tell lines of the sources.
    When it fails or is cancelled, what was built before stays as it was.

    Raises:
        InvalidError: the sources, the WIT or a prebuilt component are wrong; `faults` has what the
            toolchain says.
        NotFoundError: a tool is missing; the message says how to install it.
        DeadlineExceededError: a tool takes too long.
    """
    start_s = monotonic()
    if not component.is_built:
        if not component.image.is_file():
            raise InvalidError(f"no such component: {component.image}")
        return Built(component=component, digest="", took_s=0.0, is_unchanged=True)
    if component.kind == "javascript":
        await javascript.prepare(component, say)
    find_digest = partial(digest_of_component, component, is_debug=is_debug)
    digest = await anyio.to_thread.run_sync(find_digest)
    work = work_folder(project, component)
    note = work / "made-from"
    is_unchanged = component.image.is_file() and _text_of(note) == digest
    if not is_unchanged:
        say(f"building {component.name} ({component.kind})")
        work.mkdir(parents=True, exist_ok=True)
        unfinished = work / f"unfinished-{os.getpid()}.wasm"
        try:
            await _build(component, work, unfinished, is_debug=is_debug)
            unfinished.replace(component.image)
        finally:
            unfinished.unlink(missing_ok=True)
        note.write_text(digest)
    return Built(
        component=component,
        digest=digest,
        took_s=monotonic() - start_s,
        is_unchanged=is_unchanged,
    )


async def _build(component: Component, work: Path, target: Path, *, is_debug: bool) -> None:
    version = javascript.WASI_VERSION if component.kind == "javascript" else ""
    if component.kind in ("c", "zig") and not standard_versions(component):
        version = native.WEB_VERSION
    wit = gather(component, work / "wit", version=version)
    if component.kind == "python":
        await python.build(component, wit, target)
    elif component.kind == "javascript":
        await javascript.build(component, wit, work, target)
    else:
        await native.build(component, wit, work, target, is_debug=is_debug)


def clean(project: Project) -> None:
    """Remove what lies between sources and components, so that the next build makes all anew."""
    shutil.rmtree(project.folder / "build" / WORK, ignore_errors=True)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
