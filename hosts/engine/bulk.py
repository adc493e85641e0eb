"""Wraps a component so that its `list<u8>` cross the engine's C API as strings.

Exports stay as they are; the framed functions are exported beside them, in one more instance.
Imports of the wrapped component take frames in place of `list<u8>`. Whoever converts values must
use the framed types (`Bulk.calls`, `Bulk.type`), with `hosts.engine.frames` where a type is
`FRAME`. Text and bytes only: nothing is compiled here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wasmtime import WasmtimeError, wat2wasm

from hosts.adapters.bulk.choosing import (
    Functions,
    ambiguous_interfaces,
    changing,
    framable,
    framed_interface,
    is_huge,
    mixes,
)
from hosts.adapters.bulk.facade import facade
from hosts.adapters.bulk.framing import framed, framed_function
from hosts.adapters.bulk.shim import Definitions, Shim, shim
from hosts.engine.merging import merge_imports
from hosts.engine.nesting import imports_of_one_type
from hosts.engine.skeleton import build_skeleton
from hosts.engine.type_text import quote
from lattice.component.binary import leb128
from lattice.component.reader import read_component
from lattice.component.types import (
    ComponentType,
    Function,
    Interface,
    NamedType,
    ResourceType,
    WitType,
)
from lattice.errors import InternalError, InvalidError
from lattice.model.wit import ROOT, interface_key

logger = logging.getLogger(__name__)

CALLS = "lattice:bulk/calls@0.1.0"
"""The instance that a wrapped component exports its framed functions in."""

_PLACEHOLDER = b"\x04\x08\0asm\x0d\x00\x01\x00"  # a nested component without anything
_COMPONENT_SECTION = b"\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """A wrapped component.

    `original` is the type of the component that was wrapped, `type` the same with framed imports.
    `calls` has for each export that takes or gives bytes its name in the instance `CALLS` and its
    framed type.
    """

    body: bytes
    original: ComponentType
    type: ComponentType
    calls: Mapping[tuple[str, str], tuple[str, Function]] = field(
        default_factory=dict[tuple[str, str], tuple[str, Function]]
    )


def wrap_if_possible(body: bytes, is_native: Callable[[str], bool]) -> Bulk:
    """Return a component wrapped, or as it is when nothing is to gain or its shape forbids it.

    Raises:
        InvalidError: the bytes are no component.
    """
    component = read_component(body)
    if is_huge(component) or imports_of_one_type(body, component):
        return Bulk(body=body, original=component, type=component)
    try:
        return wrap(body, component, is_native)
    except InvalidError as error:
        logger.debug("bytes cross one by one: %s", error.message)
        return Bulk(body=body, original=component, type=component)


def wrap(body: bytes, component: ComponentType, is_native: Callable[[str], bool]) -> Bulk:
    """Return a component wrapped, or as it is when none of its functions carries `list<u8>`.

    `is_native` tells of an import whether somebody else than a host function satisfies it; such an
    import keeps its types.

    Raises:
        InvalidError: a shape that cannot be wrapped; the component itself may be fine.
    """
    wrapper = _Wrapper(component, is_native)
    if not wrapper.imported and not wrapper.exported:
        return Bulk(body=body, original=component, type=component)
    try:
        outside = bytes(wat2wasm(wrapper.text()))
    except WasmtimeError as error:
        raise InvalidError(f"the component cannot be wrapped for bulk bytes: {error}") from None
    before, found, after = outside.partition(_PLACEHOLDER)
    if not found or _PLACEHOLDER in after:
        raise InternalError("the bulk wrapper has no place, or several, for its component")
    calls = {
        key: (f"f{number}", framed_function(function))
        for number, (key, function) in enumerate(wrapper.exported.items())
    }
    whole = b"".join([before, _COMPONENT_SECTION, leb128(len(body)), body, after])
    return Bulk(body=whole, original=component, type=wrapper.framed_type, calls=calls)


class _Wrapper:
    """Writes the wrapper as WAT, with an empty component in the place of the wrapped one."""

    def __init__(self, component: ComponentType, is_native: Callable[[str], bool]) -> None:
        self._component = component
        hosted = {
            name: interface
            for name, interface in component.imports.items()
            if not is_native(component.labels.get(name, name))
        }
        self.exported = framable(component.exports, ambiguous_interfaces(component))
        self.imported = framable(hosted, frozenset())
        self._framed = changing(hosted) if self.imported else frozenset[str]()
        if mixes(component, self._framed):
            self.imported, self._framed = {}, frozenset()
        self.framed_type = replace(
            component,
            imports={
                name: framed_interface(interface) if name in self._framed else interface
                for name, interface in component.imports.items()
            },
        )
        self._skeleton = build_skeleton(merge_imports({"component": self.framed_type}, ()))
        self._lines: list[str] = []
        self._components = 0  # how many the text has so far
        self._found: dict[tuple[str, str], str] = {}
        self._types = Definitions(
            "$bulk-t", self._imported_resource, lines=self._lines, known=self._imported_type
        )
        self._exports: dict[str, str] = {}  # exported interface -> its instance

    def text(self) -> str:
        """Return the whole text."""
        if self.imported:
            self._instantiate_shim("in", self.imported, is_framed_outside=False)
        arguments = " ".join(list(self._arguments()))
        # Without a name, which would be written into it; so it goes by its number.
        self._lines.append("(component)")
        self._lines.append(f"(instance $bulk-it (instantiate {self._components} {arguments}))")
        self._reexport()
        if self.exported:
            # From here on, a resource is rather the wrapped component's own.
            self._found.clear()
            self._types = Definitions("$bulk-u", self._exported_resource, lines=self._lines)
            self._instantiate_shim("out", self.exported, is_framed_outside=True)
            self._lines.append(f"(export {quote(CALLS)} (instance $bulk-out-it))")
        return "\n".join([self._skeleton.text.removesuffix(")"), *self._lines, ")"])

    def _instantiate_shim(
        self, name: str, functions: Functions, *, is_framed_outside: bool
    ) -> None:
        made = shim(f"$bulk-{name}", list(functions.values()), is_framed_outside=is_framed_outside)
        find = self._exported_resource if is_framed_outside else self._imported_resource
        given = [
            f"(with {quote(each)} (type {find(resource)}))" for each, resource in made.resources
        ]
        given += [
            f"(with {quote(each)} (type {self._types.word(wit)}))" for each, wit in made.types
        ]
        for number, (interface, function) in enumerate(functions):
            if is_framed_outside:
                source = self._exports.get(interface, "$bulk-it")
                found = self._alias(source, function, "func")
            else:
                found = self._import(interface, function, "func")
            given.append(f'(with "f{number}" (func {found}))')
        self._lines.append(made.text)
        self._components += 1
        self._lines.append(
            f"(instance $bulk-{name}-it (instantiate $bulk-{name} {' '.join(given)}))"
        )

    def _given(self, made: Shim, find: Callable[[ResourceType], str]) -> list[str]:
        """Return what a shim is instantiated with besides functions."""
        given = [f"(with {quote(name)} (type {find(each)}))" for name, each in made.resources]
        given += [
            f"(with {quote(name)} (type {self._types.word(wit)}))" for name, wit in made.types
        ]
        return given

    # --- imports -------------------------------------------------------------------------------

    def _arguments(self) -> Iterable[str]:
        """Yield what the wrapped component is instantiated with."""
        for name, interface in self._component.imports.items():
            if name == ROOT:
                for each, wit in interface.types.items():
                    yield f"(with {quote(each)} (type {self._type(name, each, wit)}))"
                for each in interface.functions:
                    yield f"(with {quote(each)} (func {self._function(name, each)}))"
            elif name in self._framed:
                yield f"(with {quote(name)} (instance {self._original(name, interface)}))"
            else:
                number = self._skeleton.instances[interface_key(name)]
                yield f"(with {quote(name)} (instance $i{number}))"

    def _original(self, name: str, interface: Interface) -> str:
        """Return an instance of an imported interface that has its original types."""
        component = f"$bulk-c{len(self._lines)}"
        made = facade(component, interface)
        given = self._given(made, self._imported_resource)
        given += [
            f'(with "f{number}" (func {self._function(name, each)}))'
            for number, each in enumerate(interface.functions)
        ]
        self._lines.append(made.text)
        self._components += 1
        self._lines.append(f"(instance {component}-it (instantiate {component} {' '.join(given)}))")
        return f"{component}-it"

    def _type(self, interface: str, name: str, wit: WitType) -> str:
        if interface in self._framed and framed(wit) != wit:
            return self._types.word(wit)
        return self._import(interface, name, "type")

    def _function(self, interface: str, name: str) -> str:
        if (interface, name) in self.imported:
            number = list(self.imported).index((interface, name))
            return self._alias("$bulk-in-it", f"f{number}", "func")
        return self._import(interface, name, "func")

    def _import(self, interface: str, name: str, sort: str) -> str:
        """Return what names a function or type of an import of the wrapper."""
        skeleton = self._skeleton
        try:
            if interface == ROOT and sort == "type":
                return str(skeleton.types[name])
            if interface == ROOT:
                return f"$f{skeleton.functions[name]}"
            return self._alias(f"$i{skeleton.instances[interface_key(interface)]}", name, sort)
        except KeyError:
            raise InvalidError(f"{name} of {interface or 'the root'} is no import") from None

    def _imported_type(self, wit: NamedType) -> str | None:
        """Return the import that has a type as it is: an interface's types go by its own names."""
        if framed(wit) != wit:
            return None
        key = (interface_key(wit.interface), wit.name)
        if key not in self._found:
            if not any(
                interface_key(name) == key[0] and wit.name in interface.types
                for name, interface in self._component.imports.items()
            ):
                return None
            self._found[key] = self._import(wit.interface, wit.name, "type")
        return self._found[key]

    def _imported_resource(self, resource: ResourceType) -> str:
        key = (interface_key(resource.interface), resource.name)
        if key not in self._found:
            self._found[key] = self._import(resource.interface, resource.name, "type")
        return self._found[key]

    # --- exports -------------------------------------------------------------------------------

    def _reexport(self) -> None:
        """Export what the wrapped component exports."""
        for name, interface in self._component.exports.items():
            if name != ROOT:
                found = self._exports[name] = self._alias("$bulk-it", name, "instance")
                self._lines.append(f"(export {quote(name)} (instance {found}))")
                continue
            for sort, names in (("type", interface.types), ("func", interface.functions)):
                for each in names:
                    found = self._alias("$bulk-it", each, sort)
                    self._lines.append(f"(export {quote(each)} ({sort} {found}))")

    def _exported_resource(self, resource: ResourceType) -> str:
        key = (interface_key(resource.interface), resource.name)
        if key not in self._found:
            for name, interface in self._component.exports.items():
                if interface_key(name) == key[0] and resource.name in interface.types:
                    source = self._exports.get(name, "$bulk-it")
                    self._found[key] = self._alias(source, resource.name, "type")
                    break
            else:
                return self._imported_resource(resource)
        return self._found[key]

    def _alias(self, instance: str, name: str, sort: str) -> str:
        identifier = f"$bulk-a{len(self._lines)}"
        self._lines.append(f"(alias export {instance} {quote(name)} ({sort} {identifier}))")
        return identifier
