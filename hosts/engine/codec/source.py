"""Collects the lines and constants of one generated function, and compiles it.

Knows nothing of types. Generated code sees only what is put into its namespace: names that come
from a component's types appear in it as constants or as quoted literals, never as code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

from hosts.engine.codec.memory import HEADER, MEMORY, blank


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies: an offset from the address in a variable."""

    base: str
    offset: int

    def __str__(self) -> str:
        return f"{self.base} + {self.offset}" if self.offset else self.base

    def plus(self, offset: int) -> Place:
        """Return the place that many bytes further."""
        return Place(self.base, self.offset + offset)


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of a block: at a place, in a format of `struct`, the values by expressions."""

    place: Place
    form: str
    values: Sequence[str]


class Source:
    """The source of one function."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        """`names` are seen by the generated code besides those of `memory`."""
        self._lines: list[str] = []
        self._numbers = itertools.count()
        self._space = {"MEMORY": MEMORY, "HEADER": HEADER, "blank": blank, **names}
        self._structs: dict[tuple[str, str], str] = {}

    def name(self, prefix: str) -> str:
        """Return a variable name that nobody else uses."""
        return f"{prefix}{next(self._numbers)}"

    def constant(self, value: Any) -> str:
        """Return the name under which generated code finds a value."""
        name = self.name("K")
        self._space[name] = value
        return name

    def method(self, form: str, method: str) -> str:
        """Return the name of a method of the `Struct` of a format."""
        name = self._structs.get((form, method))
        if name is None:
            name = self.constant(getattr(Struct(form), method))
            self._structs[form, method] = name
        return name

    def line(self, depth: int, text: str) -> None:
        """Append a line."""
        self._lines.append("    " * depth + text)

    def text(self, text: str) -> None:
        """Append lines that are indented already."""
        self._lines.append(text.rstrip())

    def refuse_if(self, depth: int, *conditions: str) -> None:
        """Append a line that gives up when one of the conditions holds."""
        if conditions:
            self.line(depth, f"if {' or '.join(conditions)}: raise ValueError")

    def function(self, name: str) -> Callable[..., Any]:
        """Return the compiled function of that name."""
        code = compile("\n".join(self._lines), f"<codec {name}>", "exec")
        exec(code, self._space)  # noqa: S102 (generated above, see the module's docstring)
        made: Callable[..., Any] = self._space[name]
        return made


def block_form(items: Sequence[Item], start: int, size: int | None = None) -> str:
    """Return the format of items that lie in order in one block from `start` on."""
    form, at = "<", start
    for item in items:
        gap = item.place.offset - at
        form += f"{gap}x" * bool(gap) + item.form
        at += gap + Struct("<" + item.form).size
    if size is not None and at < start + size:
        form += f"{start + size - at}x"
    return form
