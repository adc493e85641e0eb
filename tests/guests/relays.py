"""Components of random types that pass each call on: what comes back is what was sent.

A relay imports an interface and exports another with the same functions, each of which takes a
value and returns one of the same type. Types and values come from a `random.Random`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from wasmtime import wat2wasm

from hosts.adapters.bulk.abi import size_and_align
from hosts.adapters.bulk.glue import core_type
from hosts.engine.merging import Wanted
from hosts.engine.skeleton import build_skeleton
from hosts.engine.type_text import definition, quote
from lattice.component.types import (
    EnumType,
    FlagsType,
    Function,
    ListType,
    MapType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)

BYTES = ListType(Primitive("u8"))

_SCALARS = {
    "u8": (0, 2**8 - 1), "s8": (-(2**7), 2**7 - 1), "u16": (0, 2**16 - 1), "s32": (-(2**31), 7),
    "u64": (0, 2**64 - 1), "s64": (-(2**63), 2**63 - 1),
}  # fmt: skip


class Types:
    """Random types of one interface; records and the like are named there."""

    def __init__(self, interface: str, seed: int) -> None:
        self.interface = interface
        self.named: dict[str, WitType] = {}
        self._random = random.Random(seed)

    def make(self, depth: int) -> WitType:
        """Return a type with at most so many types inside each other."""
        choose = self._random
        if depth == 0 or choose.random() < 0.2:
            if choose.random() < 0.5:
                return BYTES
            return Primitive(choose.choice([*_SCALARS, "bool", "f64", "string", "char"]))
        kind = choose.choice(
            ["record", "variant", "enum", "flags", "tuple", "list", "option", "result", "map"]
        )
        many = choose.randint(1, 4)
        match kind:
            case "record":
                fields = tuple((f"field{i}", self.make(depth - 1)) for i in range(many))
                return self._name(RecordType(fields))
            case "variant":
                cases = tuple((f"case{i}", self._maybe(depth - 1)) for i in range(many))
                return self._name(VariantType(cases))
            case "enum":
                return self._name(EnumType(tuple(f"name{i}" for i in range(many))))
            case "flags":
                return self._name(FlagsType(tuple(f"flag{i}" for i in range(many * 5))))
            case "tuple":
                return TupleType(tuple(self.make(depth - 1) for _ in range(many)))
            case "list":
                return ListType(self.make(depth - 1))
            case "option":
                return OptionType(self.make(depth - 1))
            case "map":
                return MapType(Primitive("string"), self.make(depth - 1))
            case _:
                return ResultType(self._maybe(depth - 1), self._maybe(depth - 1))

    def _maybe(self, depth: int) -> WitType | None:
        return self.make(depth) if self._random.random() < 0.8 else None

    def _name(self, wit: WitType) -> NamedType:
        name = f"type{len(self.named)}"
        named = self.named[name] = NamedType(self.interface, name, wit)
        return named


def value(wit: WitType, choose: random.Random) -> Any:
    """Return a value of a type, as the wire has it."""
    match structure(wit):
        case Primitive("bool"):
            return choose.random() < 0.5
        case Primitive("f64"):
            return choose.random() * 1e6
        case Primitive("char"):
            return choose.choice("aé€😀")
        case Primitive("string"):
            return "".join(choose.choices("aé€😀 z", k=choose.randint(0, 30)))
        case Primitive(name):
            return choose.randint(*_SCALARS[name])
        case ListType(Primitive("u8")):
            size = choose.choice([0, 1, 17, 200, 3000, 5000])
            return bytes(size) if choose.random() < 0.3 else choose.randbytes(size)
        case ListType(element):
            return [value(element, choose) for _ in range(choose.randint(0, 3))]
        case RecordType(fields):
            return {name: value(field, choose) for name, field in fields}
        case TupleType(items):
            return [value(item, choose) for item in items]
        case VariantType(cases):
            return _case(*choose.choice(cases), choose)
        case EnumType(names):
            return choose.choice(names)
        case FlagsType(names):
            return [name for name in names if choose.random() < 0.5]
        case OptionType(element):
            if choose.random() < 0.3:
                return None
            inner = value(element, choose)
            return [inner] if isinstance(structure(element), OptionType) else inner
        case ResultType(ok, err):
            return _case(*choose.choice([("ok", ok), ("err", err)]), choose)
        case MapType(_, element):
            return {f"key{i}": value(element, choose) for i in range(choose.randint(0, 3))}
        case other:
            raise AssertionError(other)


def _case(name: str, payload: WitType | None, choose: random.Random) -> list[Any]:
    return [name, None if payload is None else value(payload, choose)]


def relay(types: Types, functions: Mapping[str, WitType], *, exports: str) -> bytes:
    """Return a component that imports `types.interface` and exports `exports`."""
    name = types.interface
    signatures = {
        each: Function(params=(("value", wit),), result=wit) for each, wit in functions.items()
    }
    wanted = Wanted(name, name, dict(types.named), dict(signatures), ["relay"])
    outside = build_skeleton({name: wanted}).text.removesuffix(")")
    lines, ids = [outside], dict[WitType, str]()
    for each, wit in types.named.items():
        ids[structure(wit)] = f"$al-{each}"
        lines.append(f"(alias export $i0 {quote(each)} (type $al-{each}))")

    def word(wit: WitType) -> str:
        plain = structure(wit)
        if isinstance(plain, Primitive):
            return plain.name
        if plain not in ids:
            text = definition(plain, word)
            ids[plain] = f"$own{len(ids)}"
            lines.append(f"(type {ids[plain]} {text})")
        return ids[plain]

    lines.append(_MEMORY)
    core, passed = [], []
    for each, function in signatures.items():
        wit = functions[each]
        lines.append(f"(alias export $i0 {quote(each)} (func ${each}))")
        lines.append(f"(core func ${each}-core (canon lower (func ${each}) {_OPTIONS}))")
        passed.append(f'(export "{each}" (func ${each}-core))')
        core.append(_core_function(each, function, size_and_align(wit)))
        word(wit)
    lines += [
        f"(core instance $passed {' '.join(passed)})",
        "\n".join(["(core module $relay", _IMPORTS, *[head for head, _ in core],
                   *[body for _, body in core], ")"]),
        '(core instance $it (instantiate $relay (with "lib" (instance $lib))',
        '(with "fn" (instance $passed))))',
    ]  # fmt: skip
    items = [f"(export {quote(each)} (type $al-{each}))" for each in types.named]
    for each, wit in functions.items():
        lines.append(
            f'(func ${each}-out (param "value" {word(wit)}) (result {word(wit)}) '
            f'(canon lift (core func $it "{each}") {_OPTIONS}))'
        )
        items.append(f"(export {quote(each)} (func ${each}-out))")
    lines.append(f"(instance $out {' '.join(items)}) (export {quote(exports)} (instance $out)))")
    return bytes(wat2wasm("\n".join(lines)))


def _core_function(name: str, function: Function, layout: tuple[int, int]) -> tuple[str, str]:
    core = core_type(function)
    given = " ".join(f"(local.get $p{index})" for index in range(len(core.params)))
    size, align = layout
    body = f"(call ${name} {given})"
    if core.has_area:
        area = f"(call $realloc (i32.const 0) (i32.const 0) (i32.const {align}) (i32.const {size}))"
        body = (
            f"(local $area i32) (local.set $area {area})"
            f"(call ${name} {given} (local.get $area)) (local.get $area)"
        )
    return (
        f'(import "fn" "{name}" (func ${name} {core.lowered}))',
        f'(func (export "{name}") {core.lifted} {body})',
    )


_OPTIONS = "(memory $memory) (realloc $realloc) string-encoding=utf8"

_IMPORTS = """(import "lib" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))"""

_MEMORY = """
(core module $library
  (memory (export "memory") 200)
  (global $next (mut i32) (i32.const 16))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at)))
(core instance $lib (instantiate $library))
(alias core export $lib "memory" (core memory $memory))
(alias core export $lib "realloc" (core func $realloc))"""
