"""How a WIT type is defined in WAT, one level deep. Text only; scopes are the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hosts.engine.frames import FRAME
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

Word = Callable[[WitType], str]
"""Returns what stands for a type inside another: a primitive's name or an identifier."""

_ESCAPED = {
    byte: f"\\{byte:02x}" for byte in range(256) if not 0x20 <= byte < 0x7F or byte in b'"\\'
}
"""Bytes that do not stand for themselves in a WAT string, and what is written for them."""


def quote(name: str) -> str:
    """Return a name as a WAT string; whatever it holds cannot end the string."""
    return '"' + "".join([_ESCAPED.get(byte) or chr(byte) for byte in name.encode()]) + '"'


def primitive(wit: Primitive) -> str:
    """Return the word for a type without parts; a frame is a string."""
    return "string" if wit == FRAME else wit.name


def definition(wit: WitType, word: Word) -> str:
    """Return the definition of a type; `word` is asked for each of its parts before."""
    match wit:
        case Primitive():
            return primitive(wit)
        case RecordType(fields):
            return f"(record {_members('field', fields, word)})"
        case VariantType(cases):
            return f"(variant {_members('case', cases, word)})"
        case EnumType(names):
            return f"(enum {' '.join(map(quote, names))})"
        case FlagsType(names):
            return f"(flags {' '.join(map(quote, names))})"
        case OwnType(resource):
            return f"(own {word(resource)})"
        case BorrowType(resource):
            return f"(borrow {word(resource)})"
        case NamedType() | ResourceType():
            return word(wit)
        case _:
            return f"({_generic(wit, word)})"


def signature(function: Function, word: Word) -> str:
    """Return a function's type as it stands behind `func`."""
    words = ["async"] if function.is_async else []
    words += [f"(param {quote(name)} {word(wit)})" for name, wit in function.params]
    if function.result is not None:
        words.append(f"(result {word(function.result)})")
    return " ".join(words)


def _generic(wit: WitType, word: Word) -> str:
    match wit:
        case TupleType(items):
            return f"tuple{_words(items, word)}"
        case ListType(element, length):
            size = "" if length is None else f" {length}"
            return f"list{_words([element], word)}{size}"
        case OptionType(element):
            return f"option{_words([element], word)}"
        case MapType(key, value):
            return f"map{_words([key, value], word)}"
        case StreamType(item):
            return f"stream{_words([item], word)}"
        case FutureType(item):
            return f"future{_words([item], word)}"
        case ResultType(ok, err):
            error = "" if err is None else f" (error{_words([err], word)})"
            return f"result{_words([ok], word)}{error}"
        case _:
            raise AssertionError(f"{type(wit).__name__} is no generic type")


def _words(types: Iterable[WitType | None], word: Word) -> str:
    return "".join([f" {word(wit)}" for wit in types if wit is not None])


def _members(kind: str, members: Iterable[tuple[str, WitType | None]], word: Word) -> str:
    return " ".join([f"({kind} {quote(name)}{_words([wit], word)})" for name, wit in members])
