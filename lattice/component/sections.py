"""Component bodies: the sections of a binary, and instances of the components nested in it.

Core modules and custom sections are passed by their length; nested components are read only when
an export of an instance of theirs is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lattice.component.binary import ByteReader
from lattice.component.canonical import canonical_function
from lattice.component.declarations import (
    alias,
    declare,
    described,
    extern_name,
    of_sort,
    sort_byte,
    type_definition,
)
from lattice.component.naming import own_types
from lattice.component.scopes import (
    BYTES_OF_WORK,
    SORTS,
    Body,
    Instance,
    Instantiation,
    Item,
    Opaque,
    Scope,
    Typed,
    describe,
    item_at,
    named,
)

PREAMBLE = b"\0asm\x0d\0\x01\0"
"""Magic number, version and layer of a component."""

DOCS_SECTION = "package-docs"
"""The custom section in which the component tools keep documentation."""

_NO_ARGUMENTS: Mapping[str, Item] = {}


def read_body(
    reader: ByteReader, scope: Scope, arguments: Mapping[str, Item] = _NO_ARGUMENTS
) -> tuple[int, int]:
    """Read all sections up to the reader's end into the scope.

    `arguments` stand in for the imports of the same name. Returns start and end of the payload of
    the section `DOCS_SECTION`, (0, 0) when there is none.
    """
    scope.work.enter(reader)
    docs = (0, 0)
    while reader.position < reader.end:
        scope.work.spend(reader)
        start = reader.position
        section = reader.byte()
        size = reader.u32()
        end = reader.position + size
        if end > reader.end:
            left = reader.end - reader.position
            raise reader.fault(f"expected a section of at most {left} bytes, found {size}", start)
        if section == 0x00:
            content = ByteReader(reader.data, reader.position, end)
            if content.name() == DOCS_SECTION:
                docs = (content.position, end)
        elif section == 0x04:
            scope.components.append(_nested(reader, end, scope))
        elif section in _READ_ITEM:
            content = ByteReader(reader.data, reader.position, end)
            _section(content, section, scope, arguments)
        elif section not in _PASSED:
            raise reader.fault(f"expected a section, found id {section:#04x}", start)
        reader.position = end
    scope.work.nesting -= 1
    return docs


def _nested(reader: ByteReader, end: int, scope: Scope) -> Body:
    start = reader.position
    if end - start < len(PREAMBLE) or not reader.data.startswith(PREAMBLE, start):
        raise reader.fault("expected a nested component, found other bytes", start)
    return Body(start + len(PREAMBLE), end, scope)


def _section(reader: ByteReader, section: int, scope: Scope, arguments: Mapping[str, Item]) -> None:
    scope.work.spend(reader, (reader.end - reader.position) // BYTES_OF_WORK)
    count = reader.count()
    if section == 0x0A:
        for _ in range(count):
            declare(reader, scope, scope.imports, arguments)
    else:
        read = _READ_ITEM[section]
        for _ in range(count):
            read(reader, scope)
    if reader.position != reader.end:
        raise reader.fault(f"expected the end of section {section:#04x}, found more bytes")


def exports_of(reader: ByteReader, item: Item) -> Mapping[str, Item]:
    """Return what an instance exports; a nested component is read for it, once.

    Raises:
        InvalidError: the item is no instance, or its component is malformed.
    """
    match item:
        case Instance(exports=exports):
            return exports
        case Instantiation(instance=Instance(exports=exports)):
            return exports
        case Instantiation(body=body, arguments=arguments, owner=owner):
            scope = Scope(body.scope.work, body.scope, owner)
            read_body(ByteReader(reader.data, body.offset, body.end), scope, arguments)
            item.instance = Instance(scope.exports)
            return scope.exports
        case _:
            raise reader.fault(f"expected an instance, found {describe(item)}")


def _type(reader: ByteReader, scope: Scope) -> None:
    scope.types.append(type_definition(reader, scope))


def _alias(reader: ByteReader, scope: Scope) -> None:
    alias(reader, scope, exports_of)


def _instance(reader: ByteReader, scope: Scope) -> None:
    scope.work.spend(reader)
    start = reader.position
    form = reader.byte()
    if form > 0x01:
        raise reader.fault(f"expected an instance, found {form:#04x}", start)
    if form == 0x01:
        exports = _items(reader, scope, lambda: extern_name(reader).name)
        scope.instances.append(Instance(exports, is_inline=True))
        return
    component = item_at(reader, scope.components, reader.u32(), "component")
    if not isinstance(component, Body):
        # An imported component: what an instance of it exports is known only to who passes it.
        raise reader.fault(
            "expected a nested component, found an imported one, which is not supported"
        )
    arguments = _items(reader, scope, reader.name)
    scope.instances.append(Instantiation(component, arguments))


def _items(reader: ByteReader, scope: Scope, read_name: Callable[[], str]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for _ in range(reader.count()):
        scope.work.spend(reader)
        name = read_name()
        found[name] = _item(reader, scope)
    return found


def _item(reader: ByteReader, scope: Scope) -> Item:
    """Return the item that a sort and an index name (`sortidx`)."""
    sort = sort_byte(reader)
    index = reader.u32()
    space = scope.space(sort)
    return Opaque(SORTS[sort]) if space is None else item_at(reader, space, index, SORTS[sort])


def _export(reader: ByteReader, scope: Scope) -> None:
    scope.work.spend(reader)
    start = reader.position
    name = extern_name(reader)
    sort = sort_byte(reader)
    index = reader.u32()
    space = scope.space(sort)
    item: Item = Opaque(SORTS[sort])
    if space is not None:
        item = item_at(reader, space, index, SORTS[sort])
    if reader.flag():
        _, item = described(reader, scope, name)
        of_sort(reader, sort, item)
    elif isinstance(item, Typed):
        item = named(reader, scope.owner, name.name, item)
    elif isinstance(item, Instantiation):
        item.belong_to(name.owner)
    elif isinstance(item, Instance) and item.is_inline:
        item = own_types(reader, item, name.owner)
    if name.name in scope.exports:
        raise reader.fault(f"expected names to differ, found {name.name!r} twice", start)
    scope.exports[name.name] = item
    if name.implements:
        scope.labels[name.name] = name.implements
    if space is not None:
        space.append(item)


_READ_ITEM = {
    0x05: _instance,
    0x06: _alias,
    0x07: _type,
    0x08: canonical_function,
    0x0A: _export,  # imports have their own reader, see `_section`
    0x0B: _export,
}

_PASSED = frozenset({0x01, 0x02, 0x03, 0x09, 0x0C})
"""Core modules, core instances, core types, start and values: none of them names an interface."""
