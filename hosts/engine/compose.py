"""Joins components into one: bytes in, bytes out.

The parts are nested unchanged; around them stand the merged imports that they still need
(`hosts.engine.skeleton`), the links between them, and their exports. Calls along a link then never
leave wasm. Nothing is compiled here and no file is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wasmtime import WasmtimeError, wat2wasm

from hosts.engine.base import Link, Part
from hosts.engine.merging import merge_imports, wired_interface
from hosts.engine.nesting import imports_of_one_type
from hosts.engine.skeleton import Skeleton, build_skeleton
from lattice.component.binary import leb128
from lattice.component.fingerprint import interface_mismatch
from lattice.component.reader import read_component
from lattice.component.types import (
    ComponentType,
    Interface,
    NamedType,
    ResourceType,
    WitType,
)
from lattice.errors import IncompatibleError, InvalidError
from lattice.model.wit import ROOT, interface_key

_FUNCTION, _TYPE, _INSTANCE = 1, 3, 5  # sorts (component model, `Binary.md`)
_COMPONENT_SECTION, _INSTANCE_SECTION, _ALIAS_SECTION, _EXPORT_SECTION = 4, 5, 6, 11


@dataclass(frozen=True, slots=True)
class _Wire:
    """What satisfies an import inside the composition: an export of another part.

    `function` is empty for a whole interface; else it is one in `export`, or at the root.
    """

    to: str
    export: str
    function: str = ""


_Wires = Mapping[tuple[str, str, str], _Wire]
"""By part, import, and for functions at the root the name, else `""`."""


def compose(parts: Sequence[Part], links: Sequence[Link], *, hidden: Collection[str] = ()) -> bytes:
    """Return one component: the only part unchanged, or all parts joined along the links.

    Exports of all parts stay visible, but those of parts named in `hidden`, and interfaces whose
    key is there; of one exported by two parts, the first part's wins.

    Raises:
        InvalidError: bytes are no component, a link names what is not there, the links form a
            circle, or a shape is not supported.
        IncompatibleError: a type differs across a link or between merged imports; both are shown.
    """
    if not parts:
        raise InvalidError("a composition needs at least one part")
    if len(parts) == 1 and not links:
        return parts[0].body
    types: dict[str, ComponentType] = {}
    for part in parts:
        if part.name in types:
            raise InvalidError(f"two parts are named {part.name!r}")
        try:
            component = types[part.name] = read_component(part.body)
            shared = imports_of_one_type(part.body, component)
        except InvalidError as error:
            raise InvalidError(f"part {part.name!r}: {error.message}") from None
        if shared:
            raise InvalidError(
                f"part {part.name!r}: its imports {' and '.join(shared)} share one type, which "
                "wasmtime cannot nest; define the type of each import on its own"
            )
    wires = _wires(types, links)
    order = _order(types, wires)
    providers = {interface_key(name): wire.to for (_, name, _), wire in wires.items()}
    skeleton = build_skeleton(merge_imports(types, wires), providers)
    try:
        outside = bytes(wat2wasm(skeleton.text))
    except WasmtimeError as error:
        raise InvalidError(f"the imports of the parts cannot be joined: {error}") from None
    bodies = {part.name: part.body for part in parts}
    return outside + _Splice(types, wires, skeleton).join(order, bodies, hidden)


def _wires(types: Mapping[str, ComponentType], links: Sequence[Link]) -> _Wires:
    """Return what each linked import is satisfied by, after checking that the types agree."""
    wires: dict[tuple[str, str, str], _Wire] = {}
    for link in links:
        for name in (link.part, link.to):
            if name not in types:
                raise InvalidError(f"a link names part {name!r}, which does not exist")
        if link.part == link.to:
            raise InvalidError(f"part {link.part!r} cannot satisfy its own {link.interface}")
        wanted, import_name = _wanted(link, types[link.part])
        offered, export_name = _offered(link, types[link.part], types[link.to], import_name)
        differences = interface_mismatch(wanted, offered)
        if differences:
            lines = "".join(f"\n  {line}" for line in differences)
            raise IncompatibleError(
                f"part {link.part!r} imports {_shown(import_name)} from part {link.to!r}, "
                f"but the types differ:{lines}",
                differences=differences,
            )
        if import_name != ROOT:
            wires[link.part, import_name, ""] = _Wire(link.to, export_name)
            continue
        for function in wanted.functions:
            to_function = link.to_function or function
            wires[link.part, ROOT, function] = _Wire(link.to, export_name, to_function)
    return wires


def _wanted(link: Link, asker: ComponentType) -> tuple[Interface, str]:
    """Return what a link satisfies, and the name of the import."""
    name = _named(asker.imports, link.interface)
    if name is None:
        raise InvalidError(f"part {link.part!r} does not import {_shown(link.interface)}")
    interface = asker.imports[name]
    if not link.function:
        return interface, name
    if name != ROOT or link.function not in interface.functions:
        raise InvalidError(
            f"part {link.part!r} does not import function {link.function!r} at its root; "
            "only such functions are linked one by one"
        )
    only = {link.function: interface.functions[link.function]}
    return Interface(name=ROOT, functions=only), name


def _offered(
    link: Link, asker: ComponentType, giver: ComponentType, import_name: str
) -> tuple[Interface, str]:
    """Return what satisfies a link, under the names that it is wanted by, and the export's name."""
    wanted = link.to_interface or asker.labels.get(import_name, import_name)
    name = _named(giver.exports, wanted)
    if name is None:
        raise InvalidError(
            f"part {link.to!r} does not export {_shown(wanted)}, which part {link.part!r} imports"
        )
    if (import_name == ROOT) != (name == ROOT) and not link.function:
        raise InvalidError(
            f"part {link.part!r} imports {_shown(import_name)}, which {_shown(name)} of part "
            f"{link.to!r} cannot satisfy as a whole; link the functions one by one"
        )
    interface = giver.exports[name]
    function = interface.functions.get(link.to_function)
    if function is not None:
        return Interface(name=name, functions={link.function: function}), name
    return interface, name


def _named(interfaces: Mapping[str, Interface], name: str) -> str | None:
    """Return the name under which an interface of the same track is there."""
    if name in interfaces:
        return name
    key = interface_key(name)
    return next((each for each in interfaces if interface_key(each) == key), None)


def _order(types: Mapping[str, ComponentType], wires: _Wires) -> list[str]:
    """Return the parts so that each comes after those it is linked to."""
    order: list[str] = []

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in chain:
            circle = " -> ".join([*chain[chain.index(name) :], name])
            raise InvalidError(
                f"the parts import from each other in a circle: {circle}; "
                "make one of them a service"
            )
        if name in order:
            return
        for provider in sorted({wire.to for (part, _, _), wire in wires.items() if part == name}):
            visit(provider, (*chain, name))
        order.append(name)

    for name in types:
        visit(name, ())
    return order


def _shown(interface: str) -> str:
    return interface or "functions at the root"


class _Splice:
    """Writes what follows the skeleton: nested parts, their instances, aliases and exports."""

    def __init__(
        self, types: Mapping[str, ComponentType], wires: _Wires, skeleton: Skeleton
    ) -> None:
        self._types = types
        self._wires = wires
        self._skeleton = skeleton
        self._out = bytearray()
        # How many of each sort there are; the next index of each space.
        self._counts = {
            _INSTANCE: len(skeleton.instances),
            _FUNCTION: len(skeleton.functions),
            _TYPE: skeleton.type_count,
        }
        self._parts: dict[str, int] = {}  # part -> its instance
        self._aliases: dict[tuple[int, int, str], int] = {}

    def join(
        self, order: Sequence[str], bodies: Mapping[str, bytes], hidden: Collection[str]
    ) -> bytes:
        """Return the sections that nest and link the parts in this order."""
        for number, name in enumerate(order):
            self._out += _section(_COMPONENT_SECTION, bodies[name])
            arguments = b"".join(self._arguments(name))
            count = leb128(self._argument_count(name))
            body = b"\x00" + leb128(number) + count + arguments
            self._out += _section(_INSTANCE_SECTION, leb128(1) + body)
            self._parts[name] = self._take(_INSTANCE)
        winners: dict[str, str] = {}
        for name in bodies:  # the first part wins, in the order in which the parts were given
            for key in () if name in hidden else _export_keys(self._types[name]):
                if key not in hidden:
                    winners.setdefault(key, name)
        # Providers first: a resource must be exported before what uses it.
        for name in order:
            self._exports(name, {key for key, winner in winners.items() if winner == name})
        return bytes(self._out)

    def _argument_count(self, part: str) -> int:
        imports = self._types[part].imports
        root = imports.get(ROOT)
        at_root = len(root.functions) + len(root.types) if root else 0
        return len(imports) - (ROOT in imports) + at_root

    def _arguments(self, part: str) -> Iterable[bytes]:
        for name, interface in self._types[part].imports.items():
            if name != ROOT:
                wire = self._wires.get((part, name, ""))
                index = self._skeleton.instances.get(interface_key(name), 0)
                if wire is not None:
                    index = self._alias(wire.to, _INSTANCE, wire.export)
                yield _name(name) + bytes([_INSTANCE]) + leb128(index)
                continue
            for each, wit in interface.types.items():
                yield _name(each) + bytes([_TYPE]) + leb128(self._root_type(part, each, wit))
            for each in interface.functions:
                wire = self._wires.get((part, ROOT, each))
                if wire is None:
                    index = self._skeleton.functions[each]
                else:
                    index = self._alias_inside(wire.to, wire.export, _FUNCTION, wire.function)
                yield _name(each) + bytes([_FUNCTION]) + leb128(index)

    def _root_type(self, part: str, name: str, wit: WitType) -> int:
        """Return the index of a type that a part imports at its root."""
        key = wired_interface(part, wit, self._wires)
        if key is None:
            return self._skeleton.types[name]
        # It has a resource of another part: only that part's own type will do.
        if isinstance(wit, ResourceType | NamedType):
            for (linked, import_name, _), wire in self._wires.items():
                is_origin = interface_key(import_name) == interface_key(wit.interface)
                if linked == part and import_name != ROOT and is_origin:
                    return self._alias_inside(wire.to, wire.export, _TYPE, wit.name)
        raise InvalidError(
            f"part {part!r} imports type {name!r} at its root, which uses a resource of {key}: "
            "that is satisfied inside the composition, but the type's own interface is not"
        )

    def _exports(self, part: str, keys: set[str]) -> None:
        for name, interface in self._types[part].exports.items():
            if name != ROOT:
                if interface_key(name) in keys:
                    self._export(name, _INSTANCE, self._alias(part, _INSTANCE, name))
                continue
            for sort, names in ((_TYPE, interface.types), (_FUNCTION, interface.functions)):
                for each in names:
                    if each in keys:
                        self._export(each, sort, self._alias(part, sort, each))

    def _alias(self, part: str, sort: int, name: str) -> int:
        """Return the index of what a part exports."""
        return self._alias_of(self._parts[part], sort, name)

    def _alias_inside(self, part: str, interface: str, sort: int, name: str) -> int:
        """Return the index of what an exported interface of a part has, or its root."""
        instance = self._parts[part]
        if interface != ROOT:
            instance = self._alias_of(instance, _INSTANCE, interface)
        return self._alias_of(instance, sort, name)

    def _alias_of(self, instance: int, sort: int, name: str) -> int:
        key = (instance, sort, name)
        if key not in self._aliases:
            target = b"\x00" + leb128(instance) + _name(name)
            self._out += _section(_ALIAS_SECTION, leb128(1) + bytes([sort]) + target)
            self._aliases[key] = self._take(sort)
        return self._aliases[key]

    def _export(self, name: str, sort: int, index: int) -> None:
        item = b"\x00" + _name(name) + bytes([sort]) + leb128(index) + b"\x00"
        self._out += _section(_EXPORT_SECTION, leb128(1) + item)
        self._take(sort)  # an export is a new index in its space

    def _take(self, sort: int) -> int:
        self._counts[sort] += 1
        return self._counts[sort] - 1


def _export_keys(component: ComponentType) -> Iterable[str]:
    for name, interface in component.exports.items():
        if name == ROOT:
            yield from interface.types
            yield from interface.functions
        else:
            yield interface_key(name)


def _name(text: str) -> bytes:
    encoded = text.encode()
    return leb128(len(encoded)) + encoded


def _section(number: int, body: bytes) -> bytes:
    return bytes([number]) + leb128(len(body)) + body
