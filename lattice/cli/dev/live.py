"""Components that run their sources as they lie on the disk, so that a change needs no build.

Such a component is built once for each set of interfaces and kept for all projects of this user; it
reads the sources from a directory that the host grants it. `lattice build` makes the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from lattice.cli.building import javascript, python
from lattice.cli.building.making import Say, work_folder
from lattice.cli.building.project import Component, Project
from lattice.cli.building.sources import digest_of, sources_of
from lattice.cli.building.wit import gather
from lattice.cli.dev.versions import Versions, copy_modules
from lattice.cli.process import cache_directory

MOUNT = "/lattice-dev"
"""Where guests see the sources of all components."""

TEMPLATES = Path(__file__).parent / "templates"

IMAGES_KEPT = 16
"""Images of this user that are kept: each has 14 to 35 MB."""

KINDS = ("python", "javascript")
"""Kinds of components whose sources can be run without a build."""

_JAVASCRIPT_IMPORTS = ("wasi:filesystem/preopens", "wasi:filesystem/types")


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A component that runs the sources of another one."""

    component: Component
    key: str
    image: Path
    versions: Versions
    is_pinned: bool  # an instance keeps the version that it began with

    @property
    def check(self) -> str:
        """Return the function that says what is wrong with a version."""
        return f"{check_interface(self.key)}#check"


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the surroundings of JavaScript must know of it: it cannot be asked when it runs."""

    imports: tuple[str, ...]
    exports: tuple[str, ...]


def check_interface(key: str) -> str:
    """Return the interface by which a component is asked; two of one program differ in it."""
    return f"lattice:dev/live-{key}@0.1.0"


async def make_live(
    project: Project,
    component: Component,
    folder: Path,
    number: int,
    *,
    is_pinned: bool,
    say: Say,
    known: Live | None = None,
) -> Live:
    """Return the component that runs the sources of another one; it has no version yet.

    It is the `known` one when that still does. `number` tells components of one project apart.
    Versions will lie below `folder`.

    Raises:
        InvalidError: the WIT or, in JavaScript, the sources are wrong.
        NotFoundError: a tool is missing.
    """
    work = work_folder(project, component)
    shape = _Shape((), ())
    if component.kind == "javascript":
        await javascript.prepare(component, say)
        wit = gather(component, work / "wit", version=javascript.WASI_VERSION)
        shape = await _shape_of(component, work)
        tools = javascript.versions(component)
    else:
        wit = gather(component, work / "wit")
        tools = python.versions()
    template = TEMPLATES / f"{component.kind}.tmpl"
    files = [template, *sorted(path for path in wit.folder.rglob("*") if path.is_file())]
    facts = (tools, wit.world, component.kind, python.module_of(component), str(number),
             str(len(component.python_path)), str(is_pinned),
             *shape.imports, "/", *shape.exports)  # fmt: skip
    key = "x" + _digest(files, wit.folder, facts)[:10]
    image = cache_directory() / "live" / f"{key}.wasm"
    if known is not None and known.key == key:
        return replace(known, component=component) if known.component != component else known
    if image.is_file():
        image.touch()
    else:
        say(f"preparing {component.name} for live changes (once for these interfaces)")
        await _build(component, work, image, key, shape, template, is_pinned=is_pinned)
        _forget_old(image.parent)
    versions = Versions(folder / key)
    return Live(component=component, key=key, image=image, versions=versions, is_pinned=is_pinned)


async def write_version(live: Live, project: Project) -> str:
    """Write the sources as they are now as a new version, and return its name.

    Raises:
        InvalidError: the sources are wrong as far as that shows without running them.
    """
    target = live.versions.new()
    component = live.component
    if component.kind == "python":
        folders = (component.folder, *component.python_path)
        await anyio.to_thread.run_sync(copy_modules, folders, target)
    else:
        wit = work_folder(project, component) / "wit"
        await javascript.bundle(component, wit, target / "bundle.js", is_script=True)
    return live.versions.name


def digest_of_sources(component: Component) -> str:
    """Return a digest that changes with the sources, whatever tools there are."""
    return digest_of(sources_of(component))


async def _build(
    component: Component,
    work: Path,
    image: Path,
    key: str,
    shape: _Shape,
    template: Path,
    *,
    is_pinned: bool,
) -> None:
    sources = work / "live"
    sources.mkdir(parents=True, exist_ok=True)
    image.parent.mkdir(parents=True, exist_ok=True)
    unfinished = image.with_suffix(f".{os.getpid()}")
    # Nobody asks what keeps the version that it began with, and a process may export nothing else.
    interface = "" if is_pinned else check_interface(key)
    try:
        if component.kind == "python":
            wit = gather(component, work / "wit-live", live=interface)
            words = _python_words(component, key, is_pinned=is_pinned)
            (sources / "lattice_live.py").write_text(_filled(template, words))
            await python.componentize(component, wit, (sources,), "lattice_live", unfinished)
        else:
            version = javascript.WASI_VERSION
            imports = tuple(f"{name}@{version}" for name in _JAVASCRIPT_IMPORTS)
            wit = gather(
                component, work / "wit-live", version=version, live=interface, imports=imports
            )
            words = _javascript_words(key, shape, is_pinned=is_pinned)
            source = sources / "live.js"
            source.write_text(_filled(template, words))
            await javascript.componentize(component, wit, source, unfinished)
        unfinished.replace(image)
    finally:
        unfinished.unlink(missing_ok=True)


def _forget_old(folder: Path) -> None:
    """Remove the images that were not used for longest, beyond `IMAGES_KEPT`."""
    images = sorted(folder.glob("*.wasm"), key=lambda path: path.stat().st_mtime)
    for image in images[:-IMAGES_KEPT]:
        image.unlink(missing_ok=True)


def _python_words(component: Component, key: str, *, is_pinned: bool) -> dict[str, str]:
    return {
        "root": f"{MOUNT}/{key}",
        "module": python.module_of(component),
        "check": f"Live{key.capitalize()}",
        "folders": str(1 + len(component.python_path)),
        "pinned": str(is_pinned),
    }


def _javascript_words(key: str, shape: _Shape, *, is_pinned: bool) -> dict[str, str]:
    names = list(enumerate(shape.imports))
    check = f"export {{ check as live{key.capitalize()} }};"
    exports = [] if is_pinned else [check]
    exports += [f"export const {name} = {_PROXY.format(name=name)};" for name in shape.exports]
    if "incomingHandler" not in shape.exports:
        exports.append(_LISTENER)
    return {
        "root": f"{MOUNT}/{key}",
        "wasi": javascript.WASI_VERSION,
        "imports": "\n".join(f'import * as m{n} from "{name}";' for n, name in names),
        "modules": ", ".join(f'"{name}": m{n}' for n, name in names),
        "pinned": "true" if is_pinned else "false",
        "exports": "\n".join(exports),
    }


_PROXY = (
    "new Proxy(function () {{}}, {{"
    " get: (_, name) => (...words) => current().{name}[name](...words),"
    " apply: (_, self, words) => current().{name}(...words) }})"
)
"""Stands for an exported function, or an object of functions."""

_LISTENER = """addEventListener("fetch", (event) => {
  current();
  for (const each of listeners) each(event);
});"""


async def _shape_of(component: Component, work: Path) -> _Shape:
    """Return what the sources import of WIT, and what they export."""
    meta = work / "shape.json"
    await javascript.bundle(component, work / "wit", work / "shape.js", is_script=False, meta=meta)
    output = next(iter(json.loads(meta.read_text(encoding="utf-8"))["outputs"].values()))
    imports = {each["path"] for each in output["imports"] if each.get("external")}
    return _Shape(tuple(sorted(imports)), tuple(sorted(output["exports"])))


def _filled(template: Path, words: dict[str, str]) -> str:
    text = template.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], text)


def _digest(files: Sequence[Path], folder: Path, facts: Sequence[str]) -> str:
    """Return a digest in which places of this project do not count."""
    digest = hashlib.sha256("\0".join(facts).encode())
    for path in files:
        name = path.relative_to(folder) if path.is_relative_to(folder) else path.name
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()
