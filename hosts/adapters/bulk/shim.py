"""The bulk shim for some functions, as the text of a component.

It imports each function as `f0`, `f1` and so on with one type and exports it under the same name
with the other: framed inside and original outside, or the reverse. Resources (`r0`...) and named
types (`t0`...) are imported too; the named types of the other side are exported (`u0`...).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hosts.adapters.bulk.abi import flat_types
from hosts.adapters.bulk.framing import framed_function
from hosts.adapters.bulk.glue import core_type, glue_function
from hosts.engine.type_text import definition, primitive, signature
from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    Function,
    NamedType,
    Primitive,
    RecordType,
    ResourceType,
    VariantType,
    WitType,
)

_LIBRARY = Path(__file__).with_name("library.wat")

_OPTIONS = "(memory $memory) (realloc $realloc) string-encoding=utf8"

_GLUE_IMPORTS = """
(import "lib" "memory" (memory 1))
(import "lib" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
(import "lib" "reset" (func $reset))
(import "lib" "encode" (func $encode (param i32 i32) (result i32 i32)))
(import "lib" "decode" (func $decode (param i32 i32) (result i32 i32)))
(import "lib" "encode_at" (func $encode_at (param i32)))
(import "lib" "decode_at" (func $decode_at (param i32)))"""


@dataclass(frozen=True, slots=True)
class Shim:
    """A shim's text, and what whoever instantiates it must give besides the functions."""

    text: str
    resources: Sequence[tuple[str, ResourceType]]
    types: Sequence[tuple[str, WitType]]


class Definitions:
    """Types defined in one scope of a component, each once, those before it that it consists of."""

    def __init__(
        self,
        prefix: str,
        resource: Callable[[ResourceType], str],
        named: Callable[[str, WitType], str] | None = None,
        lines: list[str] | None = None,
        known: Callable[[NamedType], str | None] | None = None,
    ) -> None:
        """`named` gives a record, variant, enum or flags a name, and returns its identifier.

        `known` is asked first, for types that the scope has already.
        """
        self.lines: list[str] = [] if lines is None else lines
        self._prefix = prefix
        self._resource = resource
        self._named = named
        self._known = known
        self._ids: dict[WitType, str] = {}

    def word(self, wit: WitType) -> str:
        """Return what stands for a type: a primitive's name or an identifier."""
        while isinstance(wit, NamedType):
            if self._known is not None and (found := self._known(wit)) is not None:
                return found
            wit = wit.target
        plain = wit
        if isinstance(plain, Primitive):
            return primitive(plain)
        if isinstance(plain, ResourceType):
            return self._resource(plain)
        if plain not in self._ids:
            text = definition(plain, self.word)
            identifier = f"{self._prefix}{len(self._ids)}"
            self.lines.append(f"(type {identifier} {text})")
            is_nominal = isinstance(plain, RecordType | VariantType | EnumType | FlagsType)
            if is_nominal and self._named is not None:
                identifier = self._named(identifier, plain)
            self._ids[plain] = identifier
        return self._ids[plain]


def shim(name: str, functions: Sequence[Function], *, is_framed_outside: bool) -> Shim:
    """Return the shim of some functions of original type, as the component `name`."""
    return _Writer(functions, is_framed_outside=is_framed_outside).write(name)


class _Writer:
    def __init__(self, functions: Sequence[Function], *, is_framed_outside: bool) -> None:
        self._functions = functions
        self._is_framed_outside = is_framed_outside
        self._resources: dict[ResourceType, str] = {}
        self._types: list[tuple[str, WitType]] = []
        self._exported = 0
        self._inside = Definitions("$a", self._import_resource, self._import_type)
        # A resource that is exported again would be another one to whoever sees the functions.
        self._outside = Definitions("$b", self._import_resource, self._export_type)

    def write(self, name: str) -> Shim:
        imports = [
            f'(import "f{number}" (func $f{number} {signature(inner, self._inside.word)}))'
            for number, inner in enumerate(self._sides(is_outside=False))
        ]
        # The text outside is made before the imports are written: it may borrow more resources.
        lifts: list[str] = []
        for number, outer in enumerate(self._sides(is_outside=True)):
            text = signature(outer, self._outside.word)
            lifts.append(
                f'(func $e{number} {text} (canon lift (core func $glued "f{number}") {_OPTIONS} '
                f'(post-return (core func $glued "post-f{number}"))))'
            )
            lifts.append(f'(export "f{number}" (func $e{number}))')
        lines = [
            f"(component {name}",
            *(f'(import "{each}" (type ${each} (sub resource)))'
              for each in self._resources.values()),
            *self._inside.lines,
            *imports,
            _library(),
            *self._core(),
            *self._outside.lines,
            *lifts,
            ")",
        ]  # fmt: skip
        resources = [(each, resource) for resource, each in self._resources.items()]
        return Shim("\n".join(lines), resources, self._types)

    def _sides(self, *, is_outside: bool) -> list[Function]:
        if is_outside == self._is_framed_outside:
            return [framed_function(function) for function in self._functions]
        return list(self._functions)

    def _core(self) -> list[str]:
        """Return the core part: functions lowered, the glue, and its instance."""
        into, out = ("decode", "encode") if self._is_framed_outside else ("encode", "decode")
        lowered, passed, imports, glue = [], [], [], []
        for each in self._resources.values():
            lowered.append(f"(core func $drop-{each} (canon resource.drop ${each}))")
            passed.append(f'(export "drop-{each}" (func $drop-{each}))')
            imports.append(f'(import "fn" "drop-{each}" (func $drop-{each} (param i32)))')
        for number, function in enumerate(self._functions):
            name = f"f{number}"
            lowered.append(f"(core func ${name}-core (canon lower (func ${name}) {_OPTIONS}))")
            passed.append(f'(export "{name}" (func ${name}-core))')
            imports.append(f'(import "fn" "{name}" (func ${name} {core_type(function).lowered}))')
            glue.append(
                glue_function(name, function, params=into, result=out, drops=self._drops(function))
            )
        return [
            "(core instance $lib (instantiate $library))",
            '(alias core export $lib "memory" (core memory $memory))',
            '(alias core export $lib "realloc" (core func $realloc))',
            *lowered,
            f"(core instance $passed {' '.join(passed)})",
            "\n".join(["(core module $glue", _GLUE_IMPORTS, *imports, *glue, ")"]),
            "(core instance $glued (instantiate $glue",
            '(with "lib" (instance $lib)) (with "fn" (instance $passed))))',
        ]

    def _drops(self, function: Function) -> dict[int, str]:
        drops: dict[int, str] = {}
        index = 0
        for _, wit in function.params:
            if isinstance(wit, BorrowType):
                drops[index] = f"$drop-{self._resources[wit.resource]}"
            index += len(flat_types(wit))
        return drops

    def _import_resource(self, resource: ResourceType) -> str:
        name = self._resources.setdefault(resource, f"r{len(self._resources)}")
        return f"${name}"

    def _import_type(self, identifier: str, wit: WitType) -> str:
        name = f"t{len(self._types)}"
        self._types.append((name, wit))
        self._inside.lines.append(f'(import "{name}" (type ${name} (eq {identifier})))')
        return f"${name}"

    def _export_type(self, identifier: str, _wit: WitType) -> str:
        name = f"u{self._exported}"
        self._exported += 1
        self._outside.lines.append(f'(export ${name} "{name}" (type {identifier}))')
        return f"${name}"


@cache
def _library() -> str:
    return _LIBRARY.read_text(encoding="utf-8")
