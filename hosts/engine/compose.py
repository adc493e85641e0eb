"""Joins components into one: bytes in, bytes out.

The parts are nested unchanged; around them stand the merged imports that they still need
(`hosts.engine.skeleton`), the links between them, and their exports. Calls along a link then never
leave wasm. Nothing is compiled here and no file is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wasmtime import WasmtimeError, wat2wasm

from hosts.engine.base import Link, Part
from hosts.engine.merging import merge_imports
from hosts.engine.skeleton import Skeleton, build_skeleton
from lattice.component.fingerprint import interface_mismatch
from lattice.component.reader import read_component
from lattice.component.types import ComponentType, Interface
from lattice.errors import IncompatibleError, InvalidError
from lattice.model.wit import ROOT, interface_key

_FUNCTION, _TYPE, _INSTANCE = 1, 3, 5  # sorts (component model, `Binary.md`)
_COMPONENT_SECTION, _INSTANCE_SECTION, _ALIAS_SECTION, _EXPORT_SECTION = 4, 5, 6, 11


@dataclass(frozen=True, slots=True)
class _Wire:
    """What satisfies an import inside the composition: an export of another part."""

    to: str
    export: str


_Wires = Mapping[tuple[str, str], _Wire]  # by part and import name


def compose(parts: Sequence[Part], links: Sequence[Link]) -> bytes:
    """Return one component: the only part unchanged, or all parts joined along the links.

    Exports of all parts stay visible; of one exported by two parts, the first part's wins.

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
            types[part.name] = read_component(part.body)
        except InvalidError as error:
            raise InvalidError(f"part {part.name!r}: {error.message}") from None
    wires = _wires(types, links)
    order = _order(types, wires)
    skeleton = build_skeleton(merge_imports(types, wires))
    try:
        outside = bytes(wat2wasm(skeleton.text))
    except WasmtimeError as error:
        raise InvalidError(f"the imports of the parts cannot be joined: {error}") from None
    bodies = {part.name: part.body for part in parts}
    return outside + _Splice(types, wires, skeleton).join(order, bodies)


def _wires(types: Mapping[str, ComponentType], links: Sequence[Link]) -> _Wires:
    """Return what each linked import is satisfied by, after checking that the types agree."""
    wires: dict[tuple[str, str], _Wire] = {}
    for link in links:
        for name in (link.part, link.to):
            if name not in types:
                raise InvalidError(f"a link names part {name!r}, which does not exist")
        if link.part == link.to:
            raise InvalidError(f"part {link.part!r} cannot satisfy its own {link.interface}")
        asker, giver = types[link.part], types[link.to]
        wanted = _named(asker.imports, link.interface)
        if wanted is None:
            raise InvalidError(f"part {link.part!r} does not import {_shown(link.interface)}")
        implemented = asker.labels.get(wanted, wanted)
        offered = _named(giver.exports, implemented)
        if offered is None:
            raise InvalidError(
                f"part {link.to!r} does not export {_shown(implemented)}, "
                f"which part {link.part!r} imports"
            )
        differences = interface_mismatch(asker.imports[wanted], giver.exports[offered])
        if differences:
            lines = "".join(f"\n  {line}" for line in differences)
            raise IncompatibleError(
                f"part {link.part!r} imports {_shown(wanted)} from part {link.to!r}, "
                f"but the types differ:{lines}",
                differences=differences,
            )
        wires[link.part, wanted] = _Wire(link.to, offered)
    return wires


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
        for provider in sorted({wire.to for (part, _), wire in wires.items() if part == name}):
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
        self._aliases: dict[tuple[str, int, str], int] = {}

    def join(self, order: Sequence[str], bodies: Mapping[str, bytes]) -> bytes:
        """Return the sections that nest and link the parts in this order."""
        for number, name in enumerate(order):
            self._out += _section(_COMPONENT_SECTION, bodies[name])
            arguments = b"".join(self._arguments(name))
            count = _leb(self._argument_count(name))
            body = b"\x00" + _leb(number) + count + arguments
            self._out += _section(_INSTANCE_SECTION, _leb(1) + body)
            self._parts[name] = self._take(_INSTANCE)
        winners: dict[str, str] = {}
        for name in bodies:  # the first part wins, in the order in which the parts were given
            for key in _export_keys(self._types[name]):
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
            wire = self._wires.get((part, name))
            if name != ROOT:
                index = self._skeleton.instances.get(interface_key(name), 0)
                if wire is not None:
                    index = self._alias(wire.to, _INSTANCE, wire.export)
                yield _name(name) + bytes([_INSTANCE]) + _leb(index)
                continue
            for each in interface.types:
                yield _name(each) + bytes([_TYPE]) + _leb(self._skeleton.types[each])
            for each in interface.functions:
                if wire is None:
                    index = self._skeleton.functions[each]
                else:
                    index = self._alias(wire.to, _FUNCTION, each)
                yield _name(each) + bytes([_FUNCTION]) + _leb(index)

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
        key = (part, sort, name)
        if key not in self._aliases:
            target = b"\x00" + _leb(self._parts[part]) + _name(name)
            self._out += _section(_ALIAS_SECTION, _leb(1) + bytes([sort]) + target)
            self._aliases[key] = self._take(sort)
        return self._aliases[key]

    def _export(self, name: str, sort: int, index: int) -> None:
        item = b"\x00" + _name(name) + bytes([sort]) + _leb(index) + b"\x00"
        self._out += _section(_EXPORT_SECTION, _leb(1) + item)
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


def _leb(number: int) -> bytes:
    """Return an unsigned number as LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _name(text: str) -> bytes:
    encoded = text.encode()
    return _leb(len(encoded)) + encoded


def _section(number: int, body: bytes) -> bytes:
    return bytes([number]) + _leb(len(body)) + body
