"""Types and functions as WIT writes them where they are used (component model, `WIT.md`).

Whole packages are written by `wit_text`; nothing here decides whether two types are equal.
"""

from __future__ import annotations

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


def identifier(name: str) -> str:
    """Return a name as it stands in WIT text."""
    return f"%{name}" if name in KEYWORDS else name


def function_signature(name: str, function: Function) -> str:
    """Return one line such as `search: func(query: string, limit: u32) -> list<hit>`."""
    return f"{identifier(name)}: {function_type(function)}"


def function_type(function: Function) -> str:
    """Return a function's type such as `func(query: string) -> list<hit>`."""
    params = ", ".join(f"{identifier(name)}: {type_text(wit)}" for name, wit in function.params)
    result = "" if function.result is None else f" -> {type_text(function.result)}"
    return f"{'async ' if function.is_async else ''}func({params}){result}"


def type_text(wit: WitType) -> str:
    """Return a type as WIT writes it in a signature.

    Named types stand by their names. Records and other types that WIT allows only under a name
    are written out in braces when they have none; that form is for people.
    """
    match wit:
        case NamedType(name=name) | ResourceType(name=name):
            return identifier(name)
        case Primitive(name):
            return name
        case OwnType(resource):
            return identifier(resource.name)
        case BorrowType(resource):
            return f"borrow<{identifier(resource.name)}>"
        case OptionType(element):
            return f"option<{type_text(element)}>"
        case ListType(element, length):
            size = "" if length is None else f", {length}"
            return f"list<{type_text(element)}{size}>"
        case TupleType(items):
            return f"tuple<{', '.join(map(type_text, items))}>"
        case MapType(key, value):
            return f"map<{type_text(key)}, {type_text(value)}>"
        case ResultType(ok, err):
            return _result_text(ok, err)
        case StreamType(element):
            return "stream" if element is None else f"stream<{type_text(element)}>"
        case FutureType(element):
            return "future" if element is None else f"future<{type_text(element)}>"
        case RecordType() | VariantType() | EnumType() | FlagsType():
            return f"{keyword_of(wit)} {{ {', '.join(member_lines(wit))} }}"


def keyword_of(wit: RecordType | VariantType | EnumType | FlagsType) -> str:
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


def member_lines(wit: RecordType | VariantType | EnumType | FlagsType) -> list[str]:
    """Return the fields, cases or flags of a type as WIT writes them, in order."""
    match wit:
        case RecordType(fields):
            return [f"{identifier(name)}: {type_text(part)}" for name, part in fields]
        case VariantType(cases):
            return [
                identifier(name) if part is None else f"{identifier(name)}({type_text(part)})"
                for name, part in cases
            ]
        case EnumType(names) | FlagsType(names):
            return [identifier(name) for name in names]


def _result_text(ok: WitType | None, err: WitType | None) -> str:
    if err is None:
        return "result" if ok is None else f"result<{type_text(ok)}>"
    return f"result<{'_' if ok is None else type_text(ok)}, {type_text(err)}>"
