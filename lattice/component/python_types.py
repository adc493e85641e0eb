"""Types of WIT as Python: the classes that stand for them, annotations, and shapes of their values.

Writes definitions in the order in which they are needed. What a module consists of besides them is
the matter of `python_stub`; what shapes are, that of `lattice.client.typed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lattice.component.python_names import (
    Allocator,
    class_name,
    constant_name,
    interface_plain_name,
    member_name,
)
from lattice.component.types import (
    EnumType,
    FlagsType,
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

_INTEGERS = frozenset({"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"})
_PLAIN = {"bool": "bool", "char": "str", "string": "str", "f32": "float", "f64": "float"}

MemberType = RecordType | VariantType | EnumType | FlagsType


class UnboundError(Exception):
    """A type has no values outside of the component: the message says which and why."""


@dataclass(frozen=True, slots=True)
class Written:
    """A type where it is used: its annotation, and the expression of its shape."""

    annotation: str
    shape: str


class TypeWriter:
    """Collects the definitions of a module's types; each is written once."""

    def __init__(self, names: Allocator) -> None:
        self.lines: list[str] = []
        """The definitions so far, each with two empty lines before it where Python has them."""
        self.words: set[str] = set()
        """Names of `typing` and other modules that the definitions use."""
        self._names = names
        self._known: dict[WitType, Written] = {}

    def write(self, wit: WitType, hint: str) -> Written:
        """Return a type as it is used; `hint` names it if it needs a class and has no name.

        Raises:
            UnboundError: it has parts that no value stands for.
        """
        known = self._known.get(wit)
        if known is None:
            known = self._known[wit] = self._written(wit, hint)
        return known

    def _written(self, wit: WitType, hint: str) -> Written:
        match wit:
            case NamedType(target=target) if isinstance(target, MemberType):
                return self._define(target, wit.name, *_wishes(wit))
            case NamedType(name=name, target=target):
                return self._alias(name, self.write(target, hint), _wishes(wit))
            case RecordType() | VariantType() | EnumType() | FlagsType():
                return self._define(wit, hint, class_name(hint))
            case Primitive("error-context"):
                raise UnboundError("an error-context has no form outside of the component")
            case Primitive(name):
                plain = "int" if name in _INTEGERS else _PLAIN[name]
                return Written(plain, f"typed.{name.upper()}")
            case ListType() | TupleType() | MapType():
                return self._collection(wit, hint)
            case OptionType(element):
                inner = self.write(element, f"{hint}-some")
                is_nested = isinstance(structure(element), OptionType)
                some = f"typed.Some[{inner.annotation}]" if is_nested else inner.annotation
                return Written(f"{some} | None", f"typed.option({inner.shape})")
            case ResultType(ok, err):
                good, bad = self._payload(ok, f"{hint}-ok"), self._payload(err, f"{hint}-err")
                annotation = f"typed.Ok[{good.annotation}] | typed.Err[{bad.annotation}]"
                return Written(annotation, f"typed.result({good.shape}, {bad.shape})")
            case _:
                raise UnboundError(_without_values(wit))

    def _collection(self, wit: ListType | TupleType | MapType, hint: str) -> Written:
        match wit:
            case ListType(element, length):
                inner = self.write(element, f"{hint}-item")
                is_bytes = structure(element) == Primitive("u8")
                annotation = "bytes" if is_bytes else f"list[{inner.annotation}]"
                size = "" if length is None else f", {length}"
                return Written(annotation, f"typed.sequence({inner.shape}{size})")
            case TupleType(items):
                parts = [self.write(item, f"{hint}-{at}") for at, item in enumerate(items, 1)]
                inside = ", ".join(part.annotation for part in parts) or "()"
                shapes = ", ".join(part.shape for part in parts)
                return Written(f"tuple[{inside}]", f"typed.product({shapes})")
            case MapType(key, value):
                left, right = self.write(key, f"{hint}-key"), self.write(value, f"{hint}-value")
                annotation = f"dict[{left.annotation}, {right.annotation}]"
                return Written(annotation, f"typed.mapping({left.shape}, {right.shape})")

    def _payload(self, wit: WitType | None, hint: str) -> Written:
        return Written("None", "None") if wit is None else self.write(wit, hint)

    # --- definitions ------------------------------------------------------------------------

    def _alias(self, name: str, target: Written, wishes: Sequence[str]) -> Written:
        chosen = self._names.take(*wishes)
        self.words.add("TypeAlias")
        self.lines += ["", "", f"{chosen}: TypeAlias = {target.annotation}"]
        return self._shape(chosen, f'typed.alias("{name}", {target.shape})')

    def _define(self, wit: MemberType, name: str, *wishes: str) -> Written:
        """Write the classes of a type. Its parts come first: they may be what it refers to."""
        match wit:
            case RecordType(fields):
                parts = [(part, self.write(inner, f"{name}-{part}")) for part, inner in fields]
                chosen = self._names.take(*wishes)
                optional = {p for p, inner in fields if isinstance(structure(inner), OptionType)}
                self._record(name, chosen, parts, optional)
                shapes = "".join(f'"{part}": {inner.shape}, ' for part, inner in parts)
                return self._shape(
                    chosen, f'typed.record("{name}", {chosen}, {{{shapes.removesuffix(", ")}}})'
                )
            case VariantType(cases):
                payloads = [
                    (case, None if inner is None else self.write(inner, f"{name}-{case}-value"))
                    for case, inner in cases
                ]
                return self._variant(name, payloads, wishes)
            case EnumType(names):
                chosen = self._names.take(*wishes)
                self.words.add("enum")
                members = [f'    {constant_name(each)} = "{each}"' for each in names]
                self._class(f"class {chosen}(enum.StrEnum):", f"The enum `{name}`.", members)
                return self._shape(chosen, f'typed.enumeration("{name}", {chosen})')
            case FlagsType(names):
                chosen = self._names.take(*wishes)
                self.words.add("enum")
                members = [f"    {constant_name(each)} = 1 << {n}" for n, each in enumerate(names)]
                self._class(f"class {chosen}(enum.Flag):", f"The flags `{name}`.", members)
                pairs = ", ".join(f'"{each}": {chosen}.{constant_name(each)}' for each in names)
                return self._shape(chosen, f'typed.flags("{name}", {{{pairs}}})')

    def _record(
        self, name: str, chosen: str, parts: list[tuple[str, Written]], optional: set[str]
    ) -> None:
        self.words.add("dataclass")
        members = [
            f"    {member_name(part)}: {inner.annotation}{' = None' if part in optional else ''}"
            for part, inner in parts
        ]
        opening = f"@dataclass(frozen=True, slots=True, kw_only=True)\nclass {chosen}:"
        self._class(opening, f"The record `{name}`.", members)

    def _variant(
        self, name: str, cases: list[tuple[str, Written | None]], wishes: Sequence[str]
    ) -> Written:
        self.words |= {"ClassVar", "Literal", "TypeAlias", "dataclass"}
        chosen = self._names.take(*wishes)
        made: list[str] = []
        rows: list[str] = []
        for case, payload in cases:
            one = self._names.take(f"{chosen}{class_name(case)}")
            made.append(one)
            members = [f'    tag: ClassVar[Literal["{case}"]] = "{case}"']
            if payload is not None:
                members.append(f"    value: {payload.annotation}")
            opening = f"@dataclass(frozen=True, slots=True)\nclass {one}:"
            self._class(opening, f"The case `{case}` of `{name}`.", members)
            rows.append(f'"{case}": ({one}, {"None" if payload is None else payload.shape})')
        union = " | ".join(made)
        if len(f"{chosen}: TypeAlias = {union}") > 88:
            union = "(\n    " + "\n    | ".join(made) + "\n)"
        self.lines += ["", "", f"{chosen}: TypeAlias = {union}"]
        return self._shape(chosen, f'typed.variant("{name}", {{{", ".join(rows)}}})')

    def _class(self, opening: str, docs: str, members: list[str]) -> None:
        between = [""] if members else []
        self.lines += ["", "", *opening.split("\n"), f'    """{docs}"""', *between, *members]

    def _shape(self, chosen: str, expression: str) -> Written:
        """Write the shape of a definition as a constant of the module, and refer to it by name."""
        constant = self._names.take(f"_{chosen}")
        is_class = self.lines[-1].startswith("    ")
        before = ["", ""] if is_class else []
        self.lines += [*before, f"{constant}: Final = {expression}"]
        return Written(chosen, constant)


def _wishes(wit: NamedType) -> tuple[str, str]:
    plain = class_name(wit.name)
    return plain, f"{class_name(interface_plain_name(wit.interface))}{plain}"


def _without_values(wit: WitType) -> str:
    kind = type(wit).__name__.removesuffix("Type").lower()
    if kind in ("own", "borrow", "resource"):
        return "a handle of a resource means something in one instance only"
    return f"a {kind} has no form outside of the component"
