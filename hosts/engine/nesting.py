"""Whether a component can be nested in another one without wasmtime's validator failing.

wasmparser 0.258 (wasmtime 49) panics, which ends the process, when a nested component is
instantiated whose imports share one instance type that has named types. Toolchains write a type
for each import; text written by hand may not.
"""

from __future__ import annotations

from collections import defaultdict

from lattice.component.binary import ByteReader
from lattice.component.declarations import extern_name
from lattice.component.types import ComponentType

_IMPORT_SECTION = 10
_PREAMBLE_BYTES = 8


def imports_of_one_type(body: bytes, component: ComponentType) -> tuple[str, ...]:
    """Return the imports that share their type, and the types named in it, with another one.

    Raises:
        InvalidError: the bytes are no component.
    """
    sharing: defaultdict[int, list[str]] = defaultdict(list)
    reader = ByteReader(body, _PREAMBLE_BYTES, len(body))
    while reader.position < reader.end:
        section = reader.byte()
        size = reader.count()
        start = reader.position
        if section == _IMPORT_SECTION:
            for _ in range(reader.count()):
                name, index = _import(reader)
                if name and name in component.imports and component.imports[name].types:
                    sharing[index].append(name)
        reader.position = start + size
    return tuple(name for names in sharing.values() if len(names) > 1 for name in names)


def _import(reader: ByteReader) -> tuple[str, int]:
    """Return the name and the type of an imported instance; `""` for other imports."""
    name = extern_name(reader).name
    match reader.byte():
        case 0x05:
            return name, reader.u32()
        case 0x00:
            reader.byte()
            reader.u32()
        case 0x01 | 0x04:
            reader.u32()
        case 0x03:
            if reader.byte() == 0x00:
                reader.u32()
        case other:
            raise reader.fault(f"expected the sort of an import, found {other:#04x}")
    return "", 0
