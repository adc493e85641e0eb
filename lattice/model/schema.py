"""Lists, maps and objects of documents: a declarative description from which reader, writer and
JSON Schema all come.

Reading collects every fault with the path of its field; it never stops at the first and never
raises. This module knows nothing of deployments, and no text format.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lattice.model.scalar import INVALID, SHOWN_LENGTH_MAX, Check, Faults, Shape, Text, found


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list of equal kinds, read as a tuple."""

    item: Shape
    minimum: int = 0
    maximum: int = 64
    check: Check = lambda _: None

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return a tuple of what the entries mean."""
        if not isinstance(value, list | tuple):
            return faults.add(path, f"expected a list, found {found(value)}")
        if not self.minimum <= len(value) <= self.maximum:
            bounds = f"{self.minimum} to {self.maximum} entries"
            return faults.add(path, f"expected {bounds}, found {len(value)}")
        items = tuple(
            self.item.read(entry, f"{path}[{index}]", faults) for index, entry in enumerate(value)
        )
        if INVALID in items:
            return INVALID
        fault = self.check(items)
        return faults.add(path, fault) if fault else items

    def write(self, value: object) -> object:
        """Return a list."""
        assert isinstance(value, tuple), "sequences of the model are tuples"
        return [self.item.write(entry) for entry in value]

    def json(self) -> dict[str, object]:
        """Return a schema of type array."""
        bounds = {"minItems": self.minimum, "maxItems": self.maximum}
        return {"type": "array", "items": self.item.json(), **bounds}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf:
    """A map from free keys to equal kinds, read as a dict in the order of the document."""

    key: Text
    value: Shape
    maximum: int = 256

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return a dict of what the entries mean."""
        if not isinstance(value, Mapping):
            return faults.add(path, f"expected a map, found {found(value)}")
        if len(value) > self.maximum:
            return faults.add(path, f"expected at most {self.maximum} keys, found {len(value)}")
        result: dict[object, object] = {}
        for key, entry in value.items():
            below = child(path, key)
            known = self.key.read(key, below, faults)
            result[known] = self.value.read(entry, below, faults)
        return INVALID if INVALID in result or INVALID in result.values() else result

    def write(self, value: object) -> object:
        """Return a dict with the keys sorted."""
        assert isinstance(value, Mapping), "maps of the model are mappings"
        return {key: self.value.write(value[key]) for key in sorted(value)}

    def json(self) -> dict[str, object]:
        """Return a schema of type object with free property names."""
        return {
            "type": "object",
            "propertyNames": self.key.json(),
            "additionalProperties": self.value.json(),
            "maxProperties": self.maximum,
        }


@dataclass(frozen=True, slots=True)
class Field:
    """A named field; without `attribute`, the built value calls it by the same name."""

    name: str
    shape: Shape
    doc: str
    attribute: str = ""
    is_required: bool = False

    @property
    def key(self) -> str:
        """Return the name of the field in the built value."""
        return self.attribute or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """Named fields from which `make` builds a value; unknown ones are faults.

    `blank` is a value with the default of every optional field, so that defaults are written once,
    in the model. `take` undoes `make` where the two differ in shape.
    """

    make: Callable[..., object]
    fields: tuple[Field, ...]
    blank: object
    later: Mapping[str, str] = field(default_factory=dict[str, str])
    take: Callable[..., Mapping[str, object]] | None = None

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return the built value."""
        if not isinstance(value, Mapping):
            return faults.add(path, f"expected a map, found {found(value)}")
        read: dict[str, object] = {}
        names = {known.name: known for known in self.fields}
        for name, entry in value.items():
            below = child(path, name)
            if isinstance(name, str) and name in names:
                read[names[name].key] = names[name].shape.read(entry, below, faults)
            else:
                read[""] = faults.add(below, self._refusal(name))
        for known in self.fields:
            if known.is_required and known.name not in value:
                read[""] = faults.add(child(path, known.name), f"is missing ({known.doc})")
        return INVALID if INVALID in read.values() else self.make(**read)

    def write(self, value: object) -> object:
        """Return a dict in the order of the fields, without those that have their default."""
        values, defaults = self._values(value), self._values(self.blank)
        return {
            known.name: known.shape.write(values[known.key])
            for known in self.fields
            if known.is_required or values[known.key] != defaults[known.key]
        }

    def json(self) -> dict[str, object]:
        """Return a schema of type object."""
        defaults = self._values(self.blank)
        properties: dict[str, object] = {}
        for known in self.fields:
            schema = known.shape.json() | {"description": known.doc}
            default = defaults[known.key]
            if not known.is_required and default is not None:
                schema["default"] = known.shape.write(default)
            properties[known.name] = schema
        required = [known.name for known in self.fields if known.is_required]
        return {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }

    def _values(self, value: object) -> Mapping[str, object]:
        if self.take is not None:
            return self.take(value)
        return {known.key: getattr(value, known.key) for known in self.fields}

    def _refusal(self, name: object) -> str:
        if not isinstance(name, str):
            return f"field names are strings, found {found(name)}"
        if name in self.later:
            return f"is known but not supported by this release: {self.later[name]}"
        known = [known.name for known in self.fields]
        near = difflib.get_close_matches(name[:SHOWN_LENGTH_MAX], [*known, *self.later], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"unknown field, {hint}"


def child(path: str, key: object) -> str:
    """Return the path of a field below a path: `a.b`, or `a["odd key"]`."""
    if isinstance(key, str) and key.replace("-", "_").isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{found(key)}]"
