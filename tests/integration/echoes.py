"""Components that return values of given types as they are, by themselves and through the host.

For each type, `echo-N` returns its argument, and `relay-N` what the host's `turn-N` made of it when
it was called `TURNS` times in a row. Values are wrapped (`wrapped`), so that arguments and results
lie in memory whatever their type is, and no instruction of the guest depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hosts.engine.type_text import definition, quote
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
)

TURNS = 5
HOST = "host"
PADDING = (Primitive("u8"),) * 17
"""More values than a function takes as numbers (16): then all of them lie in memory."""


def wrapped(value: Any) -> list[Any]:
    """Return a value as the functions take and return it."""
    return [value, *range(len(PADDING))]


def component(types: Sequence[WitType]) -> str:
    """Return the component for some types, as text."""
    names = _Names()
    wraps = [names.of(TupleType((wit, *PADDING))) for wit in types]
    functions = [
        f"""
  (alias export $host "turn-{index}" (func $turn-{index}))
  (core func $turn-{index} (canon lower (func $turn-{index}) (memory $memory) (realloc $realloc)))
  (core module $relay-{index} (import "libc" "memory" (memory 1))
    (import "libc" "turn" (func $turn (param i32 i32)))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (func (export "relay") (param $value i32) (result i32) (local $answer i32) (local $left i32)
      (local.set $left (i32.const {TURNS}))
      (local.set $answer (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 4096)))
      (loop $again
        (call $turn (local.get $value) (local.get $answer))
        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (local.get $answer)))
  (core instance $relay-{index} (instantiate $relay-{index} (with "libc" (instance
    (export "memory" (memory $memory)) (export "realloc" (func $realloc))
    (export "turn" (func $turn-{index}))))))
  (func (export "echo-{index}") (param "v" {wrap}) (result {wrap})
    (canon lift (core func $libc "same") (memory $memory) (realloc $realloc)
      (post-return (core func $libc "done"))))
  (func (export "relay-{index}") (param "v" {wrap}) (result {wrap})
    (canon lift (core func $relay-{index} "relay") (memory $memory) (realloc $realloc)
      (post-return (core func $libc "done"))))"""
        for index, wrap in enumerate(wraps)
    ]
    imports = [
        f'\n    (export "turn-{index}" (func (param "v" {wrap}) (result {wrap})))'
        for index, wrap in enumerate(wraps)
    ]
    return f"""(component
  (import "{HOST}" (instance $host{names.inner}{"".join(imports)}))
  (core module $libc
    (memory (export "memory") 64)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $was i32) (param i32) (param $size i32)
      (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    (func (export "done") (param i32) (global.set $next (i32.const 4096)))
    (func (export "same") (param i32) (result i32) (local.get 0)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc)){names.outer}{"".join(functions)}
)"""


class _Names:
    """Names every type, as an export of the host's instance where WIT wants a name."""

    def __init__(self) -> None:
        self._known: dict[WitType, str] = {}
        self.inner = ""  # definitions in the instance
        self.outer = ""  # the same in the component

    def of(self, wit: WitType) -> str:
        """Return what stands for a type in the instance."""
        if isinstance(wit, Primitive):
            return wit.name
        if wit not in self._known:
            text = definition(wit, self.of)
            name = f"t{len(self._known)}"
            self._known[wit] = f"${name}"
            self.inner += f"\n    (type ${name} {text})"
            if isinstance(wit, RecordType | VariantType | EnumType | FlagsType):
                self.inner = self.inner.replace(f"(type ${name} ", f"(type ${name}-shape ")
                self.inner += f"\n    (export {quote(name)} (type ${name} (eq ${name}-shape)))"
                self.outer += f"\n  (alias export $host {quote(name)} (type ${name}-inner))"
                self.outer += f"\n  (import {quote(name)} (type ${name} (eq ${name}-inner)))"
            else:
                self.outer += f"\n  (type ${name} {text})"
        return self._known[wit]


def families() -> dict[str, tuple[WitType, Any]]:
    """Return by name one type of each kind, with a value of it that needs memory if any does."""
    text, number = Primitive("string"), Primitive("u32")
    long, name = "long text " * 16, "long-name-" * 12  # anything forgotten is seen in the memory
    point = RecordType((("x", number), ("label", text), ("note", OptionType(text))))
    place = {"x": 7, "label": long, "note": long}
    numbers = TupleType(
        tuple(map(Primitive, ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64")))
    )
    nested: WitType = text
    for _ in range(4):
        nested = OptionType(nested)
    return {
        "numbers": (numbers, [255, -128, 65535, -32768, 1, -1, 2**64 - 1, -(2**63), 0.5, -1e300]),
        "bool and char": (TupleType((Primitive("bool"), Primitive("char"))), [True, "\U0001f980"]),
        "string": (text, long),
        "long string": (text, long * 40),
        "list of numbers": (ListType(number), list(range(9))),
        "long list of numbers": (ListType(Primitive("s16")), list(range(-20, 20))),
        "bytes": (ListType(Primitive("u8")), bytes(range(60))),
        "list of strings": (ListType(text), [long, "", "x"]),
        "list of records": (ListType(point), [place, {**place, "note": None}]),
        "record": (point, place),
        "tuple": (TupleType((text, point)), [long, place]),
        "variant": (
            VariantType((("none", None), (f"{name}a", text), (f"{name}b", point))),
            [f"{name}b", place],
        ),
        "variant of names": (VariantType((("a", None), (f"{name}b", None))), [f"{name}b", None]),
        "enum": (EnumType(("red", f"{name}green")), f"{name}green"),
        "flags": (
            FlagsType(tuple(f"{name}f{i}" for i in range(32))),
            [f"{name}f{i}" for i in (0, 1, 31)],
        ),
        "option": (OptionType(text), long),
        "nested option": (nested, [[[long]]]),
        "empty inside": (nested, [[None]]),
        "result": (ResultType(text, point), ["err", place]),
        "result without payloads": (ResultType(None, None), ["err", None]),
        "map": (MapType(text, point), {long: place, "x": place}),
        "all empty": (
            TupleType(
                (
                    text,
                    ListType(number),
                    ListType(point),
                    ListType(Primitive("u8")),
                    FlagsType(("a", "b")),
                    MapType(text, point),
                )
            ),
            ["", [], [], b"", [], {}],
        ),
    }
