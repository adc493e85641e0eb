"""Builds components from Python, by componentize-py."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from lattice.cli.building.outcome import require
from lattice.cli.building.project import Component
from lattice.cli.building.toolchain import run_tool, script, version_of
from lattice.cli.building.wit import Wit

PACKAGE = "componentize-py"


def versions() -> str:
    """Return what tells builds by different tools apart."""
    return version_of(PACKAGE)


def module_of(component: Component) -> str:
    """Return the name under which the program's first module is imported."""
    return ".".join(PurePosixPath(component.source).with_suffix("").parts)


async def build(component: Component, wit: Wit, target: Path) -> None:
    """Write the component.

    Raises:
        InvalidError: the sources are wrong; `faults` has the traceback's end.
        NotFoundError: componentize-py is not installed.
    """
    folders = (component.folder, *component.python_path)
    await componentize(component, wit, folders, module_of(component), target)


async def componentize(
    component: Component, wit: Wit, folders: tuple[Path, ...], module: str, target: Path
) -> None:
    """Write the component that a module in some folders makes. `Raises:` as `build`."""
    tool = script(PACKAGE, package=PACKAGE, extra="python-guests")
    paths = [word for folder in folders for word in ("--python-path", folder)]
    ran = await run_tool(
        [tool, "--wit-path", wit.folder, "--world", wit.world, "componentize",
         *paths, module, "--output", target],
        folder=component.folder,
        variables={"NO_COLOR": "1", "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"},
        unset=("VIRTUAL_ENV",),  # its packages would get in without being named
    )  # fmt: skip
    require(component, ran)
