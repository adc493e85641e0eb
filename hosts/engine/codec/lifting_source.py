"""Writes the source of the function that lifts the parameters, or the result, of one function.

Every block is read by one `unpack_from`, and the kinds in it are compared before any pointer from
it is followed. The generated function gives up with any of `compiled.MISFITS` when they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

from hosts.engine.codec import spans
from hosts.engine.codec.records import field_name, record_class
from hosts.engine.codec.source import Source
from hosts.engine.ffi import VAL_SIZE
from hosts.engine.frames import FRAME
from hosts.engine.layout import (
    CHAR,
    ENUM,
    FLAGS,
    LIST,
    MAP,
    OPTION,
    RECORD,
    RESOURCE,
    RESULT,
    STRING,
    TUPLE,
    VARIANT,
)
from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


def write_lift(
    types: Sequence[WitType], source: Source, name: str, instead: str, records: bool
) -> None:
    """Write `name(address)`, which returns a list of the values that lie at an address.

    When they are not what the types say, it returns what the function called `instead` returns.
    With `records`, records become instances of their classes, here and below.
    """
    source.line(0, f"def {name}(address):")
    source.line(1, "try:")
    values = _Lifting(source, records).block(types, "address", 2)
    source.line(2, f"return [{', '.join(values)}]")
    source.line(1, "except MISFITS:")
    source.line(2, f"return {instead}(address)")


def write_lift_one(wit: WitType, source: Source, name: str, instead: str, records: bool) -> None:
    """Write the same for one value, which is returned itself."""
    source.line(0, f"def {name}(address):")
    source.line(1, "try:")
    (value,) = _Lifting(source, records).block([wit], "address", 2)
    source.line(2, f"return {value}")
    source.line(1, "except MISFITS:")
    source.line(2, f"return {instead}(address)")


def write_values(
    types: Sequence[WitType], source: Source, address: str, depth: int, records: bool
) -> list[str]:
    """Write the reading of the values at an address; returns an expression for each."""
    return _Lifting(source, records).block(types, address, depth)


def write_numbers(types: Sequence[WitType], source: Source, address: str, depth: int) -> list[str]:
    """Write the reading of numbers and bools at an address, whose kinds somebody has compared."""
    if not types:
        return []
    form = "<"
    for wit in types:
        _, after = _shape(wit)
        form += f"8x{after}{VAL_SIZE - 8 - Struct(after).size}x"
    names = [source.name("a") for _ in types]
    unpack = source.method(form, "unpack_from")
    source.line(depth, f"{', '.join(names)}, = {unpack}(MEMORY, {address})")
    return names


_SHAPES: Mapping[type, tuple[int, str]] = {
    VariantType: (VARIANT, "QQQ"),
    ResultType: (RESULT, "?7xQ"),
    OptionType: (OPTION, "Q"),
    ListType: (LIST, "QQ"),
    RecordType: (RECORD, "QQ"),
    TupleType: (TUPLE, "QQ"),
    EnumType: (ENUM, "QQ"),
    FlagsType: (FLAGS, "QQ"),
    MapType: (MAP, "QQ"),
    OwnType: (RESOURCE, "Q"),
    BorrowType: (RESOURCE, "Q"),
}
_PRIMITIVES: Mapping[str, tuple[int, str]] = {
    **spans.SCALARS,
    "char": (CHAR, "I"),
    "string": (STRING, "QQ"),
    FRAME.name: (STRING, "QQ"),
}


def _shape(wit: WitType) -> tuple[int, str]:
    """Return the kind of a type's values and the format of what comes after it."""
    match structure(wit):
        case Primitive(name):
            return _PRIMITIVES[name]
        case other:
            return _SHAPES[type(other)]


class _Lifting:
    def __init__(self, source: Source, records: bool) -> None:
        self._source = source
        self._records = records

    def block(
        self, types: Sequence[WitType], address: str, depth: int, named: bool = False
    ) -> list[str]:
        """Write the reading of values that lie in a row; returns their expressions.

        With `named`, a name lies before each, as in a record.
        """
        parts, form, refusals = self._parts(types, named)
        if not types:
            return []
        unpack = self._source.method(form, "unpack_from")
        variables = ", ".join(variable for part in parts for variable in part)
        self._source.line(depth, f"{variables}, = {unpack}(MEMORY, {address})")
        self._source.refuse_if(depth, *refusals)
        return [self._value(wit, part[1:], depth) for wit, part in zip(types, parts, strict=True)]

    def _parts(
        self, types: Sequence[WitType], named: bool
    ) -> tuple[list[list[str]], str, list[str]]:
        """Return the variables of each value, kind first, their format, and what refuses them."""
        form, parts, refusals = "<", [], []
        for wit in types:
            kind, after = _shape(wit)
            size = Struct("<" + after).size
            form += f"{'16x' * named}B7x{after}{VAL_SIZE - 8 - size}x"  # "0x" is no byte
            count = len(after.replace("7x", ""))
            variables = [self._source.name(prefix) for prefix in "kabc"[: count + 1]]
            parts.append(variables)
            refusals.append(f"{variables[0]} != {kind}")
            match structure(wit):
                case RecordType(fields):
                    refusals.append(f"{variables[1]} != {len(fields)}")
                case TupleType(items):
                    refusals.append(f"{variables[1]} != {len(items)}")
                case _:
                    pass
        return parts, form, refusals

    def _value(self, wit: WitType, variables: Sequence[str], depth: int) -> str:
        """Return the expression of a value whose parts were read into variables."""
        match structure(wit):
            case Primitive("string") | EnumType():
                return _text(variables[0], variables[1])
            case Primitive(name):
                return self._primitive(name, variables)
            case ListType(element, _):
                return self._list(element, variables[0], variables[1], depth)
            case RecordType(fields):
                return self._record(wit, fields, variables[1], depth)
            case TupleType(items):
                return f"[{', '.join(self.block(items, variables[1], depth))}]"
            case OptionType(element):
                return self._option(element, variables[0], depth)
            case VariantType(cases):
                return self._case(cases, _text(*variables[:2]), variables[2], depth)
            case ResultType(ok, err):
                case = f"'ok' if {variables[0]} else 'err'"
                return self._case((("ok", ok), ("err", err)), case, variables[1], depth)
            case FlagsType():
                lift = self._source.constant(spans.lift_flags)
                return f"{lift}({variables[0]}, {variables[1]})"
            case MapType(key, value):
                return self._map(key, value, variables[0], variables[1], depth)
            case OwnType() | BorrowType() as handle:
                return self._handle(handle, variables[0], depth)
            case other:
                raise AssertionError(f"the checking codec refuses {other}")

    def _record(
        self, wit: WitType, fields: Sequence[tuple[str, WitType]], entries: str, depth: int
    ) -> str:
        names = [name for name, _ in fields]
        values = self.block([field for _, field in fields], entries, depth, named=True)
        if self._records:
            return self._instance(wit, names, values, depth)
        pairs = zip(names, values, strict=True)
        return "{" + ", ".join(f"{name!r}: {value}" for name, value in pairs) + "}"

    def _instance(
        self, wit: WitType, names: Sequence[str], values: Sequence[str], depth: int
    ) -> str:
        """Write the making of a record's instance, without its slower constructor."""
        made, instance = record_class(wit), self._source.name("r")
        self._source.line(depth, f"{instance} = new({self._source.constant(made)})")
        for name, value in zip(names, values, strict=True):
            put = self._source.constant(getattr(made, field_name(name)).__set__)
            self._source.line(depth, f"{put}({instance}, {value})")
        return instance

    def _handle(self, wit: OwnType | BorrowType, address: str, depth: int) -> str:
        value = self._source.name("r")
        # At once, while the other values are still only addresses and numbers.
        self._source.line(depth, f"{value} = lift_handle({self._source.constant(wit)}, {address})")
        return value

    def _option(self, element: WitType, payload: str, depth: int) -> str:
        value = self._source.name("r")
        self._source.line(depth, f"{value} = None")
        self._source.line(depth, f"if {payload}:")
        (some,) = self.block([element], payload, depth + 1)
        is_nested = isinstance(structure(element), OptionType)
        self._source.line(depth + 1, f"{value} = " + (f"[{some}]" if is_nested else some))
        return value

    def _case(
        self, cases: Sequence[tuple[str, WitType | None]], expression: str, payload: str, depth: int
    ) -> str:
        case, value = self._source.name("g"), self._source.name("r")
        self._source.line(depth, f"{case} = {expression}")
        self._source.line(depth, f"{value} = None")
        word = "if"
        for name, wit in cases:
            if wit is None:
                continue
            self._source.line(depth, f"{word} {case} == {name!r} and {payload}:")
            (some,) = self.block([wit], payload, depth + 1)
            self._source.line(depth + 1, f"{value} = {some}")
            word = "elif"
        return f"[{case}, {value}]"

    def _primitive(self, name: str, variables: Sequence[str]) -> str:
        if name == FRAME.name:
            lift = self._source.constant(spans.lift_frame)
            return f"{lift}({variables[0]}, {variables[1]})"
        return f"chr({variables[0]})" if name == "char" else variables[0]

    def _list(self, element: WitType, count: str, address: str, depth: int) -> str:
        match structure(element):
            case Primitive("u8"):
                return f"{self._source.constant(spans.lift_bytes)}({count}, {address})"
            case Primitive(name) if name in spans.SCALARS:
                return f"{self._source.constant(spans.lift_scalars(name))}({count}, {address})"
        values, add = self._source.name("r"), self._source.name("f")
        self._source.line(depth, f"{values} = []; {add} = {values}.append")
        (value,) = self._loop([element], count, address, depth)
        self._source.line(depth + 1, f"{add}({value})")
        return values

    def _map(self, key: WitType, value: WitType, count: str, address: str, depth: int) -> str:
        values = self._source.name("r")
        self._source.line(depth, f"{values} = {{}}")
        lifted_key, lifted_value = self._loop([key, value], count, address, depth)
        self._source.line(depth + 1, f"{values}[{lifted_key}] = {lifted_value}")
        return values

    def _loop(self, types: Sequence[WitType], count: str, address: str, depth: int) -> list[str]:
        """Write the head of a loop over elements of these values; returns their expressions."""
        parts, form, refusals = self._parts(types, named=False)
        unpack = self._source.method(form, "iter_unpack")
        size = VAL_SIZE * len(types)
        variables = ", ".join(variable for part in parts for variable in part)
        view = f"MEMORY[{address}:{address} + {count} * {size}]"
        self._source.line(depth, f"for {variables}, in {unpack}({view}):")
        self._source.refuse_if(depth + 1, *refusals)
        return [
            self._value(wit, part[1:], depth + 1) for wit, part in zip(types, parts, strict=True)
        ]


def _text(size: str, address: str) -> str:
    short = f"TEXT[{size}](MEMORY, {address})[0].decode()"
    long = f"str(MEMORY[{address}:{address} + {size}], 'utf-8')"
    return f"({short} if {size} <= {spans.SHORT_TEXT_MAX} else {long})"
