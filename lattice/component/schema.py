"""JSON Schema (2020-12) of a function's arguments and result, as `lattice.wire.values` reads them.

Named types become `$defs`, so that a schema stays as short as its WIT text.
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
    structure,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, object]


def json_schema(function: Function) -> Schema:
    """Return the schema of an object with `args`, an array in order, and `result`.

    The result of a function without one is null. What no value fits, such as a stream, has the
    schema `{"not": {}}`.
    """
    writer = _Writer()
    args = [writer.schema(wit) | {"title": name} for name, wit in function.params]
    properties: Schema = {
        "args": _array(args),
        "result": {"type": "null"} if function.result is None else writer.schema(function.result),
    }
    found: Schema = {"$schema": DIALECT, "type": "object", "properties": properties}
    if function.docs:
        found["description"] = function.docs
    if writer.definitions:
        found["$defs"] = writer.definitions
    return found


class _Writer:
    """Writes schemas of types, and collects those of named types."""

    def __init__(self) -> None:
        self.definitions: Schema = {}
        self._names: dict[tuple[str, str], str] = {}

    def schema(self, wit: WitType) -> Schema:
        match wit:
            case NamedType():
                return {"$ref": f"#/$defs/{self._define(wit)}"}
            case Primitive(name):
                return dict(_PRIMITIVES[name])
            case ListType() | TupleType() | MapType():
                return self._collection(wit)
            case RecordType(fields):
                return self._record(fields)
            case VariantType(cases):
                return {"oneOf": [self._case(name, part) for name, part in cases]}
            case ResultType(ok, err):
                return {"oneOf": [self._case("ok", ok), self._case("err", err)]}
            case OptionType(element):
                return self._option(element)
            case EnumType(names):
                return {"enum": list(names)}
            case FlagsType(names):
                return {"type": "array", "items": {"enum": list(names)}, "uniqueItems": True}
            case OwnType() | BorrowType() | ResourceType():
                return _handle()
            case StreamType() | FutureType():
                return {"not": {}}

    def _define(self, wit: NamedType) -> str:
        """Return the name of a type's definition; types of one name in two interfaces differ."""
        key = (wit.interface, wit.name)
        if key not in self._names:
            name = wit.name
            if name in self._names.values():
                name = f"{len(self._names)}.{wit.name}"
            self._names[key] = name
            self.definitions[name] = self.schema(wit.target)
        return self._names[key]

    def _collection(self, wit: ListType | TupleType | MapType) -> Schema:
        match wit:
            case ListType(element, length) if structure(element) == Primitive("u8"):
                return _bytes(length)
            case ListType(element, length):
                found: Schema = {"type": "array", "items": self.schema(element)}
                return found if length is None else found | _exactly(length)
            case TupleType(items):
                return _array([self.schema(item) for item in items])
            case MapType(key, value):
                found = {"type": "object", "additionalProperties": self.schema(value)}
                pattern = _KEY_PATTERNS.get(getattr(structure(key), "name", ""))
                return found if pattern is None else found | {"propertyNames": {"pattern": pattern}}

    def _record(self, fields: tuple[tuple[str, WitType], ...]) -> Schema:
        required = [name for name, part in fields if not isinstance(structure(part), OptionType)]
        return {
            "type": "object",
            "properties": {name: self.schema(part) for name, part in fields},
            "required": required,
            "additionalProperties": False,
        }

    def _case(self, name: str, payload: WitType | None) -> Schema:
        inner: Schema = {"type": "null"} if payload is None else self.schema(payload)
        may_lack = payload is None or isinstance(structure(payload), OptionType)
        return _array([{"const": name}, inner], required=1 if may_lack else 2)

    def _option(self, element: WitType) -> Schema:
        inner = self.schema(element)
        if isinstance(structure(element), OptionType):
            inner = _array([inner])
        return {"anyOf": [inner, {"type": "null"}]}


def _array(items: list[Schema], required: int | None = None) -> Schema:
    """Return the schema of an array whose items have each their own schema."""
    least = len(items) if required is None else required
    found: Schema = {"type": "array", "minItems": least, "maxItems": len(items)}
    # An empty `prefixItems` is not allowed.
    return found | {"prefixItems": items} if items else found


def _exactly(length: int) -> Schema:
    return {"minItems": length, "maxItems": length}


def _bytes(length: int | None) -> Schema:
    numbers: Schema = {"type": "array", "items": dict(_PRIMITIVES["u8"])}
    text: Schema = {"type": "string", "contentEncoding": "base64"}
    encoded: Schema = {"type": "object", "properties": {"base64": text}, "required": ["base64"]}
    return {"anyOf": [encoded, numbers if length is None else numbers | _exactly(length)]}


def _handle() -> Schema:
    properties = {name: {"type": "string"} for name in ("host", "instance")}
    properties |= {name: {"type": "integer"} for name in ("id", "epoch")}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _integer(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _wide(low: int, high: int) -> Schema:
    """64 bits: many JSON parsers lose digits of such numbers, so strings stand for them too."""
    sign = "-?" if low < 0 else ""
    return {"anyOf": [_integer(low, high), {"type": "string", "pattern": f"^{sign}[0-9]+$"}]}


def _float() -> Schema:
    return {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}


_PRIMITIVES: dict[str, Schema] = {
    "bool": {"type": "boolean"},
    "u8": _integer(0, (1 << 8) - 1),
    "u16": _integer(0, (1 << 16) - 1),
    "u32": _integer(0, (1 << 32) - 1),
    "u64": _wide(0, (1 << 64) - 1),
    "s8": _integer(-(1 << 7), (1 << 7) - 1),
    "s16": _integer(-(1 << 15), (1 << 15) - 1),
    "s32": _integer(-(1 << 31), (1 << 31) - 1),
    "s64": _wide(-(1 << 63), (1 << 63) - 1),
    "f32": _float(),
    "f64": _float(),
    "char": {"type": "string", "minLength": 1, "maxLength": 1},
    "string": {"type": "string"},
    "error-context": {"not": {}},
}

_KEY_PATTERNS = {
    "bool": "^(true|false)$",
    "char": "^.$",
    **{f"u{bits}": "^[0-9]+$" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": "^-?[0-9]+$" for bits in (8, 16, 32, 64)},
}
