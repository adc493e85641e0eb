"""One view of all types: a head that says what a type is, and its labelled parts.

For whoever treats every kind of type alike, such as fingerprints and comparisons.
"""

from __future__ import annotations

from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FutureType,
    ListType,
    MapType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.model.wit import interface_key

Part = tuple[str, WitType | None]
"""A part's label, and its type; None where a case has no payload."""

_HEADS: dict[type[WitType], str] = {
    RecordType: "record",
    VariantType: "variant",
    EnumType: "enum",
    FlagsType: "flags",
    TupleType: "tuple",
    ListType: "list",
    OptionType: "option",
    ResultType: "result",
    MapType: "map",
    StreamType: "stream",
    FutureType: "future",
    OwnType: "own",
    BorrowType: "borrow",
    NamedType: "type",
}


def head(wit: WitType) -> str:
    """Return what a type is without its parts, such as `u32`, `record` or `list[4]`.

    A resource is known by its interface (base and semver track) and its name.
    """
    match wit:
        case Primitive(name):
            return name
        case ResourceType(interface, name):
            return f"resource {interface_key(interface)}#{name}"
        case ListType(_, int() as length):
            return f"list[{length}]"
        case _:
            return _HEADS[type(wit)]


def parts(wit: WitType) -> tuple[Part, ...]:
    """Return the parts of a type in order; types are equal when heads and parts are."""
    match wit:
        case RecordType(members) | VariantType(members):
            return tuple(members)
        case EnumType(names) | FlagsType(names):
            return tuple((name, None) for name in names)
        case TupleType(items):
            return tuple((str(index), item) for index, item in enumerate(items))
        case ListType(element) | OptionType(element) | StreamType(element) | FutureType(element):
            return (("element", element),)
        case ResultType(ok, err):
            return (("ok", ok), ("err", err))
        case MapType(key, value):
            return (("key", key), ("value", value))
        case OwnType(resource) | BorrowType(resource):
            return (("resource", resource),)
        case NamedType(_, name, target):
            return ((name, target),)
        case Primitive() | ResourceType():
            return ()
