"""How a build fails: one error for all toolchains, with what they said as places to go to."""

from __future__ import annotations

from lattice.cli.building.diagnostics import diagnostics
from lattice.cli.building.project import Component
from lattice.cli.building.toolchain import Ran
from lattice.errors import InvalidError


def failed(component: Component, output: str) -> InvalidError:
    """Return the error for what a tool said when it failed."""
    found = diagnostics(output, component.folder)
    return InvalidError(f"{component.name} cannot be built", [str(each) for each in found])


def require(component: Component, ran: Ran) -> None:
    """Pass when a tool succeeded.

    Raises:
        InvalidError: it failed; `faults` has its errors.
    """
    if ran.status != 0:
        raise failed(component, ran.output)
