"""Compiles the conversions of one function, each when it is first used.

A compiled conversion takes what is usual and gives up otherwise; the checking one then accepts the
value after all (a mapping that is no dict, `[case]` without payload) or says what does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hosts.engine.codec.entry_source import write_entry
from hosts.engine.codec.lifting_source import write_lift, write_lift_one
from hosts.engine.codec.lowering_source import write_lower
from hosts.engine.codec.source import Source
from lattice.component.types import (
    Function,
    ListType,
    MapType,
    OptionType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)

MISFITS = (ValueError, TypeError, KeyError, OverflowError, struct.error)
"""What compiled code raises on a value that it does not take."""

PARTS_MAX = 2_000
"""Types in a signature, each counted where it stands: above, compiling takes over 50 ms."""

DEPTH_MAX = 12
"""Types inside each other: Python nests at most 20 loops and 100 indentations."""


def is_compilable(types: Sequence[WitType]) -> bool:
    """Tell whether conversions of these types are worth compiling, and can be."""
    parts = 0
    waiting = [(wit, 1) for wit in types]
    while waiting:
        wit, depth = waiting.pop()
        parts += 1
        if parts > PARTS_MAX or depth > DEPTH_MAX:
            return False
        inner = _inner(wit)
        if inner is None:
            return False
        waiting += [(each, depth + 1) for each in inner]
    return True


def _inner(wit: WitType) -> list[WitType] | None:
    """Return the types that a type is made of; None for one that must not be empty, but is."""
    match structure(wit):
        case RecordType(fields):
            return [field for _, field in fields] or None
        case TupleType(items):
            return list(items) or None
        case VariantType(cases):
            return [payload for _, payload in cases if payload is not None] if cases else None
        case ListType(element, _) | OptionType(element):
            return [element]
        case ResultType(ok, err):
            return [each for each in (ok, err) if each is not None]
        case MapType(key, value):
            return [key, value]
        case _:
            return []


def compile_lower(types: Sequence[WitType], instead: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function from values to their block and what must be kept with it."""
    source = _source(instead)
    write_lower(types, source, "lower", "INSTEAD")
    return source.function("lower")


def compile_lift(types: Sequence[WitType], instead: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function from an address to the list of values there."""
    source = _source(instead)
    write_lift(types, source, "lift", "INSTEAD")
    return source.function("lift")


def compile_lift_one(wit: WitType, instead: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function from an address to the value there."""
    source = _source(instead)
    write_lift_one(wit, source, "lift", "INSTEAD")
    return source.function("lift")


def compile_entry(function: Function, names: Mapping[str, Any]) -> Callable[..., int | None]:
    """Return what runs when a guest calls; see `entry_source.write_entry` for the names."""
    source = Source({"MISFITS": MISFITS, "encode": str.encode, **names})
    write_entry([wit for _, wit in function.params], function.result, source)
    return source.function("enter")


def _source(instead: Callable[..., Any]) -> Source:
    return Source({"INSTEAD": instead, "MISFITS": MISFITS, "encode": str.encode})
