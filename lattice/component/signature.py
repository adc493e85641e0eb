"""Types and functions as WIT writes them where they are used (component model, `WIT.md`).

Whole packages are written by `wit_text`; nothing here decides whether two types are equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    Function,
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

KEYWORDS = frozenset(
    {
        "as", "async", "bool", "borrow", "char", "constructor", "enum", "error-context", "export",
        "external-id", "f32", "f64", "flags", "from", "func", "future", "import", "include",
        "interface", "list", "map", "option", "own", "package", "record", "resource", "result",
        "s16", "s32", "s64", "s8", "static", "stream", "string", "tuple", "type", "u16", "u32",
        "u64", "u8", "use", "variant", "with", "world",
    }
)  # fmt: skip
"""Words that WIT reads as its own unless `%` stands before them."""

MemberType = RecordType | VariantType | EnumType | FlagsType
"""Types that WIT allows only under a name."""

LocalNames = Mapping[tuple[str, str], str]
"""(interface, name) of a type -> its name where the text stands, when that is another one."""

_AS_DEFINED: LocalNames = {}


def identifier(name: str) -> str:
    """Return a name as it stands in WIT text."""
    return f"%{name}" if name in KEYWORDS else name


def function_signature(name: str, function: Function, local: LocalNames = _AS_DEFINED) -> str:
    """Return one line such as `search: func(query: string, limit: u32) -> list<hit>`."""
    return f"{identifier(name)}: {function_type(function, local)}"


def function_type(function: Function, local: LocalNames = _AS_DEFINED) -> str:
    """Return a function's type such as `func(query: string) -> list<hit>`."""
    result = "" if function.result is None else f" -> {type_text(function.result, local)}"
    params = parameters(function.params, local)
    return f"{'async ' if function.is_async else ''}func({params}){result}"


def parameters(params: tuple[tuple[str, WitType], ...], local: LocalNames = _AS_DEFINED) -> str:
    """Return parameters such as `query: string, limit: u32`."""
    return ", ".join(f"{identifier(name)}: {type_text(wit, local)}" for name, wit in params)


def type_text(wit: WitType, local: LocalNames = _AS_DEFINED) -> str:
    """Return a type as WIT writes it in a signature.

    Named types stand by their names. Records and other types that WIT allows only under a name
    are written out in braces when they have none; that form is for people.
    """
    match wit:
        case NamedType(interface, name) | ResourceType(interface, name):
            return identifier(local.get((interface, name), name))
        case Primitive(name):
            return name
        case OwnType(resource):
            return type_text(resource, local)
        case BorrowType(inner) | OptionType(inner):
            word = "borrow" if isinstance(wit, BorrowType) else "option"
            return f"{word}<{type_text(inner, local)}>"
        case ListType(element, length):
            size = "" if length is None else f", {length}"
            return f"list<{type_text(element, local)}{size}>"
        case TupleType(items):
            return f"tuple<{', '.join(type_text(item, local) for item in items)}>"
        case MapType(key, value):
            return f"map<{type_text(key, local)}, {type_text(value, local)}>"
        case ResultType(ok, err):
            return _result_text(ok, err, local)
        case StreamType(element) | FutureType(element):
            word = "stream" if isinstance(wit, StreamType) else "future"
            return word if element is None else f"{word}<{type_text(element, local)}>"
        case RecordType() | VariantType() | EnumType() | FlagsType():
            return f"{keyword_of(wit)} {{ {', '.join(member_lines(wit, local))} }}"


def keyword_of(wit: MemberType) -> str:
    """Return the word that begins the definition of such a type."""
    match wit:
        case RecordType():
            return "record"
        case VariantType():
            return "variant"
        case EnumType():
            return "enum"
        case FlagsType():
            return "flags"


def member_lines(wit: MemberType, local: LocalNames = _AS_DEFINED) -> list[str]:
    """Return the fields, cases or flags of a type as WIT writes them, in order."""
    match wit:
        case RecordType(fields):
            return [f"{identifier(name)}: {type_text(part, local)}" for name, part in fields]
        case VariantType(cases):
            return [
                identifier(name)
                if part is None
                else f"{identifier(name)}({type_text(part, local)})"
                for name, part in cases
            ]
        case EnumType(names) | FlagsType(names):
            return [identifier(name) for name in names]


def _result_text(ok: WitType | None, err: WitType | None, local: LocalNames) -> str:
    if err is None:
        return "result" if ok is None else f"result<{type_text(ok, local)}>"
    return f"result<{'_' if ok is None else type_text(ok, local)}, {type_text(err, local)}>"
