"""Imports, exports and aliases, and the instance types that are made of them (`Binary.md`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lattice.component import typedefs
from lattice.component.binary import ByteReader
from lattice.component.scopes import (
    BYTES_OF_WORK,
    SORTS,
    Body,
    FunctionItem,
    FunctionShape,
    Instance,
    InstanceShape,
    Instantiation,
    Item,
    Opaque,
    Scope,
    Typed,
    describe,
    expect,
    item_at,
    named,
)
from lattice.component.types import ResourceType

IMPLEMENTS = 0x00
"""The attribute of an import's name that says which interface the import implements."""

ExportsOf: TypeAlias = Callable[[ByteReader, Item], Mapping[str, Item]]
"""Returns what an item of the instance space exports, or refuses the binary."""

_COMPONENT_TYPE = 0x41
_INSTANCE_TYPE = 0x42
_CORE_MODULE = 0x11


@dataclass(frozen=True, slots=True)
class ExternName:
    """The name of an import or export; `implements` is an interface, `""` when none is given."""

    name: str
    implements: str = ""

    @property
    def owner(self) -> str:
        """Return the interface to which types under this name belong."""
        return self.implements or self.name


def extern_name(reader: ByteReader) -> ExternName:
    """Return the name that comes next."""
    form = reader.byte()
    if form > 0x02:
        raise reader.fault(
            f"expected the name of an import or export, found {form:#04x}", reader.position - 1
        )
    start = reader.position
    name = reader.name()
    if not (name and name.isascii() and name.isprintable()):
        raise reader.fault(f"expected the name of an item, found {name[:40]!r}", start)
    if form < 0x02:
        return ExternName(name)
    implements = ""
    for _ in range(reader.count()):
        attribute = reader.byte()
        value = reader.name()
        if attribute == IMPLEMENTS:
            implements = value
    return ExternName(name, implements)


def type_definition(reader: ByteReader, scope: Scope) -> Item:
    """Return the type that is defined next, of any kind."""
    scope.work.spend(reader)
    opcode = reader.peek()
    if opcode == _INSTANCE_TYPE:
        reader.byte()
        start = reader.position
        _declarations(reader, Scope(scope.work, scope), is_component=False)
        return InstanceShape(start, reader.position, scope)
    if opcode == _COMPONENT_TYPE:
        reader.byte()
        _declarations(reader, Scope(scope.work, scope), is_component=True)
        return Opaque("component type")
    return typedefs.definition(reader, scope)


def instance_of(reader: ByteReader, shape: InstanceShape, owner: str) -> Instance:
    """Return an instance of an instance type, whose types then belong to `owner`."""
    scope = Scope(shape.scope.work, shape.scope, owner)
    again = ByteReader(reader.data, shape.offset, shape.end)
    _declarations(again, scope, is_component=False)
    scope.work.spend(reader, (shape.end - shape.offset) // BYTES_OF_WORK)
    return Instance(scope.exports)


def _declarations(reader: ByteReader, scope: Scope, *, is_component: bool) -> None:
    """Read the body of an instance or component type into its scope."""
    scope.work.enter(reader)
    for _ in range(reader.count()):
        scope.work.spend(reader)
        kind = reader.byte()
        if kind == 0x01:
            scope.types.append(type_definition(reader, scope))
        elif kind == 0x02:
            alias(reader, scope, _declared_exports)
        elif kind == 0x03 and is_component:
            declare(reader, scope, scope.imports)
        elif kind == 0x04:
            declare(reader, scope, scope.exports)
        elif kind == 0x00:
            raise reader.fault(
                "expected a declaration, found a core type, which is not supported here"
            )
        else:
            raise reader.fault(f"expected a declaration, found {kind:#04x}")
    scope.work.nesting -= 1


def declare(
    reader: ByteReader,
    scope: Scope,
    table: dict[str, Item],
    given: Mapping[str, Item] | None = None,
) -> None:
    """Read one import or export declaration: its item enters the scope and the table.

    `given` has what an instantiation passes for imports: it stands in for what is declared.
    """
    start = reader.position
    scope.work.spend(reader)
    name = extern_name(reader)
    sort, item = described(reader, scope, name)
    passed = given.get(name.name) if given is not None else None
    if passed is not None and isinstance(item, Typed | Instance):
        item = _accept(reader, passed, item, name.owner)
    if name.name in table:
        raise reader.fault(f"expected names to differ, found {name.name!r} twice", start)
    table[name.name] = item
    if name.implements:
        scope.labels[name.name] = name.implements
    space = scope.space(sort)
    if space is not None:
        space.append(item)


def _accept(reader: ByteReader, passed: Item, declared: Item, owner: str) -> Item:
    """Return what an instantiation passes, which must be of the declared sort."""
    is_type = isinstance(passed, Typed)
    is_instance = isinstance(passed, Instance | Instantiation)
    if is_type != isinstance(declared, Typed) or is_instance != isinstance(declared, Instance):
        raise reader.fault(f"expected {describe(declared)} as argument, found {describe(passed)}")
    if isinstance(passed, Instantiation):
        passed.belong_to(owner)
    return passed


def described(reader: ByteReader, scope: Scope, name: ExternName) -> tuple[int, Item]:
    """Return sort and item of the description that comes next (`externdesc`)."""
    start = reader.position
    kind = reader.byte()
    match kind:
        case 0x00:
            reader.expect(_CORE_MODULE, "a core module")
            reader.u32()
            return 0x00, Opaque("core module")
        case 0x01:
            item = item_at(reader, scope.types, reader.u32(), "type")
            return 0x01, expect(reader, item, FunctionShape, "a function type").item
        case 0x02:
            if reader.flag():
                typedefs.value_type(reader, scope)
            else:
                reader.u32()
            return 0x02, Opaque("value")
        case 0x03:
            if reader.flag():
                return 0x03, Typed(ResourceType(scope.owner, name.name))
            item = item_at(reader, scope.types, reader.u32(), "type")
            if not isinstance(item, Typed):
                return 0x03, item
            return 0x03, named(reader, scope.owner, name.name, item)
        case 0x04:
            item_at(reader, scope.types, reader.u32(), "type")
            return 0x04, Opaque("component")
        case 0x05:
            item = item_at(reader, scope.types, reader.u32(), "type")
            shape = expect(reader, item, InstanceShape, "an instance type")
            return 0x05, instance_of(reader, shape, name.owner)
        case _:
            raise reader.fault(
                f"expected the sort of an import or export, found {kind:#04x}", start
            )


def sort_byte(reader: ByteReader) -> int:
    """Return the sort that comes next; for core items the second byte is passed."""
    sort = reader.byte()
    if sort not in SORTS:
        raise reader.fault(f"expected a sort, found {sort:#04x}", reader.position - 1)
    if sort == 0x00:
        reader.byte()
    return sort


def alias(reader: ByteReader, scope: Scope, exports_of: ExportsOf) -> None:
    """Read one alias: its item enters the scope."""
    scope.work.spend(reader)
    sort = sort_byte(reader)
    space = scope.space(sort)
    target = reader.byte()
    match target:
        case 0x00:
            instance = item_at(reader, scope.instances, reader.u32(), "instance")
            start = reader.position
            name = reader.name()
            item = exports_of(reader, instance).get(name)
            if item is None:
                raise reader.fault(f"expected an export of the instance, found {name!r}", start)
            if space is not None:
                space.append(of_sort(reader, sort, item))
        case 0x01:
            reader.u32()
            reader.name()
        case 0x02:
            outer = scope.outer(reader, reader.u32()).space(sort)
            index = reader.u32()
            if outer is not None and space is not None:
                space.append(item_at(reader, outer, index, SORTS[sort]))
        case _:
            raise reader.fault(f"expected the target of an alias, found {target:#04x}")


def of_sort(reader: ByteReader, sort: int, item: Item) -> Item:
    """Return an item that must be of a sort, or refuse the binary."""
    match sort:
        case 0x01:
            fits = isinstance(item, FunctionItem)
        case 0x03:
            fits = isinstance(item, Typed | FunctionShape | InstanceShape | Opaque)
        case 0x04:
            fits = isinstance(item, Body | Opaque)
        case 0x05:
            fits = isinstance(item, Instance | Instantiation)
        case _:
            fits = isinstance(item, Opaque)
    if not fits:
        raise reader.fault(f"expected a {SORTS[sort]}, found {describe(item)}")
    return item


def _declared_exports(reader: ByteReader, item: Item) -> Mapping[str, Item]:
    return expect(reader, item, Instance, "an instance").exports
