"""Which functions of a component get frames, and when none can. Pure functions of types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hosts.adapters.bulk.framing import framed, framed_function, is_framable
from lattice.component.shapes import parts
from lattice.component.types import (
    ComponentType,
    Function,
    Interface,
    NamedType,
    ResourceType,
    WitType,
)
from lattice.model.wit import ROOT, interface_key

Functions = dict[tuple[str, str], Function]
"""Functions of original type, by interface and name."""

TYPE_NODES_MAX = 50_000
"""Parts of all signatures written out in full: above, wrapping a hostile component could take
seconds; one that embeds a whole Python has a tenth of it."""


def is_huge(component: ComponentType) -> bool:
    """Tell whether the signatures of a component are too large to be worth it."""
    count = 0
    for interface in (*component.imports.values(), *component.exports.values()):
        for function in interface.functions.values():
            for _ in _inner_types(function):
                count += 1
                if count > TYPE_NODES_MAX:
                    return True
    return False


def framable(interfaces: Mapping[str, Interface], ambiguous: frozenset[str]) -> Functions:
    """Return the functions that can be framed and handle no resource of `ambiguous` interfaces."""
    return {
        (name, each): function
        for name, interface in interfaces.items()
        for each, function in interface.functions.items()
        if is_framable(function) and not (ambiguous & _handled(function))
    }


def changing(interfaces: Mapping[str, Interface]) -> frozenset[str]:
    """Return the interfaces that are not the same with frames."""
    return frozenset(
        name
        for name, interface in interfaces.items()
        if any(map(is_framable, interface.functions.values()))
        or any(framed(wit) != wit for wit in interface.types.values())
    )


def mixes(component: ComponentType, framed_names: frozenset[str]) -> bool:
    """Tell whether a named type would be needed with frames and without."""
    changed = {interface_key(name) for name in framed_names}
    at_root = component.exports.get(ROOT, Interface(name=ROOT))
    # An exported function needs the original among the imports, by its name.
    for function in at_root.functions.values():
        if any(interface_key(wit.interface) in changed for wit in _changing_types(function)):
            return True
    for name, interface in component.imports.items():
        for function in interface.functions.values():
            is_framed = name in framed_names and is_framable(function)
            for wit in _changing_types(function):
                if is_framed != (interface_key(wit.interface) in changed):
                    return True
    return False


def _changing_types(function: Function) -> list[NamedType]:
    """Return the named types in a function's type that are not the same with frames."""
    return [
        wit for wit in _inner_types(function) if isinstance(wit, NamedType) and framed(wit) != wit
    ]


def framed_interface(interface: Interface) -> Interface:
    """Return an interface with frames."""
    return replace(
        interface,
        types={name: framed(wit) for name, wit in interface.types.items()},
        functions={
            name: framed_function(each) if is_framable(each) else each
            for name, each in interface.functions.items()
        },
    )


def ambiguous_interfaces(component: ComponentType) -> frozenset[str]:
    """Return the interfaces whose resources may be the host's or the component's."""
    imported = {interface_key(name) for name in component.imports}
    return frozenset(imported & {interface_key(name) for name in component.exports})


def _handled(function: Function) -> frozenset[str]:
    """Return the interfaces whose resources a function handles."""
    return frozenset(
        interface_key(wit.interface)
        for wit in _inner_types(function)
        if isinstance(wit, ResourceType)
    )


def _inner_types(function: Function) -> Iterator[WitType]:
    """Yield every type in a function's type."""
    waiting: list[WitType | None] = [wit for _, wit in function.params]
    waiting.append(function.result)
    while waiting:
        wit = waiting.pop()
        if wit is not None:
            yield wit
            waiting += [part for _, part in parts(wit)]
