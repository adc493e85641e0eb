"""The outside of a composition: the imports that its parts still need, merged, as WAT text.

Types are written out by name. Everything at the root is a numbered definition, so that the
indices of what follows are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hosts.engine.merging import Wanted
from hosts.engine.type_text import definition, primitive, quote, signature
from lattice.component.types import Function, NamedType, Primitive, ResourceType, WitType
from lattice.errors import InvalidError
from lattice.model.wit import ROOT, interface_key


@dataclass(frozen=True, slots=True)
class Skeleton:
    """WAT text without its end, and the indices of what it defines at the root."""

    text: str
    instances: Mapping[str, int]  # by interface key
    functions: Mapping[str, int]  # by name
    types: Mapping[str, int]  # imported types by name
    type_count: int


def build_skeleton(
    wanted: Mapping[str, Wanted], providers: Mapping[str, str] | None = None
) -> Skeleton:
    """Return the text that imports everything in `wanted` (by interface key; `""` for the root).

    `providers` names for linked interfaces, by their keys, the part that satisfies them.

    Raises:
        InvalidError: an import uses a resource of an interface that is no import any more, or
            interfaces use each other's types in a circle.
    """
    return _Writer(wanted, providers or {}).write()


class _Scope:
    """Where types are defined: the root, or the instance type of one interface."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.lines: list[str] = []
        self.ids: dict[tuple[str, str], str] = {}  # (interface key, type name) -> identifier
        self.building: set[str] = set()


class _Writer:
    def __init__(self, wanted: Mapping[str, Wanted], providers: Mapping[str, str]) -> None:
        self._wanted = wanted
        self._providers = providers
        self._root = _Scope(ROOT)
        self._instances: dict[str, int] = {}
        self._functions: dict[str, int] = {}
        self._types: dict[str, int] = {}
        self._type_count = 0
        self._next = 0
        self._open: list[str] = []

    def write(self) -> Skeleton:
        for key in self._wanted:
            if key != ROOT:
                self._interface(key)
        if ROOT in self._wanted:
            self._root_items(self._wanted[ROOT])
        text = "(component\n" + "\n".join(self._root.lines) + "\n)"
        return Skeleton(text, self._instances, self._functions, self._types, self._type_count)

    # --- definitions ---------------------------------------------------------------------------

    def _interface(self, key: str) -> None:
        """Import one interface, after those whose types it uses."""
        if key in self._instances:
            return
        if key in self._open:
            circle = " -> ".join([*self._open, key])
            raise InvalidError(f"interfaces use each other's types in a circle: {circle}")
        self._open.append(key)
        wanted = self._wanted[key]
        scope = _Scope(key)
        for name in wanted.types:
            self._export_type(scope, name)
        for name, function in wanted.functions.items():
            scope.lines.append(
                f"    (export {quote(name)} (func {self._signature(function, scope)}))"
            )
        self._open.pop()
        number = self._instances[key] = len(self._instances)
        type_id = self._define_root("(instance\n" + "\n".join(scope.lines) + ")")
        label = (
            "" if wanted.interface == wanted.name else f" (implements {quote(wanted.interface)})"
        )
        self._root.lines.append(
            f"  (import {quote(wanted.name)}{label} (instance $i{number} (type {type_id})))"
        )

    def _export_type(self, scope: _Scope, name: str) -> str:
        """Define and export a type of the scope's interface, and return its identifier."""
        key = (scope.key, name)
        if key in scope.ids:
            return scope.ids[key]
        wit = self._wanted[scope.key].types[name]
        bound = "(sub resource)"
        if isinstance(wit, NamedType | ResourceType) and _origin(wit) != key:
            bound = f"(eq {self._reference(wit, scope)})"
        elif isinstance(wit, NamedType):
            bound = f"(eq {self._define(wit.target, scope)})"
        identifier = scope.ids[key] = self._fresh()
        if isinstance(wit, NamedType | ResourceType):
            # Functions name the type where it was defined; here it goes by this export.
            scope.ids[_origin(wit)] = identifier
        if scope.key == ROOT:
            self._types[name] = self._type_count
            self._type_count += 1
            scope.lines.append(f"  (import {quote(name)} (type {identifier} {bound}))")
        else:
            scope.lines.append(f"    (export {quote(name)} (type {identifier} {bound}))")
        return identifier

    def _root_items(self, wanted: Wanted) -> None:
        for name in wanted.types:
            self._export_type(self._root, name)
        for name, function in wanted.functions.items():
            type_id = self._define_root(f"(func {self._signature(function, self._root)})")
            number = self._functions[name] = len(self._functions)
            self._root.lines.append(f"  (import {quote(name)} (func $f{number} (type {type_id})))")

    def _define(self, wit: WitType, scope: _Scope) -> str:
        """Return an identifier for a type, defined in the scope if it is not a plain word."""
        if isinstance(wit, NamedType | ResourceType):
            return self._reference(wit, scope)
        text = definition(wit, lambda part: self._word(part, scope))
        if scope.key == ROOT:
            return self._define_root(text)
        identifier = self._fresh()
        scope.lines.append(f"    (type {identifier} {text})")
        return identifier

    def _define_root(self, text: str) -> str:
        identifier = self._fresh()
        self._type_count += 1
        self._root.lines.append(f"  (type {identifier} {text})")
        return identifier

    def _fresh(self) -> str:
        self._next += 1
        return f"$t{self._next}"

    # --- references ----------------------------------------------------------------------------

    def _reference(self, wit: NamedType | ResourceType, scope: _Scope) -> str:
        """Return what names a type in the scope: its own export, or one of another import."""
        key = _origin(wit)
        if key in scope.ids:
            return scope.ids[key]
        interface, name = key
        if interface == scope.key and name in self._wanted[interface].types:
            return self._export_type(scope, name)
        if interface in self._wanted and name in self._wanted[interface].types:
            scope.ids[key] = self._from_other(interface, name)
            return scope.ids[key]
        if isinstance(wit, ResourceType):
            asker = self._wanted[scope.key]
            raise InvalidError(
                f"{asker.name or 'an import at the root'} (imported by part "
                f"{', '.join(map(repr, asker.askers))}) uses resource {name!r} of "
                f"{wit.interface}, which {self._provider(interface)} satisfies inside the "
                "composition: link both interfaces to the same part, or neither"
            )
        return self._define(wit.target, scope)

    def _provider(self, interface: str) -> str:
        part = self._providers.get(interface)
        return "a link" if part is None else f"part {part!r}"

    def _from_other(self, interface: str, name: str) -> str:
        """Return a name at the root for a type that another import has."""
        key = (interface, name)
        if interface == ROOT:
            return self._export_type(self._root, name)
        self._interface(interface)
        if key not in self._root.ids:
            identifier = self._root.ids[key] = self._fresh()
            self._type_count += 1
            number = self._instances[interface]
            self._root.lines.append(
                f"  (alias export $i{number} {quote(name)} (type {identifier}))"
            )
        return self._root.ids[key]

    # --- text ----------------------------------------------------------------------------------

    def _signature(self, function: Function, scope: _Scope) -> str:
        return signature(function, lambda wit: self._word(wit, scope))

    def _word(self, wit: WitType, scope: _Scope) -> str:
        """Return a type as it stands inside another: a primitive's name or an identifier."""
        return primitive(wit) if isinstance(wit, Primitive) else self._define(wit, scope)


def _origin(wit: NamedType | ResourceType) -> tuple[str, str]:
    """Return interface key and name under which a named type was defined."""
    return interface_key(wit.interface), wit.name
