"""What the parts of a composition still import, merged.

Imports of one semver track become one import under the highest version, with the union of what
the parts ask for: toolchains leave out what a part does not use.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lattice.component.fingerprint import canonical_form
from lattice.component.shapes import parts
from lattice.component.signature import function_signature
from lattice.component.types import ComponentType, Function, Interface, ResourceType, WitType
from lattice.errors import IncompatibleError, InvalidError
from lattice.model.wit import ROOT, interface_key

_NUMBERS = re.compile(r"\d+")


@dataclass(slots=True)
class Wanted:
    """One import of the composition: the union of what its parts import under one track."""

    name: str  # as it will be imported: the highest version
    interface: str  # what `name` implements; the same as `name` without a label
    types: dict[str, WitType] = field(default_factory=dict[str, WitType])
    functions: dict[str, Function] = field(default_factory=dict[str, Function])
    askers: list[str] = field(default_factory=list[str])

    def add(self, part: str, name: str, interface: Interface) -> None:
        """Add what one part imports.

        Raises:
            IncompatibleError: another part imports a function under the same name as another type.
        """
        if _version(name) > _version(self.name):
            self.name = name
            self.interface = interface.name or name
        for key, wit in interface.types.items():
            self.types.setdefault(key, wit)
        for key, function in interface.functions.items():
            known = self.functions.setdefault(key, function)
            if canonical_form(known) != canonical_form(function):
                raise IncompatibleError(
                    f"parts {self.askers[0]!r} and {part!r} import {name or 'the root'} with "
                    f"different types: `{function_signature(key, known)}` against "
                    f"`{function_signature(key, function)}`"
                )
        self.askers.append(part)


def merge_imports(
    types: Mapping[str, ComponentType], wired: Collection[tuple[str, str, str]]
) -> dict[str, Wanted]:
    """Return the imports of the parts that stay, by interface key.

    `wired` has part, interface and name of each function at a root that a link satisfies, and part,
    interface and `""` of each whole interface.

    Raises:
        IncompatibleError: two parts import a function under one name with different types.
        InvalidError: a shape that is not supported.
    """
    wanted: dict[str, Wanted] = {}
    for part, component in types.items():
        for name, interface in component.imports.items():
            if name == ROOT:
                interface = _rest_of_root(part, interface, wired)  # noqa: PLW2901 (reduced)
                if not interface.types and not interface.functions:
                    continue
            elif (part, name, "") in wired:
                continue
            if name in component.labels and _defines_resources(interface):
                raise InvalidError(
                    f"part {part!r}: the labelled import {name!r} has resources, which cannot "
                    "be composed yet"
                )
            key = interface_key(name)
            if key not in wanted:
                wanted[key] = Wanted(name, component.labels.get(name, name))
            wanted[key].add(part, name, interface)
    return wanted


def wired_interface(part: str, wit: WitType, wired: Collection[tuple[str, str, str]]) -> str | None:
    """Return the interface, by its key, that has a resource in the type and that a link satisfies.

    A type of that interface is the provider's own then, and cannot be imported from outside.
    """
    keys = {interface_key(name) for linked, name, _ in wired if linked == part and name != ROOT}
    waiting: list[WitType | None] = [wit]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ResourceType) and interface_key(inner.interface) in keys:
            return interface_key(inner.interface)
        if inner is not None:
            waiting += [each for _, each in parts(inner)]
    return None


def _rest_of_root(part: str, root: Interface, wired: Collection[tuple[str, str, str]]) -> Interface:
    """Return what no link satisfies of the types and functions at a root."""
    return Interface(
        name=ROOT,
        types={
            name: wit
            for name, wit in root.types.items()
            if wired_interface(part, wit, wired) is None
        },
        functions={
            name: function
            for name, function in root.functions.items()
            if (part, ROOT, name) not in wired
        },
    )


def _defines_resources(interface: Interface) -> bool:
    return any(isinstance(wit, ResourceType) for wit in interface.types.values())


def _version(name: str) -> tuple[int, ...]:
    """Return a version of one track as numbers, for comparing."""
    return tuple(map(int, _NUMBERS.findall(name.partition("@")[2])))
