"""The types and documentation of WIT text, by way of a component that has nothing else.

`wasm-tools` reads the text; `lattice.component.reader` reads what it makes of it, so that a type
means the same here as in a component that somebody built.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hosts.engine.standard import WASI_VERSION
from lattice.cli.building.diagnostics import diagnostics
from lattice.cli.building.project import Component
from lattice.cli.building.toolchain import run_tool, wasm_tools
from lattice.cli.building.wit import Wit, gather
from lattice.component.docs import with_docs
from lattice.component.reader import read_component
from lattice.component.types import ComponentType
from lattice.errors import InvalidError

OWN_WORLD = "lattice-bindgen"
"""The world of WIT that has interfaces and no world: it exports all of them."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_WORLD = re.compile(r"\bworld\s+%?([a-zA-Z][a-zA-Z0-9-]*)\s*\{")
_INTERFACE = re.compile(r"\binterface\s+(%?[a-zA-Z][a-zA-Z0-9-]*)\s*\{")


async def component_of_wit(path: Path, world: str = "") -> ComponentType:
    """Return what a component of a world imports and exports, with the documentation.

    `path` is a file or a folder of WIT; packages of WASI need not be there. Without `world` it is
    the only one, or if there is none, one that exports every interface.

    Raises:
        InvalidError: the text is no WIT, or has several worlds, or not the one that is named.
        NotFoundError: wasm-tools is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="lattice-bindgen-") as temporary:
        work = Path(temporary)
        try:
            return await _described(path, work / "wit", world, adds_standard=False)
        except InvalidError:  # perhaps it refers to packages that come with the product
            return await _described(path, work / "more", world, adds_standard=True)


async def _described(path: Path, work: Path, world: str, *, adds_standard: bool) -> ComponentType:
    wit = _gathered(path, work / "wit", world, adds_standard=adds_standard)
    core, whole, found = work / "core.wasm", work / "whole.wasm", work / "wit.json"
    for words in (
        ("embed", wit.folder, "--dummy", "--world", wit.world, "--output", core),
        ("new", core, "--output", whole),
        ("wit", "--json", wit.folder, "--output", found),
    ):
        ran = await run_tool([wasm_tools(), "component", *words], folder=work)
        if ran.status != 0:
            raise InvalidError(
                f"{path} cannot be used as WIT", _faults(ran.output, wit.folder, path)
            )
    return with_docs(read_component(whole.read_bytes()), _docs(json.loads(found.read_text())))


def _gathered(path: Path, folder: Path, world: str, *, adds_standard: bool) -> Wit:
    """Write the WIT to a folder, perhaps with packages of WASI, and return the world to look at."""
    files = [path] if path.is_file() else sorted(path.glob("*.wit"))
    try:
        texts = [_COMMENT.sub(" ", file.read_text(encoding="utf-8")) for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"cannot read the WIT in {path}: {error}") from None
    worlds = [name for text in texts for name in _WORLD.findall(text)]
    interfaces = [name for text in texts for name in _INTERFACE.findall(text)]
    if world and world not in worlds:
        raise InvalidError(f"{path} has no world {world!r}: it has {', '.join(worlds) or 'none'}")
    if not world and len(worlds) > 1:
        raise InvalidError(f"{path} has the worlds {', '.join(worlds)}: name one with --world")
    if not worlds and not interfaces:
        raise InvalidError(f"{path} holds no WIT: neither a world nor an interface was found")
    chosen = world or (worlds[0] if worlds else OWN_WORLD)
    component = Component(
        name="bindgen", kind="wasm", folder=path.parent, source="", image=path, wit=path,
        world=chosen,
    )  # fmt: skip
    if adds_standard:
        gather(component, folder, version=WASI_VERSION)
    elif path.is_file():
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
    else:
        shutil.copytree(path, folder)
    if not worlds:
        exports = "".join(f"  export {name};\n" for name in interfaces)
        (folder / f"{OWN_WORLD}.wit").write_text(f"world {OWN_WORLD} {{\n{exports}}}\n")
    return Wit(folder, chosen)


def _faults(output: str, folder: Path, path: Path) -> list[str]:
    """Return what is wrong, with the files as they are called where they came from."""
    plain = output.replace(f"{folder}/", "").replace(str(folder), str(path))
    return [str(each) for each in diagnostics(plain, folder)]


def _docs(found: dict[str, Any]) -> dict[str, object]:
    """Return the documentation in the form of the section that components carry."""
    interfaces = {
        interface["name"]: {
            "docs": _text(interface),
            "funcs": {
                name: _text(function) for name, function in interface.get("functions", {}).items()
            },
        }
        for interface in found.get("interfaces", [])
        if interface.get("name")
    }
    return {"docs": "", "interfaces": interfaces}


def _text(found: dict[str, Any]) -> str:
    contents = (found.get("docs") or {}).get("contents")
    return contents if isinstance(contents, str) else ""
