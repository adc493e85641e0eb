"""How much a component asks of whoever instantiates it, as far as its binary tells at a glance.

Reads the core modules in it, as far as their tables; knows nothing of limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from lattice.component.binary import ByteReader

_PREAMBLE_BYTES = 8
_CORE_MODULE_SECTION, _COMPONENT_SECTION, _TABLE_SECTION = 1, 4, 4
_HAS_MAXIMUM = 0x01
_PLAIN_REFERENCES = frozenset({0x6F, 0x70})  # externref, funcref


@dataclass(slots=True)
class Extent:
    """What was found in a component and all that are nested in it."""

    core_modules: int = 0
    has_large_table: bool = False  # that may have more elements than was asked for; or in doubt


def look_into(body: bytes, table_elements: int) -> Extent:
    """Return what is in a valid component; tables of more elements than these are large.

    Raises:
        InvalidError: the bytes are no component.
    """
    extent = Extent()
    _look(ByteReader(body, _PREAMBLE_BYTES, len(body)), table_elements, extent)
    return extent


def _look(reader: ByteReader, table_elements: int, extent: Extent) -> None:
    while reader.position < reader.end:
        section, size = reader.byte(), reader.count()
        inner = ByteReader(reader.data, reader.position + _PREAMBLE_BYTES, reader.position + size)
        if section == _CORE_MODULE_SECTION:
            extent.core_modules += 1
            extent.has_large_table |= _has_large_table(inner, table_elements)
        elif section == _COMPONENT_SECTION:
            _look(inner, table_elements, extent)
        reader.position += size


def _has_large_table(reader: ByteReader, table_elements: int) -> bool:
    while reader.position < reader.end:
        section, size = reader.byte(), reader.count()
        start = reader.position
        if section == _TABLE_SECTION:
            return any(_is_large(reader, table_elements) for _ in range(reader.count()))
        reader.position = start + size
    return False


def _is_large(reader: ByteReader, table_elements: int) -> bool:
    if reader.byte() not in _PLAIN_REFERENCES:
        return True  # a type, or a table with an initialiser: no toolchain makes them
    if reader.byte() != _HAS_MAXIMUM:
        return True
    reader.u32()
    return reader.u32() > table_elements
