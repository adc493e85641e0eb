"""What generated code calls for types whose values have no fixed form: bulk lists and flags.

Whatever does not fit raises `ValueError`, `TypeError` or one of `struct`; the checking codec then
says what is wrong. numpy moves long lists; short ones are cheaper without, and it is imported when
the first long one comes, because that takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from struct import Struct
from typing import Any, TypeAlias

from hosts.engine.codec.memory import HEADER, MEMORY, blank
from hosts.engine.codec.records import PLAIN, field_name
from hosts.engine.ffi import VAL_SIZE
from hosts.engine.frames import FRAME_DATA_BYTES_MAX, decode_frame, encode_frame
from hosts.engine.layout import FLOATS, INTEGERS, LIST_LENGTH_MAX, NAME_BLOCK, U8_VAL

LONG_LIST = 32
"""Elements from which numpy's constant cost of a few microseconds is paid back."""

LowerSpan: TypeAlias = Callable[[Any, list[Any]], tuple[int, int]]
"""Returns number and address of the elements; what must be kept is appended."""

LiftSpan: TypeAlias = Callable[[int, int], Any]
"""Returns the plain value of so many elements at an address."""

SCALARS: Mapping[str, tuple[int, str]] = {
    "bool": (0, "?"),
    **{name: (kind, form) for name, (kind, form, _, _) in INTEGERS.items()},
    **FLOATS,
}
"""Kind and format of the types whose lists are moved in bulk."""

_NUMPY_FORMS = {
    "b": "i1", "B": "u1", "h": "<i2", "H": "<u2", "i": "<i4", "I": "<u4", "q": "<i8", "Q": "<u8",
    "f": "<f4", "d": "<f8", "?": "?",
}  # fmt: skip


SHORT_TEXT_MAX = 512
"""Bytes of a text up to which it is read as one more field, which costs less than a slice."""


class _Texts(dict[int, Callable[..., tuple[bytes]]]):
    """By number of bytes: the function that reads so many from a buffer at an offset."""

    def __missing__(self, size: int) -> Callable[..., tuple[bytes]]:
        read = Struct(f"{size}s").unpack_from
        if size <= SHORT_TEXT_MAX:
            self[size] = read
        return read


TEXT = _Texts()


def fill_record(names: Sequence[str], optional: Sequence[str]) -> Callable[[Any], dict[str, Any]]:
    """Return the function that makes a dict with all fields of whatever stands for a record.

    Absent fields whose type is an option are None.
    """
    count, absent = len(names), dict.fromkeys(optional)
    # With one name, `attrgetter` would return the value alone.
    attributes = attrgetter(*map(field_name, names), "__class__")

    def fill(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            if type(value) in PLAIN or isinstance(value, Mapping):
                raise ValueError
            try:
                return dict(zip(names, attributes(value), strict=False))
            except AttributeError:
                raise ValueError from None
        filled = {**absent, **value}
        if len(filled) != count:
            raise ValueError
        return filled

    return fill


def lower_bytes(value: Any, keep: list[Any]) -> tuple[int, int]:
    """Return number and address of the elements of a list<u8>."""
    if type(value) is not bytes and type(value) is not bytearray:
        raise ValueError
    value = bytes(value)
    count = len(value)
    if count > LIST_LENGTH_MAX:
        raise ValueError
    if not count:
        return 0, 0
    if count < LONG_LIST:
        elements = bytearray(U8_VAL) * count
        elements[8::VAL_SIZE] = value
        block = bytes(elements)
    else:
        block = _strided(INTEGERS["u8"][0], "u1", value)
    keep.append(block)
    return count, id(block) + HEADER


def lower_frame(value: Any, keep: list[Any]) -> tuple[int, int]:
    """Return size and address of the frame that carries a list<u8>."""
    if type(value) is not bytes and type(value) is not bytearray:
        raise ValueError
    if len(value) > FRAME_DATA_BYTES_MAX:
        raise ValueError
    frame = encode_frame(value)
    keep.append(frame)
    return len(frame), id(frame) + HEADER


def lift_frame(size: int, address: int) -> bytes:
    """Return the list<u8> that a frame carries."""
    return decode_frame(MEMORY[address : address + size])


def _strided(kind: int, form: str, packed: bytes) -> bytes:
    """Return a value's block for each of the packed numbers; `form` is numpy's."""
    import numpy as np

    values = np.frombuffer(packed, form)
    block = blank(len(values) * VAL_SIZE)
    address = id(block) + HEADER
    view = MEMORY[address : address + len(values) * VAL_SIZE]
    np.frombuffer(view, "u1")[::VAL_SIZE] = kind
    np.ndarray((len(values),), values.dtype, view, 8, (VAL_SIZE,))[:] = values
    return block


def lower_scalars(name: str) -> LowerSpan:
    """Return the function that lowers lists of a scalar type."""
    kind, form = SCALARS[name]
    allowed = {bool} if name == "bool" else {int, float} if name in FLOATS else {int}
    one = Struct(f"<B7x{form}{24 - Struct(form).size}x").pack
    numpy_form = _NUMPY_FORMS.get(form, form)

    def lower(value: Any, keep: list[Any]) -> tuple[int, int]:
        if type(value) is not list and type(value) is not tuple:
            raise ValueError
        value = tuple(value)
        count = len(value)
        if count > LIST_LENGTH_MAX or not allowed.issuperset(map(type, value)):
            raise ValueError
        if not count:
            return 0, 0
        if count < LONG_LIST:
            block = b"".join([one(kind, each) for each in value])
        else:
            packed = Struct(f"<{count}{form}").pack(*value)
            block = _strided(kind, numpy_form, packed)
        keep.append(block)
        return count, id(block) + HEADER

    return lower


def lower_flags(names: Mapping[str, bytes]) -> LowerSpan:
    """Return the function that lowers flags; `names` are packed lengths and addresses."""

    def lower(value: Any, keep: list[Any]) -> tuple[int, int]:
        if type(value) is not list and type(value) is not tuple:
            raise ValueError
        if not value:
            return 0, 0
        chosen = dict.fromkeys(value)
        block = b"".join([names[name] for name in chosen])
        keep.append(block)
        return len(chosen), id(block) + HEADER

    return lower


def lift_bytes(count: int, address: int) -> bytes:
    """Return a list<u8>."""
    view = MEMORY[address : address + count * VAL_SIZE]
    if count < LONG_LIST:
        return bytes(view)[8::VAL_SIZE]
    import numpy as np

    return np.frombuffer(view, "u1")[8::VAL_SIZE].tobytes()


def lift_scalars(name: str) -> LiftSpan:
    """Return the function that lifts lists of a scalar type."""
    kind, form = SCALARS[name]
    each = Struct(f"<B7x{form}{24 - Struct(form).size}x").iter_unpack
    numpy_form = _NUMPY_FORMS.get(form, form)

    def lift(count: int, address: int) -> list[Any]:
        view = MEMORY[address : address + count * VAL_SIZE]
        if count < LONG_LIST:
            pairs = list(each(view))
            if any(found != kind for found, _ in pairs):
                raise ValueError
            return [value for _, value in pairs]
        import numpy as np

        if (np.frombuffer(view, "u1")[::VAL_SIZE] != kind).any():
            raise ValueError
        values: list[Any] = np.ndarray(
            (count,), np.dtype(numpy_form), view, 8, (VAL_SIZE,)
        ).tolist()
        return values

    return lift


def lift_flags(count: int, address: int) -> list[str]:
    """Return the names of flags."""
    view = MEMORY[address : address + count * NAME_BLOCK.size]
    return [
        str(MEMORY[at : at + size], "utf-8") for size, at in NAME_BLOCK.iter_unpack(bytes(view))
    ]
