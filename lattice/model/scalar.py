"""The scalar shapes of documents, and what all shapes share: faults, and how values are shown.

`lattice.model.schema` builds lists, maps and objects from these. Reading collects faults and never
raises. This module knows nothing of deployments, and no text format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lattice.errors import InvalidError

FAULTS_MAX = 100
"""Faults that are listed for one document; a broken generator would else make endless lists."""

SHOWN_LENGTH_MAX = 60
"""Characters of a found value that a message repeats."""

INVALID = object()
"""What `read` returns when it added a fault: nothing may be built from it."""

Check = Callable[..., str | None]
"""Returns why a value is refused, or None."""


class Faults:
    """The faults found so far, in the order of the document."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []  # path ("" for the document itself), message
        self.left_out = 0

    def add(self, path: str, message: str) -> object:
        """Record a fault and return `INVALID`."""
        if len(self.lines) < FAULTS_MAX:
            self.lines.append((path, message))
        else:
            self.left_out += 1
        return INVALID


class Shape(Protocol):
    """One kind of value in a document."""

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return what a document's value means, or `INVALID` after adding faults."""
        ...

    def write(self, value: object) -> object:
        """Return the document's form of a value; `read` turns it back into an equal one."""
        ...

    def json(self) -> dict[str, object]:
        """Return the JSON Schema (2020-12) of the documents that `read` accepts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string; `pattern` (matched as a whole) only tells editors what `check` decides."""

    pattern: str = ""
    length_max: int = 4096
    check: Check = lambda _: None
    parse: Callable[[str], object] = str
    format: Callable[..., str] = str

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return the parsed string."""
        if not isinstance(value, str):
            hint = " (put it in quotes)" if isinstance(value, bool | int | float) else ""
            return faults.add(path, f"expected a string, found {found(value)}{hint}")
        if len(value) > self.length_max:
            return faults.add(path, f"has {len(value)} characters, at most {self.length_max}")
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            return faults.add(path, f"{found(value)} holds characters that no text may hold")
        if fault := self.check(value):
            return faults.add(path, fault)
        return parsed(self.parse, value, path, faults)

    def write(self, value: object) -> object:
        """Return the string."""
        return self.format(value)

    def json(self) -> dict[str, object]:
        """Return a schema of type string."""
        schema: dict[str, object] = {"type": "string", "maxLength": self.length_max}
        return schema | ({"pattern": f"^({self.pattern})$"} if self.pattern else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several strings; `later` holds known ones that are refused, with what to say."""

    options: tuple[str, ...]
    later: Mapping[str, str] = field(default_factory=dict[str, str])

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return the chosen string."""
        if isinstance(value, str) and value in self.options:
            return value
        *others, last = self.options
        allowed = f"{', '.join(others)} or {last}" if others else last
        if isinstance(value, str) and value in self.later:
            return faults.add(path, f"{self.later[value]}; this release allows {allowed}")
        return faults.add(path, f"expected {allowed}, found {found(value)}")

    def write(self, value: object) -> object:
        """Return the chosen string."""
        return value

    def json(self) -> dict[str, object]:
        """Return a schema that lists the strings."""
        return {"enum": list(self.options)}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return the truth value."""
        if not isinstance(value, bool):
            return faults.add(path, f"expected true or false, found {found(value)}")
        return value

    def write(self, value: object) -> object:
        """Return the truth value."""
        return value

    def json(self) -> dict[str, object]:
        """Return a schema of type boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number between two bounds, both allowed."""

    minimum: int
    maximum: int

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return the number."""
        if isinstance(value, bool) or not isinstance(value, int):
            return faults.add(path, f"expected an integer, found {found(value)}")
        if not self.minimum <= value <= self.maximum:
            bounds = f"{self.minimum} to {self.maximum}"
            return faults.add(path, f"expected {bounds}, found {found(value)}")
        return value

    def write(self, value: object) -> object:
        """Return the number."""
        return value

    def json(self) -> dict[str, object]:
        """Return a schema of type integer."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with a unit (`lattice.model.quantity`), between two bounds of the parsed number."""

    parse: Callable[[object], float]
    format: Callable[..., str | int]
    pattern: str
    minimum: float
    maximum: float
    plain: str = ""  # the JSON type of numbers without a unit, when they are allowed

    def read(self, value: object, path: str, faults: Faults) -> object:
        """Return the parsed number."""
        number = parsed(self.parse, value, path, faults)
        if not isinstance(number, int | float):
            return INVALID
        if not self.minimum <= number <= self.maximum:
            bounds = f"{self.format(self.minimum)} to {self.format(self.maximum)}"
            return faults.add(path, f"expected {bounds}, found {found(value)}")
        return number

    def write(self, value: object) -> object:
        """Return the shortest exact form."""
        return self.format(value)

    def json(self) -> dict[str, object]:
        """Return a schema for both forms; bounds of texts are beyond JSON Schema."""
        text: dict[str, object] = {"type": "string", "pattern": f"^({self.pattern})$"}
        return {"anyOf": [text, {"type": self.plain, "minimum": 0}]} if self.plain else text


def parsed(parse: Callable[..., object], value: object, path: str, faults: Faults) -> object:
    """Return what `parse` makes of a value; its `InvalidError` becomes a fault."""
    try:
        return parse(value)
    except InvalidError as exc:
        return faults.add(path, exc.message)


def found(value: object) -> str:
    """Return a short description of a value for a message."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return str(value).lower()
        case int() if abs(value) >= 1 << 64:
            return f"an integer of {value.bit_length()} bits"
        case int() | float():
            return str(value)
        case str():
            text = repr(value[: SHOWN_LENGTH_MAX + 1])
            return text if len(value) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}...'"
        case Mapping():
            return "a map"
        case list() | tuple():
            return "a list"
        case _:
            return type(value).__name__
