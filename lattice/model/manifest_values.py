"""The kinds of values that fields all over a manifest share: names, labels, durations, sizes.

Bounds that belong to one field stand with that field. This module reads no field itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lattice.errors import InvalidError
from lattice.model import quantity
from lattice.model.ids import NAME_LENGTH_MAX, name_fault
from lattice.model.labels import (
    KEY_LENGTH_MAX,
    VALUE_LENGTH_MAX,
    Selector,
    key_fault,
    parse_selector,
)
from lattice.model.scalar import Quantity, Text
from lattice.model.schema import ListOf, MapOf

DAY_S = 86_400

KIB, GIB = 1 << 10, 1 << 30

LABEL_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9._/\-]*[A-Za-z0-9])?"
NAME_PATTERN = r"[a-z0-9]([a-z0-9\-]*[a-z0-9])?"
INTERFACE_PATTERN = r"[a-z0-9\-]+(:[a-z0-9\-]+)+(/[a-z0-9\-]+)+(@[0-9A-Za-z.+\-]+)?"


def matches(pattern: str, wanted: str) -> Callable[[str], str | None]:
    """Return a check that refuses texts which the pattern does not match as a whole."""
    compiled = re.compile(pattern)

    def fault(text: str) -> str | None:
        return None if compiled.fullmatch(text) else f"{text!r} is not {wanted}"

    return fault


def duration(maximum_s: float, *, minimum_s: float = 0.001) -> Quantity:
    """Return the kind of durations between two bounds."""
    return Quantity(
        parse=quantity.parse_duration,
        format=quantity.format_duration,
        pattern=quantity.DURATION_PATTERN,
        minimum=minimum_s,
        maximum=maximum_s,
    )


def size(minimum: int, maximum: int) -> Quantity:
    """Return the kind of sizes in bytes between two bounds."""
    return Quantity(
        parse=quantity.parse_size,
        format=quantity.format_size,
        pattern=quantity.SIZE_PATTERN,
        minimum=minimum,
        maximum=maximum,
        plain="integer",
    )


def thousandths(minimum: int, maximum: int) -> Quantity:
    """Return the kind of numbers with thousandths, such as cores, between two bounds."""
    return Quantity(
        parse=quantity.parse_cpu,
        format=quantity.format_cpu,
        pattern=quantity.CPU_PATTERN,
        minimum=minimum,
        maximum=maximum,
        plain="number",
    )


def _selector_text(selector: Selector) -> str:
    # `key = value` cannot carry every value that `key in (value)` can, for example one with spaces.
    text = str(selector)
    if selector.operator not in {"in", "notin"}:
        return text
    try:
        is_same = parse_selector(text) == selector
    except InvalidError:
        is_same = False
    return text if is_same else f"{selector.key} {selector.operator} ({', '.join(selector.values)})"


NAME = Text(pattern=NAME_PATTERN, length_max=NAME_LENGTH_MAX, check=name_fault)
INTERFACE = Text(
    pattern=INTERFACE_PATTERN,
    length_max=256,
    check=matches(INTERFACE_PATTERN, "an interface, expected namespace:package/name[@version]"),
)
LABEL_KEY = Text(pattern=LABEL_PATTERN, length_max=KEY_LENGTH_MAX, check=key_fault)
LABELS = MapOf(key=LABEL_KEY, value=Text(length_max=VALUE_LENGTH_MAX), maximum=64)
SELECTOR = Text(length_max=1024, parse=parse_selector, format=_selector_text)
SELECTORS = ListOf(item=SELECTOR)
