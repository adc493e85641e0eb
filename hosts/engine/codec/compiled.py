"""Compiles the conversions of one function, each when it is first used.

A compiled conversion takes what is usual and gives up otherwise; the checking one then accepts the
value after all (a mapping that is no dict, `[case]` without payload) or says what does not fit.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hosts.engine import ffi
from hosts.engine.codec import spans
from hosts.engine.codec.attempt_source import Plan, write_attempt
from hosts.engine.codec.entry_source import write_entry
from hosts.engine.codec.handles import TABLES, release, undo
from hosts.engine.codec.lifting_source import write_lift, write_lift_one
from hosts.engine.codec.lowering_source import write_lower
from hosts.engine.codec.source import Source
from hosts.engine.layout import UnfitValueError
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

MISFITS = (ValueError, TypeError, KeyError, OverflowError, struct.error, UnfitValueError)
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


def compile_lower(
    types: Sequence[WitType], instead: Callable[..., Any], *, records: bool = False
) -> Callable[..., Any]:
    """Return the function from values to their block and what must be kept with it."""
    source = _source(instead)
    write_lower(types, source, "lower", "INSTEAD", records)
    return source.function("lower")


def compile_lift(
    types: Sequence[WitType], instead: Callable[..., Any], *, records: bool
) -> Callable[..., Any]:
    """Return the function from an address to the list of values there."""
    source = _source(instead)
    write_lift(types, source, "lift", "INSTEAD", records)
    return source.function("lift")


def compile_lift_one(
    wit: WitType, instead: Callable[..., Any], *, records: bool
) -> Callable[..., Any]:
    """Return the function from an address to the value there."""
    source = _source(instead)
    write_lift_one(wit, source, "lift", "INSTEAD", records)
    return source.function("lift")


def compile_entry(
    function: Function, names: Mapping[str, Any], *, records: bool = False
) -> Callable[..., int | None]:
    """Return what runs when a guest calls; see `entry_source.write_entry` for the names."""
    source = Source({**_NAMES, **names})
    result = function.result
    write_entry(
        [wit for _, wit in function.params],
        result,
        source,
        lowers_result=result is not None and is_compilable([result]),
        records=records,
    )
    return source.function("enter")


@functools.cache
def generic_attempt(has_result: bool, holds_memory: bool) -> Callable[..., Any]:
    """Return what binds calls to an instance, with all conversions done by the codec."""
    return compile_attempt(
        Plan(
            params=None,
            result=None,
            has_result=has_result,
            holds_memory=holds_memory,
            records=False,
        ),
        None,
        None,
    )


def compile_attempt(
    plan: Plan, lower: Callable[..., Any] | None, lift: Callable[..., Any] | None
) -> Callable[..., Any]:
    """Return what binds calls of a function to an instance; see `attempt_source.write_attempt`.

    `lower` and `lift` convert what compiled code does not take.
    """
    source = Source({**_NAMES, "LOWER": lower, "LIFT": lift})
    write_attempt(plan, source)
    return source.function("bind")


_NAMES: Mapping[str, Any] = {
    "MISFITS": MISFITS,
    "TABLES": TABLES,
    "TEXT": spans.TEXT,
    "begin": ffi.func_call_async,
    "byte_vec_new": ffi.byte_vec_new,
    "count": ffi.count,
    "delete": ffi.call_future_delete_held,
    "encode": str.encode,
    "lift_handle": TABLES.lift,
    "lower_handle": TABLES.lower,
    "new": object.__new__,
    "passed": ffi.passed,
    "poll": ffi.call_future_poll_held,
    "release": release,
    "undo": undo,
    "val_clone": ffi.val_clone_held,
    "val_delete": ffi.val_delete_held,
}
"""What generated code calls."""


def _source(instead: Callable[..., Any]) -> Source:
    return Source({**_NAMES, "INSTEAD": instead})
