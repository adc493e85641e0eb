"""Expressions over the attributes of a device or the labels of a host; one that fails says why.

vendor == "nvidia" and memory >= 8Gi and "shader-f16" in features and not software

A language of its own, read by `expression_reading`: no arithmetic, no functions, no `eval`, and it
always ends. A comparison with an attribute that is missing is false, whatever it compares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Attribute: TypeAlias = str | int | bool | Sequence[str]
Attributes: TypeAlias = Mapping[str, Attribute]

ComparisonOperator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]

SIZES: Mapping[str, int] = {
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip
"""The suffixes of integers, as in a manifest's sizes."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Name:
    """The attribute of that name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Constant:
    """A text, an integer, true or false, or a list of texts and integers."""

    value: str | int | bool | tuple[str | int, ...]
    suffix: str = ""  # of an integer, as it was written; says how a found value is shown

    def __str__(self) -> str:
        return _shown(self.value, self.suffix)


Operand: TypeAlias = Name | Constant


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands compared. Texts and integers have an order of their own, never a common one,
    but that a text of digits counts as its integer beside an integer: labels are texts."""

    left: Operand
    operator: ComparisonOperator
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"

    def refusal(self, attributes: Attributes) -> str | None:
        """Return why it does not hold, with the values found, or None if it does."""
        sides = (self.left, self.right)
        names = [side.name for side in sides if isinstance(side, Name)]
        if missing := [name for name in names if name not in attributes]:
            return f"no {' and no '.join(missing)}, needs {self}"
        left, right = (_value(side, attributes) for side in sides)
        if _holds(left, self.operator, right):
            return None
        suffix = "".join(side.suffix for side in sides if isinstance(side, Constant))
        found = " and ".join(f"{name}={_shown(attributes[name], suffix)}" for name in names)
        return f"{found}, needs {self}" if found else f"{self} never holds"


@dataclass(frozen=True, slots=True)
class Truth:
    """An attribute that must be there, and be neither false, nor 0, nor an empty list."""

    name: str

    def __str__(self) -> str:
        return self.name

    def refusal(self, attributes: Attributes) -> str | None:
        """Return why it does not hold, with the value found, or None if it does."""
        if self.name not in attributes:
            return f"no {self.name}, needs {self}"
        value = attributes[self.name]
        is_met = isinstance(value, str) or bool(value)
        return None if is_met else f"{self.name}={_shown(value)}, needs {self}"


@dataclass(frozen=True, slots=True)
class Not:
    """What must not hold. It does hold of what compares with a missing attribute."""

    part: Node

    def __str__(self) -> str:
        simple = isinstance(self.part, Truth | Not)
        return f"not {self.part}" if simple else f"not ({self.part})"

    def refusal(self, attributes: Attributes) -> str | None:
        """Return the values that the part found when it holds, or None if it does not."""
        if self.part.refusal(attributes) is not None:
            return None
        found = [f"{name}={_shown(attributes[name])}" for name in sorted(names_of(self.part))
                 if name in attributes]  # fmt: skip
        return f"{' and '.join(found)}, needs {self}" if found else f"{self} never holds"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Two parts or more that must all hold."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(
            f"({part})" if isinstance(part, AnyOf | AllOf) else str(part) for part in self.parts
        )

    def refusal(self, attributes: Attributes) -> str | None:
        """Return why the first part that does not hold does not, or None if all do."""
        for part in self.parts:
            if (text := part.refusal(attributes)) is not None:
                return text
        return None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Two parts or more of which one must hold."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(
            f"({part})" if isinstance(part, AnyOf) else str(part) for part in self.parts
        )

    def refusal(self, attributes: Attributes) -> str | None:
        """Return why each part does not hold, or None if one does."""
        texts: list[str] = []
        for part in self.parts:
            if (text := part.refusal(attributes)) is None:
                return None
            texts.append(text)
        return "; or ".join(texts)


Node: TypeAlias = Comparison | Truth | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition on attributes. Two are equal when they were read as the same condition."""

    root: Node

    def __str__(self) -> str:
        return str(self.root)

    def refusal(self, attributes: Attributes) -> str | None:
        """Return which comparison does not hold, with the value found, or None if all is well.

        Never raises: values of another kind than a comparison expects do not satisfy it.
        """
        return self.root.refusal(attributes)


def names_of(node: Node) -> frozenset[str]:
    """Return the names of the attributes that a condition looks at."""
    match node:
        case Comparison(left, _, right):
            return frozenset(side.name for side in (left, right) if isinstance(side, Name))
        case Truth(name):
            return frozenset((name,))
        case Not(part):
            return names_of(part)
        case AllOf(parts) | AnyOf(parts):
            return frozenset().union(*(names_of(part) for part in parts))


def _value(operand: Operand, attributes: Attributes) -> Attribute | tuple[str | int, ...]:
    return attributes[operand.name] if isinstance(operand, Name) else operand.value


def _holds(left: object, operator: ComparisonOperator, right: object) -> bool:
    match operator:
        case "in" | "not in":
            if isinstance(right, str) or not isinstance(right, Sequence):
                return False
            is_member = any(_compared(left, item) == 0 for item in right)
            return is_member if operator == "in" else not is_member
        case "==":
            return _compared(left, right) == 0
        case "!=":
            return _compared(left, right) != 0
        case _:
            order = _compared(left, right)
    if order is None or isinstance(left, bool) or isinstance(right, bool):
        return False
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[operator]


def _compared(left: object, right: object) -> int | None:
    """Return below 0, 0 or above 0 as left is less, equal or more; None if they do not compare."""
    match left, right:
        case (bool(), _) | (_, bool()):
            return 0 if left is right else None
        case str(), int() if _INTEGER.fullmatch(left):
            left = int(left)
        case int(), str() if _INTEGER.fullmatch(right):
            right = int(right)
        case _:
            pass
    if (isinstance(left, int) and isinstance(right, int)) or (
        isinstance(left, str) and isinstance(right, str)
    ):
        return (left > right) - (left < right)  # type: ignore[operator]  # both int, or both str
    if isinstance(left, str | int) or isinstance(right, str | int):
        return None
    return 0 if left == right else None


def _shown(value: object, suffix: str = "") -> str:
    """Return a value as it is written in an expression, an integer exactly."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            unit = SIZES.get(suffix, 1)
            return f"{value // unit}{suffix}" if value % unit == 0 else str(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case Sequence():
            return f"({', '.join(_shown(item) for item in value)})"
        case _:
            return repr(value)
