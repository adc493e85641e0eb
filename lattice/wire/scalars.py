"""The rules by which single values fit the types of WIT that have no parts, and bytes.

`Findings` collects what is wrong; `checking` walks the types that have parts.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from typing import Any

FAULTS_MAX = 20
"""Faults that are listed; checking stops there, because a wrong list is wrong in each element."""

ITEMS_MAX = 4_000_000
"""Elements of lists and maps in one value, bytes not counted: bounds the time of one check."""

INTEGERS: dict[str, tuple[int, int]] = {
    "u8": (0, (1 << 8) - 1),
    "u16": (0, (1 << 16) - 1),
    "u32": (0, (1 << 32) - 1),
    "u64": (0, (1 << 64) - 1),
    "s8": (-(1 << 7), (1 << 7) - 1),
    "s16": (-(1 << 15), (1 << 15) - 1),
    "s32": (-(1 << 31), (1 << 31) - 1),
    "s64": (-(1 << 63), (1 << 63) - 1),
}
"""Least and greatest value of each integer type."""

_SPECIAL_FLOATS = {
    "nan": float("nan"),
    "inf": float("inf"),
    "infinity": float("inf"),
    "-inf": float("-inf"),
    "-infinity": float("-inf"),
}
"""What JSON strings stand for where a float is due, in lower case."""

_HANDLE: dict[str, type] = {"host": str, "instance": str, "id": int, "epoch": int}
_EXACT_FLOAT_MAX = 1 << 53
_DIGITS_MAX = 20  # of a 64-bit integer with its sign
_SHOWN_MAX = 40
_NARROW = struct.Struct("<f")

Path = str | tuple[Any, str | int]
"""Where a value stands: a name, or (path, field or index). It is written out only for a fault."""


class EnoughFaultsError(Exception):
    """Checking stops: the list of faults is full."""


class Findings:
    """What is wrong with the values of one call, and how much was looked at."""

    def __init__(self, *, is_json: bool = False) -> None:
        self.is_json = is_json
        self.faults: list[str] = []
        self._items_left = ITEMS_MAX

    def fault(self, path: Path, message: str) -> None:
        """Add a fault.

        Raises:
            EnoughFaultsError: `FAULTS_MAX` are listed already.
        """
        if len(self.faults) >= FAULTS_MAX:
            self.faults.append("further faults are not listed")
            raise EnoughFaultsError
        where = _written(path)
        self.faults.append(f"{where}: {message}" if where else message)

    def expected(self, path: Path, what: str, value: object) -> None:
        """Add the fault that something else was expected."""
        self.fault(path, f"expected {what}, found {shown(value)}")

    def spend(self, amount: int, path: Path) -> None:
        """Account for the elements of a list or map."""
        self._items_left -= amount
        if self._items_left < 0:
            self.fault(path, f"expected at most {ITEMS_MAX} elements in one value, found more")
            raise EnoughFaultsError


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"a map of {len(value)} fields"
        case list() | tuple():
            return f"an array of {len(value)}"
        case bytes() | bytearray() | memoryview():
            return f"{len(value)} bytes"
        case int() if value.bit_length() > 128:
            return f"an integer of {value.bit_length()} bits"
        case str() if len(value) > _SHOWN_MAX:
            return f"{value[:_SHOWN_MAX]!r}..."
        case _:
            text = repr(value)
            return text if len(text) <= _SHOWN_MAX else f"{type(value).__name__} {text[:20]}..."


def check_bool(findings: Findings, _name: str, value: Any, path: Path) -> Any:
    """Return a truth value."""
    if value is not True and value is not False:
        findings.expected(path, "true or false", value)
    return value


def check_integer(findings: Findings, name: str, value: Any, path: Path) -> Any:
    """Return an integer in the range of its type; JSON may write one as `3.0`, 64 bits as text."""
    low, high = INTEGERS[name]
    if type(value) is not int:
        if findings.is_json:
            value = _integer_of_json(name, value)
        if not isinstance(value, int) or isinstance(value, bool):
            findings.expected(path, f"an integer ({name})", value)
            return value
        value = int(value)
    if not low <= value <= high:
        findings.fault(path, f"expected {name} ({low} to {high}), found {shown(value)}")
    return value


def _integer_of_json(name: str, value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOAT_MAX:
        return int(value)
    if isinstance(value, str) and name in ("u64", "s64") and len(value) <= _DIGITS_MAX:
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit():
            return int(value)
    return value


def check_float(findings: Findings, name: str, value: Any, path: Path) -> Any:
    """Return a float, rounded to 32 bits for f32."""
    if type(value) is not float:
        if findings.is_json and isinstance(value, str):
            value = _SPECIAL_FLOATS.get(value.lower(), value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            findings.expected(path, f"a number ({name})", value)
            return value
        try:
            value = float(value)
        except OverflowError:
            findings.expected(path, f"a number in the range of {name}", value)
            return value
    if name == "f64":
        return value
    try:
        return _NARROW.unpack(_NARROW.pack(value))[0]
    except OverflowError:
        findings.expected(path, "a number in the range of f32", value)
        return value


def check_string(findings: Findings, _name: str, value: Any, path: Path) -> Any:
    """Return a string that can be written in UTF-8."""
    if not isinstance(value, str):
        findings.expected(path, "a string", value)
    elif not value.isascii() and not _is_unicode(value):
        findings.fault(path, "expected Unicode text, found a lone surrogate")
    return value


def check_char(findings: Findings, _name: str, value: Any, path: Path) -> Any:
    """Return one Unicode scalar value as a string."""
    if not isinstance(value, str) or len(value) != 1:
        findings.expected(path, "one character", value)
    elif not _is_unicode(value):
        findings.fault(path, "expected one character, found a lone surrogate")
    return value


def check_error_context(findings: Findings, _name: str, _value: Any, path: Path) -> Any:
    """Refuse: an error context lives in one store."""
    findings.fault(path, "an error-context cannot be passed between instances; use a string")


def check_bytes(findings: Findings, value: Any, path: Path) -> Any:
    """Return bytes: from JSON `{"base64": ...}`, and from a list of numbers."""
    if type(value) is bytes:
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if findings.is_json and isinstance(value, dict) and isinstance(value.get("base64"), str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError) as exc:
            findings.fault(path, f"expected base64, found other text ({exc})")
            return b""
    if isinstance(value, list | tuple):
        numbers = [
            check_integer(findings, "u8", number, (path, index))
            for index, number in enumerate(value)
        ]
        return b"" if findings.faults else bytes(numbers)
    findings.expected(path, '{"base64": "..."}' if findings.is_json else "bytes", value)
    return b""


def check_handle(findings: Findings, value: Any, path: Path) -> Any:
    """Return the handle of a resource: a map of host, instance, id and epoch."""
    is_handle = (
        isinstance(value, dict)
        and value.keys() == _HANDLE.keys()
        and all(type(value[name]) is cls for name, cls in _HANDLE.items())
    )
    if not is_handle:
        findings.expected(path, "a handle {host, instance, id, epoch}", value)
    return value


Check = Callable[[Findings, str, Any, Path], Any]

PRIMITIVES: dict[str, Check] = {
    "bool": check_bool,
    **dict.fromkeys(INTEGERS, check_integer),
    "f32": check_float,
    "f64": check_float,
    "char": check_char,
    "string": check_string,
    "error-context": check_error_context,
}
"""The rule of each primitive type, by its name."""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(path: Path) -> str:
    if isinstance(path, str):
        return path
    outer, last = path
    before = _written(outer)
    if isinstance(last, int):
        return f"{before}[{last}]"
    return f"{before}.{last}" if before else last
