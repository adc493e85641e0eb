"""A component that only gathers types and functions into one interface, as component text.

A method counts as one of its resource only in exports that were made together with the resource,
so an instance put together from parts will not do where an interface has methods.
"""

from __future__ import annotations

from hosts.adapters.bulk.shim import Definitions, Shim
from hosts.engine.type_text import quote, signature
from lattice.component.types import Interface, NamedType, ResourceType, WitType
from lattice.model.wit import interface_key


def facade(name: str, interface: Interface) -> Shim:
    """Return the component `name` that imports functions (`f0`...) and exports the interface."""
    return _Facade(interface).write(name)


class _Facade:
    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._key = interface_key(interface.name)
        self._resources: dict[ResourceType, str] = {}
        self._types: list[tuple[str, WitType]] = []
        self._exported: dict[tuple[str, str], str] = {}  # origin -> identifier
        self._inside = Definitions("$a", self._import_resource, self._import_type)
        self._outside = Definitions("$b", self._exported_resource, known=self._exported_type)

    def write(self, name: str) -> Shim:
        functions = list(self._interface.functions.items())
        imports = [
            f'(import "f{number}" (func $f{number} {signature(function, self._inside.word)}))'
            for number, (_, function) in enumerate(functions)
        ]
        for each, wit in self._interface.types.items():
            identifier = self._identifier(wit)
            exported = f"$x{len(self._outside.lines)}"
            self._outside.lines.append(f"(export {exported} {quote(each)} (type {identifier}))")
            if isinstance(wit, ResourceType | NamedType):
                self._exported[_origin(wit)] = exported
        exports: list[str] = []
        for number, (each, function) in enumerate(functions):
            text = signature(function, self._outside.word)
            exports.append(f"(export {quote(each)} (func $f{number}) (func {text}))")
        lines = [
            f"(component {name}",
            *(f'(import "{each}" (type ${each} (sub resource)))'
              for each in self._resources.values()),
            *self._inside.lines,
            *imports,
            *self._outside.lines,
            *exports,
            ")",
        ]  # fmt: skip
        resources = [(each, resource) for resource, each in self._resources.items()]
        return Shim("\n".join(lines), resources, self._types)

    def _identifier(self, wit: WitType) -> str:
        is_used = isinstance(wit, NamedType) and interface_key(wit.interface) != self._key
        # What a used type consists of may have no name here: imported, each part has one.
        word = (self._inside if is_used else self._outside).word(wit)
        if word.startswith("$"):
            return word
        # A name for a primitive type, which needs a definition to be exported.
        self._outside.lines.append(f"(type $word{len(self._outside.lines)} {word})")
        return f"$word{len(self._outside.lines) - 1}"

    def _import_resource(self, resource: ResourceType) -> str:
        name = self._resources.setdefault(resource, f"r{len(self._resources)}")
        return f"${name}"

    def _exported_resource(self, resource: ResourceType) -> str:
        return self._exported.get(_origin(resource)) or self._import_resource(resource)

    def _exported_type(self, wit: NamedType) -> str | None:
        return self._exported.get(_origin(wit))

    def _import_type(self, identifier: str, wit: WitType) -> str:
        name = f"t{len(self._types)}"
        self._types.append((name, wit))
        self._inside.lines.append(f'(import "{name}" (type ${name} (eq {identifier})))')
        return f"${name}"


def _origin(wit: NamedType | ResourceType) -> tuple[str, str]:
    return interface_key(wit.interface), wit.name
