"""Labels of hosts and the selectors over them; a selector that does not match says why.

zone in (eu, us)   zone notin (eu)   disk = ssd   disk != ssd   gpu   !spot   cores > 4
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lattice.errors import InvalidError

Labels = Mapping[str, str]

Operator = Literal["in", "notin", "exists", "absent", ">", "<"]

KEY_LENGTH_MAX = 128
"""Characters of a label key; keys travel in every inventory."""

VALUE_LENGTH_MAX = 256
"""Characters of a label value."""

RESERVED_PREFIX = "lattice."
"""Labels under it are facts that a host finds itself."""

_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_SET = re.compile(r"(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_COMPARE = re.compile(r"(?P<key>[^\s=!<>]+)\s*(?P<op>==?|!=|>|<)\s*(?P<value>[^\s=!<>]+)")
_PRESENCE = re.compile(r"(?P<not>!\s*)?(?P<key>[^\s=!<>]+)")


@dataclass(frozen=True, slots=True)
class Selector:
    """One condition on the labels of a host."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.operator:
            case "in" if len(self.values) == 1:
                return f"{self.key} = {self.values[0]}"
            case "notin" if len(self.values) == 1:
                return f"{self.key} != {self.values[0]}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({', '.join(self.values)})"
            case "exists":
                return self.key
            case "absent":
                return f"!{self.key}"
            case _:
                return f"{self.key} {self.operator} {self.values[0]}"

    def refusal(self, labels: Labels) -> str | None:
        """Return why the labels do not satisfy the condition, or None if they do.

        `notin` is satisfied by an absent key, as in Kubernetes label selectors.
        """
        value = labels.get(self.key)
        found = f"label {self.key}={value}" if value is not None else f"no label {self.key}"
        match self.operator:
            case "in":
                is_met = value in self.values
            case "notin":
                is_met = value not in self.values
            case "exists":
                is_met = value is not None
            case "absent":
                is_met = value is None
            case _:
                is_met = _compare(value, self.operator, int(self.values[0]))
        return None if is_met else f"{found}, needs {self}"


def parse_selector(text: str) -> Selector:
    """Return the selector that a text writes (see the module's examples).

    Raises:
        InvalidError: the text is none of the forms, or compares with something that is no integer.
    """
    text = text.strip()
    if match := _SET.fullmatch(text):
        values = tuple(v.strip() for v in match["values"].split(",") if v.strip())
        if not values:
            raise InvalidError(f"label selector {text!r} lists no values")
        selector = Selector(match["key"], "in" if match["op"] == "in" else "notin", values)
    elif match := _COMPARE.fullmatch(text):
        operators: dict[str, Operator] = {"=": "in", "==": "in", "!=": "notin", ">": ">", "<": "<"}
        selector = Selector(match["key"], operators[match["op"]], (match["value"],))
        if selector.operator in "<>" and not re.fullmatch(r"-?\d+", match["value"]):
            raise InvalidError(f"label selector {text!r} compares with {match['value']!r}, "
                               "expected an integer")  # fmt: skip
    elif match := _PRESENCE.fullmatch(text):
        selector = Selector(match["key"], "absent" if match["not"] else "exists")
    else:
        raise InvalidError(
            f"{text!r} is not a label selector, expected for example "
            "'zone in (eu, us)', 'disk = ssd', 'gpu', '!spot' or 'cores > 4'"
        )
    if fault := key_fault(selector.key):
        raise InvalidError(f"label selector {text!r}: {fault}")
    return selector


def key_fault(key: str) -> str | None:
    """Return why a string cannot be a label key, or None if it can."""
    if len(key) > KEY_LENGTH_MAX or not _KEY.fullmatch(key):
        return (
            f"{key!r} is not a label key: letters, digits, '.', '_', '/' and '-', "
            f"at most {KEY_LENGTH_MAX}"
        )
    return None


def _compare(value: str | None, operator: str, bound: int) -> bool:
    if value is None or not re.fullmatch(r"-?\d+", value):
        return False
    return int(value) > bound if operator == ">" else int(value) < bound
