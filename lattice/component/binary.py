"""The bytes of a component binary, read with bounds, and its numbers (`Binary.md`).

Knows numbers, names and vectors, not what they mean. A read never passes the end of its window,
never copies more than a name, and reports each fault as an `InvalidError` with its offset.
"""

from __future__ import annotations

from lattice.errors import InvalidError

NAME_BYTES_MAX = 10_000
"""Bytes in one name: what the encoder of the component tools accepts is below it."""

_U32_BYTES_MAX = 5
_U32_MAX = (1 << 32) - 1


class ByteReader:
    """A cursor over a window of a binary.

    `position` and `end` are offsets in the whole binary, so that faults name true offsets.
    """

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end

    def fault(self, message: str, offset: int | None = None) -> InvalidError:
        """Return the error for a malformed binary at an offset (default: here), to be raised."""
        where = self.position if offset is None else offset
        return InvalidError(f"malformed component at offset {where:#x}: {message}", offset=where)

    def byte(self) -> int:
        """Return the next byte."""
        position = self.position
        if position >= self.end:
            raise self.fault("expected a byte, found the end")
        self.position = position + 1
        return self.data[position]

    def peek(self) -> int:
        """Return the next byte and stay before it."""
        if self.position >= self.end:
            raise self.fault("expected a byte, found the end")
        return self.data[self.position]

    def u32(self) -> int:
        """Return the next unsigned number of at most 32 bits (LEB128)."""
        start = position = self.position
        data = self.data
        if position >= self.end:
            raise self.fault("expected a number, found the end")
        value = data[position]
        position += 1
        if value >= 0x80:
            value &= 0x7F
            shift = 7
            while True:
                if position >= self.end:
                    raise self.fault("expected a number, found the end", start)
                byte = data[position]
                position += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if position - start >= _U32_BYTES_MAX:
                    raise self.fault(
                        "expected a number of at most 5 bytes, found a longer one", start
                    )
            if value > _U32_MAX:
                raise self.fault(f"expected a number below 2^32, found {value}", start)
        self.position = position
        return value

    def count(self) -> int:
        """Return the length of the vector that follows: no more than the bytes that are left.

        Every element takes at least one byte, so that a lying count cannot cause long loops.
        """
        start = self.position
        value = self.u32()
        if value > self.end - self.position:
            raise self.fault(
                f"expected at most {self.end - self.position} items, found {value}", start
            )
        return value

    def name(self) -> str:
        """Return the next string."""
        start = self.position
        length = self.count()
        if length > NAME_BYTES_MAX:
            raise self.fault(
                f"expected a name of at most {NAME_BYTES_MAX} bytes, found {length}", start
            )
        position = self.position
        self.position = position + length
        try:
            return self.data[position : position + length].decode()
        except UnicodeDecodeError:
            raise self.fault("expected a name in UTF-8, found other bytes", position) from None

    def flag(self) -> bool:
        """Return the next byte as a truth value: 0 or 1."""
        value = self.byte()
        if value > 1:
            raise self.fault(f"expected 0 or 1, found {value:#04x}", self.position - 1)
        return value == 1

    def expect(self, value: int, what: str) -> None:
        """Pass one byte that must have a given value."""
        found = self.byte()
        if found != value:
            raise self.fault(
                f"expected {what} ({value:#04x}), found {found:#04x}", self.position - 1
            )


def leb128(number: int) -> bytes:
    """Return an unsigned number as LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
