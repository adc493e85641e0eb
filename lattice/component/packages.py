"""The interfaces that a component names, each once, with all that the component knows of it.

An interface may be imported and exported, or occur only as the home of a type; WIT text needs
each in one piece, and every type of another interface under a local name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lattice.component.shapes import parts
from lattice.component.types import (
    ComponentType,
    Function,
    NamedType,
    ResourceType,
    WitType,
)


@dataclass(slots=True)
class Body:
    """An interface put together; `local` renames types of other interfaces."""

    name: str
    docs: str = ""
    types: dict[str, WitType] = field(default_factory=dict[str, "WitType"])
    functions: dict[str, Function] = field(default_factory=dict[str, Function])
    local: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])


def collect(component: ComponentType) -> dict[str, Body]:
    """Return every interface by its name, `""` for the root."""
    bodies: dict[str, Body] = {}
    for interface in (*component.imports.values(), *component.exports.values()):
        body = bodies.setdefault(interface.name, Body(interface.name))
        body.docs = body.docs or interface.docs
        for name, wit in interface.types.items():
            body.types.setdefault(name, wit)
        for name, function in interface.functions.items():
            body.functions.setdefault(name, function)
    pending = list(bodies.values())
    while pending:
        pending += _complete(pending.pop(), bodies)
    return bodies


def _complete(body: Body, bodies: dict[str, Body]) -> list[Body]:
    """Give a body all types that it refers to; returns bodies that got types by it."""
    for name, wit in body.types.items():
        if isinstance(wit, NamedType | ResourceType):
            body.local.setdefault((wit.interface, wit.name), name)
    grown: list[Body] = []
    for wit in _references(body):
        key = (wit.interface, wit.name)
        if key not in body.local:
            local = wit.name
            while local in body.types:
                local += "-x"
            body.types[local] = wit
            body.local[key] = local
        home = bodies.get(wit.interface)
        if home is None:
            home = bodies[wit.interface] = Body(wit.interface)
        if wit.name not in home.types:
            home.types[wit.name] = wit
            grown.append(home)
    return grown


def _references(body: Body) -> list[NamedType | ResourceType]:
    """Return the named types that the body's own types and functions are made of, inner first."""
    found: dict[tuple[str, str], NamedType | ResourceType] = {}
    seen: set[int] = set()

    def visit(wit: WitType) -> None:
        if id(wit) in seen:
            return
        seen.add(id(wit))
        if isinstance(wit, NamedType | ResourceType) and wit.interface != body.name:
            found.setdefault((wit.interface, wit.name), wit)
            return
        for _, part in parts(wit):
            if part is not None:
                visit(part)
        if isinstance(wit, NamedType | ResourceType):
            found.setdefault((wit.interface, wit.name), wit)

    for wit in list(body.types.values()):
        visit(wit)
    for function in body.functions.values():
        for _, wit in function.params:
            visit(wit)
        if function.result is not None:
            visit(function.result)
    return list(found.values())
