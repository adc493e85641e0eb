"""Frames: bytes as ASCII text, because a string crosses the engine's C API as one block.

A `list<u8>` crosses it as 32 bytes for each element. Where a component was wrapped with the bulk
shim (`hosts.engine.bulk`), such a list is a string that holds a frame; the shim has the other side
(`hosts/adapters/bulk/library.wat`, which also describes the frames). This module knows bytes only.
"""

from __future__ import annotations

import binascii
from typing import TypeAlias

from hosts.engine.codec.memory import HEADER, MEMORY, blank
from lattice.component.types import Primitive
from lattice.errors import DecodeError

FRAME = Primitive("frame")
"""Stands for `list<u8>` in the type of a wrapped function: a string that holds a frame."""

Buffer: TypeAlias = bytes | bytearray | memoryview

FRAME_DATA_BYTES_MAX = 96 * 1024 * 1024
"""Bytes in one list: the engine lets at most 128 MiB of values pass in one call."""

_HEX_BYTES_MAX = 2048
"""Up to here two digits a byte cost less than setting up the rows."""

_HEADER = 16
_ALIGN = 16
_ROWS = 7
_HIGH = 0x8080808080808080


def encode_frame(data: Buffer) -> bytes:
    """Return the frame of some bytes: ASCII, at most 1/7 longer, or twice as long up to 2 KiB.

    ASCII data is passed as it is, which is the cheapest.
    """
    if isinstance(data, memoryview):
        data = data.tobytes()
    if data.isascii():
        return b"a" + data
    if len(data) <= _HEX_BYTES_MAX:
        return b"h" + binascii.hexlify(data)
    return _encode_rows(data)


def decode_frame(frame: Buffer) -> bytes:
    """Return the bytes of a frame.

    Raises:
        DecodeError: it is no frame.
    """
    kind = bytes(frame[:1])
    if kind == b"a":
        return bytes(frame[1:])
    if kind == b"h":
        try:
            return binascii.unhexlify(frame[1:])
        except ValueError:
            raise DecodeError("a bulk frame has digits that are not hexadecimal") from None
    if kind == b"b":
        return _decode_rows(frame)
    raise DecodeError(f"a bulk frame starts with {kind!r}, expected b'a', b'b' or b'h'")


def _encode_rows(data: bytes | bytearray) -> bytes:
    import numpy as np  # costs a tenth of a second, and small calls do without

    size = len(data)
    width = (size + _ROWS * _ALIGN - 1) // (_ROWS * _ALIGN) * _ALIGN
    whole = blank(_HEADER + 8 * width)
    address = id(whole) + HEADER
    frame = np.frombuffer(MEMORY[address : address + len(whole)], np.uint8)
    frame[0] = ord("b")
    frame[1] = _ROWS * width - size
    start = _HEADER + width
    frame[start : start + size] = np.frombuffer(data, np.uint8)
    words = frame[_HEADER:].view(np.uint64).reshape(8, width // 8)
    high, rows = words[0], words[1:]
    mask = np.uint64(_HIGH)
    scratch = np.empty_like(high)
    np.bitwise_and(rows[0], mask, out=high)
    for row in rows[1:]:
        np.right_shift(high, 1, out=high)
        np.bitwise_and(row, mask, out=scratch)
        np.bitwise_or(high, scratch, out=high)
    # The last row's high bit is now bit 7, and row 0's is bit 1.
    np.right_shift(high, 1, out=high)
    np.bitwise_and(rows, ~mask, out=rows)
    return whole


def _decode_rows(frame: Buffer) -> bytes:
    import numpy as np

    text = np.frombuffer(frame, np.uint8)
    width, rest = divmod(len(text) - _HEADER, 8)
    if width < _ALIGN or rest or width % _ALIGN or text[1] >= _ROWS * _ALIGN:
        raise DecodeError(f"a bulk frame of {len(text)} bytes has no eight rows")
    words = text[_HEADER:].view(np.uint64).reshape(8, width // 8)
    high = words[0]
    data = np.empty_like(words[1:])
    mask = np.uint64(_HIGH)
    for k in range(_ROWS):
        row = data[k]
        np.left_shift(high, 7 - k, out=row)
        np.bitwise_and(row, mask, out=row)
        np.bitwise_or(row, words[1 + k], out=row)
    return data.view(np.uint8).reshape(-1)[: _ROWS * width - int(text[1])].tobytes()
