"""Where two function types differ first: for the message that refuses to connect them."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.component.shapes import head, parts
from lattice.component.signature import function_type, type_text
from lattice.component.types import Function, ResourceType, WitType, structure


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two types differ, and what stands there on both sides, in WIT."""

    path: str
    wanted: str
    offered: str


def function_difference(wanted: Function, offered: Function) -> Difference:
    """Return the first difference of two functions that differ in more than being async."""
    if [name for name, _ in wanted.params] == [name for name, _ in offered.params]:
        for (name, ours), (_, theirs) in zip(wanted.params, offered.params, strict=True):
            found = _difference(ours, theirs, f"parameter {name}")
            if found is not None:
                return found
        found = _difference(wanted.result, offered.result, "result")
        if found is not None:
            return found
    return Difference("parameters", function_type(wanted), function_type(offered))


def _difference(wanted: WitType | None, offered: WitType | None, path: str) -> Difference | None:
    """Return where two types differ, None when their structures are equal."""
    if wanted is None or offered is None:
        return None if wanted is offered else Difference(path, _text(wanted), _text(offered))
    left, right = structure(wanted), structure(offered)
    ours, theirs = parts(left), parts(right)
    if head(left) != head(right) or [name for name, _ in ours] != [name for name, _ in theirs]:
        return Difference(path, _text(left), _text(right))
    for (name, inner), (_, other) in zip(ours, theirs, strict=True):
        found = _difference(inner, other, f"{path}.{name}")
        if found is not None:
            return found
    return None


def _text(wit: WitType | None) -> str:
    if wit is None:
        return "nothing"
    return head(wit) if isinstance(wit, ResourceType) else type_text(wit)
