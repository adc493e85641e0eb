"""Gathers the WIT of a component: its own, or that of what answers HTTP, and all that it refers to.

The interfaces of WASI and of the lattice come with the product, so that nobody has to fetch them;
those that a project brings itself are left alone. What is written lies in a folder of its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hosts.adapters import http, wasi
from hosts.engine.standard import WASI_VERSION
from lattice.cli.building.project import Component
from lattice.cli.building.sources import wit_files
from lattice.errors import InvalidError

OWN = Path(__file__).parent / "wit"
WEB = "web"

LIVE_WORLD = "lattice-dev"
"""The component's world with what `lattice dev` asks of it."""

_RUN = """
interface run {
  run: func() -> result;
}
"""
"""What a process exports, which is not among the interfaces that guests get."""

_VERSION = re.compile(r"(wasi:[a-z-]+(?:/[a-z-]+)?@)(0\.2\.\d+)(?![\w-])")
_WORLD = re.compile(r"\bworld\s+%?([a-z][a-z0-9-]*)\s*\{")
_PACKAGE = re.compile(r"\bpackage\s+([a-z0-9-]+:[a-z0-9-]+)")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wit:
    """A folder for a toolchain, and the world in it that the component is of."""

    folder: Path
    world: str


def gather(
    component: Component,
    folder: Path,
    *,
    version: str = "",
    live: str = "",
    imports: tuple[str, ...] = (),
) -> Wit:
    """Write all WIT of a component into a folder, which is made anew, and return the world.

    With a `version`, every interface of WASI 0.2 is named in that one, which some toolchains are
    bound to; the versions of 0.2 are compatible. With `live` (`lattice:dev/live-...@0.1.0`) the
    world is that of the component with this interface as a further export, and with `imports`.

    Raises:
        InvalidError: the project's WIT has no world, or several and none is chosen.
    """
    shutil.rmtree(folder, ignore_errors=True)
    deps = folder / "deps"
    deps.mkdir(parents=True)
    if component.wit is None:
        world = WEB
        (folder / "web.wit").write_text(_in_version((OWN / "web.wit").read_text(), version))
    else:
        world = component.world or the_world(component)
        _copy(component.wit, folder, version)
    if live or imports:
        lines = [*(f"import {each};" for each in imports), *([f"export {live};"] if live else [])]
        listed = "".join(f"  {line}\n" for line in lines)
        (folder / f"{LIVE_WORLD}.wit").write_text(
            f"world {LIVE_WORLD} {{\n  include {world};\n{listed}}}\n"
        )
        world = LIVE_WORLD
    if live:
        text = (OWN / "live.wit").read_text()
        name = live.partition("/")[2].partition("@")[0]
        (deps / "lattice-dev.wit").write_text(text.replace("interface live", f"interface {name}"))
    _add_standard(folder, deps)
    return Wit(folder, world)


def the_world(component: Component) -> str:
    """Return the only world of a component's WIT.

    Raises:
        InvalidError: there is none, or more than one.
    """
    assert component.wit is not None, "asked of a component that has WIT of its own"
    root = component.wit
    files = [root] if root.is_file() else sorted(root.glob("*.wit"))
    worlds: list[str] = [world for path in files for world in _WORLD.findall(_plain(path))]
    if len(worlds) == 1:
        return worlds[0]
    found = f"the worlds {', '.join(worlds)}: name one of them" if worlds else "no world"
    raise InvalidError(
        f'{root} has {found}; components.{component.name}.world = "..." in lattice.toml says which'
    )


def standard_versions(component: Component) -> set[str]:
    """Return the versions of WASI 0.2 that a component's WIT names."""
    if component.wit is None:
        return set()
    texts = (_plain(path) for path in wit_files(component.wit) if path.suffix == ".wit")
    return {found[1] for text in texts for found in _VERSION.findall(text)}


def _copy(source: Path, folder: Path, version: str) -> None:
    root = source.parent if source.is_file() else source
    for path in wit_files(source):
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".wit":
            target.write_text(_in_version(_text_of(path), version))
        else:
            shutil.copy(path, target)


def _in_version(text: str, version: str) -> str:
    return str(_VERSION.sub(rf"\g<1>{version}", text)) if version else text


def _add_standard(folder: Path, deps: Path) -> None:
    """Add the packages that the WIT here may refer to and does not have, in each version named."""
    texts = [_plain(path) for path in folder.rglob("*.wit")]
    there = {found for text in texts for found in _PACKAGE.findall(text)}
    versions = {found[1] for text in texts for found in _VERSION.findall(text)} or {WASI_VERSION}
    for path in _standard_files():
        text = _text_of(path)
        package = _PACKAGE.findall(text)[0]
        text += _RUN if package == "wasi:cli" else ""
        if package in there:
            continue
        for version in sorted(versions) if WASI_VERSION in text else [""]:
            name = f"{package.replace(':', '-')}{'-' if version else ''}{version}.wit"
            (deps / name).write_text(text.replace(WASI_VERSION, version) if version else text)


def _standard_files() -> Iterator[Path]:
    for module in (http, wasi):
        yield from sorted((Path(str(module.__file__)).parent / "wit" / "deps").glob("*.wit"))
    yield from (
        OWN / f"{name}.wit" for name in ("random", "config", "logging", "streams", "invoke")
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidError(f"{path} is not UTF-8 text: {exc.reason}") from None


def _plain(path: Path) -> str:
    """Return a file's text without its comments."""
    return _COMMENT.sub("", _text_of(path))
