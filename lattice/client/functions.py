"""Which exported function a person means by `search`, `query#search` or `docs:search/query#search`.

A pure choice among what a deployment exposes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from lattice.errors import InvalidError, NotFoundError
from lattice.model.wit import interface_fits, split_operation

SHOWN_MAX = 20
"""Functions that an error lists: more would hide the message itself."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One exposed function; `fingerprint` is that of its type, `""` when unknown."""

    interface: str
    function: str
    fingerprint: str = ""

    def __str__(self) -> str:
        return f"{self.interface}#{self.function}" if self.interface else self.function

    @property
    def op(self) -> str:
        """Return the name in a call's envelope: `<interface>#<function>`, `#<function>`."""
        return f"{self.interface}#{self.function}"


def choose(deployment: str, exposed: Mapping[str, Mapping[str, str]], wanted: str) -> Operation:
    """Return the one exposed function that `wanted` names.

    `wanted` is `ns:pkg/iface[@version]#func`, `iface#func`, or `func` when it is unique.

    Raises:
        NotFoundError: none fits; the functions there are (the nearest name first) are listed.
        InvalidError: more than one fits; they are listed.
    """
    interface, function = split_operation(wanted.strip())
    offered = [
        Operation(name, func, fingerprint)
        for name, functions in sorted(exposed.items())
        for func, fingerprint in functions.items()
    ]
    fitting = [
        operation
        for operation in offered
        if operation.function == function and interface_fits(interface, operation.interface)
    ]
    if len(fitting) > 1:
        raise InvalidError(
            f"{wanted!r} names {len(fitting)} functions of deployment {deployment!r}, "
            "write the interface too",
            tuple(str(operation) for operation in fitting),
        )
    if not fitting:
        raise NotFoundError(
            f"deployment {deployment!r} exposes no function {wanted!r}{_near(wanted, offered)}",
            deployment=deployment,
            function=wanted,
            exposed=[str(operation) for operation in offered],
        )
    return fitting[0]


def _near(wanted: str, offered: list[Operation]) -> str:
    if not offered:
        return ": it exposes none"
    by_name = {str(operation): operation for operation in offered}
    shorts = {operation.function: str(operation) for operation in offered}
    function = wanted.rpartition("#")[2]
    near = difflib.get_close_matches(function, shorts, n=1) + difflib.get_close_matches(
        wanted, by_name, n=1
    )
    first = shorts.get(near[0], near[0]) if near else ""
    ordered = sorted(by_name, key=lambda name: (name != first, name))[:SHOWN_MAX]
    left = len(by_name) - len(ordered)
    return f"; it exposes {', '.join(ordered)}" + (f" and {left} more" if left else "")
