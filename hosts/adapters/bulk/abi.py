"""Sizes, alignments and flat forms of WIT types (component model, Canonical ABI).

Only what the glue of the bulk shim needs: where a part lies in linear memory, and which core
parameter carries it. Pure functions of types.
"""

from __future__ import annotations

from collections.abc import Sequence

from lattice.component.types import (
    EnumType,
    FlagsType,
    ListType,
    MapType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)

FLAT_PARAMS_MAX = 16
"""Core parameters; beyond, all parameters lie in memory as a tuple (Canonical ABI)."""

FLAT_RESULTS_MAX = 1

_PRIMITIVES = {
    "bool": (1, "i32"), "s8": (1, "i32"), "u8": (1, "i32"),
    "s16": (2, "i32"), "u16": (2, "i32"),
    "s32": (4, "i32"), "u32": (4, "i32"), "char": (4, "i32"), "error-context": (4, "i32"),
    "s64": (8, "i64"), "u64": (8, "i64"), "f32": (4, "f32"), "f64": (8, "f64"),
}  # fmt: skip
_SPAN = (8, 4)  # address and count

Cases = Sequence[WitType | None]


def cases_of(wit: WitType) -> Cases | None:
    """Return the payloads of a type that is one of several cases, in order; None for others."""
    match structure(wit):
        case VariantType(cases):
            return [payload for _, payload in cases]
        case EnumType(names):
            return [None] * len(names)
        case OptionType(element):
            return [None, element]
        case ResultType(ok, err):
            return [ok, err]
        case _:
            return None


def members_of(wit: WitType) -> Sequence[WitType] | None:
    """Return the parts of a record or tuple in order; None for others."""
    match structure(wit):
        case RecordType(fields):
            return [field for _, field in fields]
        case TupleType(items):
            return items
        case _:
            return None


def element_of(wit: WitType) -> WitType | None:
    """Return what a list of any length, or a map, consists of; None for others."""
    match structure(wit):
        case ListType(element, None):
            return element
        case MapType(key, value):
            return TupleType((key, value))
        case _:
            return None


def size_and_align(wit: WitType) -> tuple[int, int]:
    """Return the bytes that a value takes in linear memory, and its alignment."""
    plain = structure(wit)
    cases = cases_of(plain)
    if cases is not None:
        start = payload_offset(cases)
        sizes = [size_and_align(each) for each in cases if each is not None]
        align = max([align for _, align in sizes] + [_discriminant_size(cases)])
        return _aligned(start + max([size for size, _ in sizes], default=0), align), align
    members = members_of(plain)
    if members is not None:
        sizes = [size_and_align(each) for each in members]
        end, align = 0, 1
        for size, member_align in sizes:
            end = _aligned(end, member_align) + size
            align = max(align, member_align)
        return _aligned(end, align), align
    match plain:
        case Primitive("string") | MapType() | ListType(_, None):
            return _SPAN
        case Primitive(name):
            size = _PRIMITIVES[name][0]
            return size, size
        case ListType(element, int() as length):
            size, align = size_and_align(element)
            return size * length, align
        case FlagsType(names):
            size = 1 if len(names) <= 8 else 2 if len(names) <= 16 else 4
            return size, size
        case _:
            return 4, 4  # handles


def member_offsets(members: Sequence[WitType]) -> list[int]:
    """Return where each member of a record or tuple starts."""
    offsets: list[int] = []
    end = 0
    for each in members:
        size, align = size_and_align(each)
        offsets.append(_aligned(end, align))
        end = offsets[-1] + size
    return offsets


def payload_offset(cases: Cases) -> int:
    """Return where the payload of a variant starts."""
    aligns = [size_and_align(each)[1] for each in cases if each is not None]
    return _aligned(_discriminant_size(cases), max(aligns, default=1))


def discriminant_load(cases: Cases) -> str:
    """Return the instruction that loads the number of the case."""
    return {1: "i32.load8_u", 2: "i32.load16_u", 4: "i32.load"}[_discriminant_size(cases)]


def flat_types(wit: WitType) -> list[str]:
    """Return the core types that carry a value as parameters."""
    plain = structure(wit)
    cases = cases_of(plain)
    if cases is not None:
        joined: list[str] = []
        for each in cases:
            for index, core in enumerate(flat_types(each) if each is not None else ()):
                if index == len(joined):
                    joined.append(core)
                elif joined[index] != core:
                    both = {joined[index], core}
                    joined[index] = "i32" if both == {"i32", "f32"} else "i64"
        return ["i32", *joined]
    members = members_of(plain)
    if members is not None:
        return [core for each in members for core in flat_types(each)]
    match plain:
        case Primitive("string") | MapType() | ListType(_, None):
            return ["i32", "i32"]
        case Primitive(name):
            return [_PRIMITIVES[name][1]]
        case ListType(element, int() as length):
            return flat_types(element) * length
        case _:
            return ["i32"]  # flags and handles


def _discriminant_size(cases: Cases) -> int:
    return 1 if len(cases) <= 1 << 8 else 2 if len(cases) <= 1 << 16 else 4


def _aligned(offset: int, align: int) -> int:
    return (offset + align - 1) // align * align
