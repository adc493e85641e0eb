"""Builds components from JavaScript and TypeScript: bundled by esbuild, made by componentize-js.

Both come by npm, into the project's own `node_modules`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from lattice.cli.building.outcome import failed, require
from lattice.cli.building.project import Component
from lattice.cli.building.toolchain import on_path, run_tool
from lattice.cli.building.wit import Wit
from lattice.errors import InvalidError, NotFoundError

WASI_VERSION = "0.2.10"
"""What componentize-js 0.23 has `fetch` and its events for."""

TOOLS = {"componentize-js": "@bytecodealliance/componentize-js@0.23.0", "esbuild": "esbuild@0.28.2"}
"""Programs, and what npm installs them as."""

_NODE = "install Node.js 20 or later, which brings npm (https://nodejs.org)"
_NAMESPACE = re.compile(r"\b([a-z][a-z0-9-]*):[a-z]")

Say = Callable[[str], None]


def versions(component: Component) -> str:
    """Return what tells builds by different tools apart: the versions that are installed."""
    root = package_folder(component)
    found: list[str] = []
    for name in TOOLS.values():
        package = root / "node_modules" / name.rpartition("@")[0] / "package.json"
        try:
            found.append(str(json.loads(package.read_text(encoding="utf-8"))["version"]))
        except (OSError, ValueError, KeyError):
            found.append("")
    return " ".join(found)


def package_folder(component: Component) -> Path:
    """Return the folder of the package that the sources belong to, else that of the sources."""
    for folder in (component.folder, *component.folder.parents):
        if (folder / "package.json").is_file():
            return folder
    return component.folder


async def prepare(component: Component, say: Say) -> None:
    """Have the tools in the project's `node_modules`, installed at the first time.

    Raises:
        NotFoundError: node, npm or one of the tools is missing; the message says what installs it.
        InvalidError: npm cannot install what package.json names.
    """
    npm = on_path("npm", _NODE)
    on_path("node", _NODE)
    root = package_folder(component)
    if (root / "package.json").is_file() and not (root / "node_modules").is_dir():
        say("npm install (some 400 MB at the first time)")
        words = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
        ran = await run_tool(words, folder=root)
        if ran.status != 0:
            raise InvalidError(f"npm cannot install the packages of {root}", [ran.output.strip()])
    for name, package in TOOLS.items():
        if not (root / "node_modules" / ".bin" / name).is_file():
            raise NotFoundError(
                f"{name} is missing: `npm install --save-dev {package}` in {root}", tool=name
            )


async def build(component: Component, wit: Wit, work: Path, target: Path) -> None:
    """Write the component. `Raises:` as `bundle`."""
    source = work / "bundle.js"
    await bundle(component, wit.folder, source, is_script=False)
    await componentize(component, wit, source, target)


async def bundle(
    component: Component, wit: Path, target: Path, *, is_script: bool, meta: Path | None = None
) -> None:
    """Write all sources as one file: a module, or for `lattice dev` a script with its source map.

    `wit` is the folder that `gather` wrote. What the module imports and exports goes to `meta`.

    Raises:
        InvalidError: the sources are wrong; `faults` has the bundler's errors.
        NotFoundError: esbuild is not installed.
    """
    tool = _tool(component, "esbuild")
    words: list[str | Path] = [tool, component.folder / component.source, "--bundle"]
    # What WIT names is imported by the component, not put into it.
    words += [f"--external:{name}:*" for name in _namespaces(wit)]
    words += ["--platform=browser", "--target=es2022", "--log-level=error", "--charset=utf8"]
    if is_script:
        words += ["--format=cjs", "--sourcemap=external", "--sources-content=false"]
    else:
        words += ["--format=esm"]
    if meta is not None:
        words.append(f"--metafile={meta}")
    ran = await run_tool([*words, f"--outfile={target}"], folder=component.folder)
    if ran.status != 0:
        raise failed(component, ran.output)


async def componentize(component: Component, wit: Wit, source: Path, target: Path) -> None:
    """Make a component of one module. `Raises:` as `bundle`."""
    tool = _tool(component, "componentize-js")
    words = ("--wit", wit.folder, "--world-name", wit.world, "--out", target)
    require(component, await run_tool([tool, source, *words], folder=component.folder))


def _namespaces(wit: Path) -> list[str]:
    texts = (path.read_text(encoding="utf-8") for path in wit.rglob("*.wit"))
    return sorted({name for text in texts for name in _NAMESPACE.findall(text)})


def _tool(component: Component, name: str) -> Path:
    path = package_folder(component) / "node_modules" / ".bin" / name
    if not path.is_file():
        raise NotFoundError(f"{name} is missing: `npm install --save-dev {TOOLS[name]}`", tool=name)
    return path
