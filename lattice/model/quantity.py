"""Durations, sizes and shares of a processor as people write them, and the numbers they mean.

Durations become seconds, sizes bytes, processor shares thousandths of a core. Reading and writing
are exact: `parse_x(format_x(n)) == n`. Bounds belong to the fields, not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from lattice.errors import InvalidError

TEXT_LENGTH_MAX = 64
"""Characters of a quantity: longer than any exact number that a field allows."""

NUMBER_PATTERN = r"\d+(\.\d+)?"
DURATION_PATTERN = NUMBER_PATTERN + r"\s*(ms|s|m|h)"
SIZE_PATTERN = NUMBER_PATTERN + r"\s*(Ki|Mi|Gi|Ti|k|M|G|T)?"
CPU_PATTERN = NUMBER_PATTERN + r"m?"

_QUANTITY = re.compile(rf"(?P<number>{NUMBER_PATTERN})\s*(?P<unit>[A-Za-z%]*)", re.ASCII)

# The largest unit first, in which order writing tries them.
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_BYTES = {
    "Ti": 1 << 40, "Gi": 1 << 30, "Mi": 1 << 20, "Ki": 1 << 10,
    "T": 10**12, "G": 10**9, "M": 10**6, "k": 10**3,
}  # fmt: skip


def parse_duration(value: object) -> float:
    """Return the seconds that a duration such as `250ms`, `2s`, `1.5m` or `1h` means.

    Raises:
        InvalidError: the value is no such text; a number without a unit is refused too.
    """
    number, unit = _split(value, "a duration such as 250ms, 2s, 5m or 1h")
    if not unit:
        raise InvalidError(
            f"{_shown(value)} is a duration without a unit, expected for example {value}s"
        )
    return float(number * _factor(unit, _MILLISECONDS, "duration", value) / 1000)


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads as exactly these seconds."""
    milliseconds = Decimal(repr(float(seconds))) * 1000
    if milliseconds == milliseconds.to_integral_value():
        whole = int(milliseconds)
        for unit, factor in _MILLISECONDS.items():
            if whole and whole % factor == 0:
                return f"{whole // factor}{unit}"
        if not whole:
            return "0s"
    return f"{Decimal(repr(float(seconds))):f}s"


def parse_size(value: object) -> int:
    """Return the bytes that a size such as `64Mi`, `2Gi`, `500M` or `1024` means.

    Raises:
        InvalidError: the value is no such text or integer, or no whole number of bytes.
    """
    number, unit = _split(value, "a size such as 64Mi, 2Gi, 500M or a number of bytes")
    total = number * (_factor(unit, _BYTES, "size", value) if unit else 1)
    if total != int(total):
        raise InvalidError(f"{_shown(value)} is no whole number of bytes")
    return int(total)


def format_size(size_bytes: int) -> str | int:
    """Return the shortest form that `parse_size` reads as exactly these bytes."""
    for unit, factor in _BYTES.items():
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return size_bytes


def parse_cpu(value: object) -> int:
    """Return the thousandths of a core that `100m`, `2` or `0.5` means.

    Raises:
        InvalidError: the value is no such text or number, or finer than a thousandth.
    """
    number, unit = _split(value, "cores such as 100m, 2 or 0.5")
    if unit not in {"", "m"}:
        raise InvalidError(f"unknown unit {unit!r} in cpu {_shown(value)}, expected m or none")
    total = number if unit else number * 1000
    if total != int(total):
        raise InvalidError(f"{_shown(value)} is finer than a thousandth of a core")
    return int(total)


def format_cpu(cpu_milli: int) -> str | int:
    """Return the shortest form that `parse_cpu` reads as exactly these thousandths."""
    return cpu_milli // 1000 if cpu_milli % 1000 == 0 else f"{cpu_milli}m"


def _split(value: object, wanted: str) -> tuple[Decimal, str]:
    text = str(value) if _is_plain(value) else ""
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= TEXT_LENGTH_MAX else None
    if match is None:
        raise InvalidError(f"expected {wanted}, found {_shown(value)}")
    return Decimal(match["number"]), match["unit"]


def _is_plain(value: object) -> bool:
    # The bound keeps out integers that Python refuses to print.
    if isinstance(value, int) and not isinstance(value, bool):
        return value.bit_length() < 3 * TEXT_LENGTH_MAX
    return isinstance(value, str | float)


def _factor(unit: str, factors: Mapping[str, int], kind: str, value: object) -> int:
    try:
        return factors[unit]
    except KeyError:
        raise InvalidError(
            f"unknown unit {unit!r} in {kind} {_shown(value)}, expected one of {', '.join(factors)}"
        ) from None


def _shown(value: object) -> str:
    text = repr(value) if _is_plain(value) else type(value).__name__
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}..."
