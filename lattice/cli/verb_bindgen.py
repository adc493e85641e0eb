"""`lattice bindgen`: a typed Python module for what a component exports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lattice.cli.files import read_component_file
from lattice.component.python_stub import python_stub
from lattice.component.reader import callable_exports, read_component
from lattice.component.types import ComponentType
from lattice.errors import InvalidError, NotFoundError


async def bindgen_(
    file: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    world: str = "",
    blocking: bool = False,
) -> None:
    """Write a typed Python module for the functions that a component exports.

    The module has a class for each exported interface, with a method for each function, and
    classes for its types. A class is bound to a client and a deployment; its calls are refused
    when the deployment's function has another type than the module was made for. The same input
    gives the same module.

    Parameters
    ----------
    file
        The component, or its WIT: a file that ends with .wit, or a folder of such files.
    out
        File to write; without it the module goes to the standard output.
    world
        World of the WIT, if there are several.
    blocking
        Write methods that wait instead of coroutines, for `lattice.sync`.
    """
    component = await _component(file, world)
    text = python_stub(callable_exports(component), blocking=blocking)
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidError(f"cannot write {out}: {error.strerror}") from None


async def _component(file: Path, world: str) -> ComponentType:
    if _is_wit(file):
        from lattice.cli.building.interfaces import component_of_wit

        return await component_of_wit(file, world)
    if world:
        raise InvalidError(f"--world is for WIT, and {file} is a component, which has one world")
    return read_component(read_component_file(file))


def _is_wit(file: Path) -> bool:
    if not file.exists():
        raise NotFoundError(f"no such file: {file}")
    return file.is_dir() or file.suffix == ".wit"
