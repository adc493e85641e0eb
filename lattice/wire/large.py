"""Bodies of calls that no message holds: the words by which they travel in parts.

Whoever calls asks the subject of the call for a place (`open`), puts the parts there, each
acknowledged, and then has the call run by one small message to the same place. A result that is
too large is an error whose details name the place where its parts can be got. All are requests, so
nothing is sent faster than it is taken, and a part may be put or got twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lattice.errors import DecodeError, InvalidError

LARGE_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of a call's arguments, or of its result, as they travel: half of what all values of a call
may take in the engine."""

DIRECT_BYTES_MAX = 1024 * 1024 - 4096
"""Bytes of a body that goes as one message: its headers have the rest of what a message may be."""

PART_BYTES = 512 * 1024
"""Bytes of a part: half a message, so that a server with a smaller limit than usual may be used."""

HEADER = "Lattice-Large"
"""The header with the word: `open BYTES MILLISECONDS`, `put N`, `run`, `get N` or `done`."""

DETAIL = "large"
"""Where the details of an error name a result that can be got: `{at, bytes}`."""

_PLACE = re.compile(r"[\w-]+\.[\w-]+\.at\.[\w-]+\.large\.[a-z][0-9a-f]+\.[0-9a-f]+")
_WORDS = {"open": 2, "put": 1, "run": 0, "get": 1, "done": 0}

WordKind = Literal["open", "put", "run", "get", "done"]


@dataclass(frozen=True, slots=True)
class Word:
    """What is asked about a large body, with its numbers."""

    kind: str
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.kind, *map(str, self.numbers)])


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that waits to be got: the subject to ask, and its length."""

    at: str
    size: int


def read_word(text: str) -> Word:
    """Return what a header says.

    Raises:
        InvalidError: it is no word of this protocol.
    """
    kind, *rest = text.split(" ")
    if _WORDS.get(kind) != len(rest) or not all(n.isascii() and n.isdigit() for n in rest):
        raise InvalidError(f"{HEADER}: {text[:80]!r} is none of open, put, run, get and done")
    if any(len(number) > 15 for number in rest):
        raise InvalidError(f"{HEADER}: a number of {text[:80]!r} is too large")
    return Word(kind, tuple(map(int, rest)))


def parts_of(size: int) -> int:
    """Return in how many parts a body travels."""
    return -(-size // PART_BYTES)


def part_of(body: bytes, number: int) -> bytes:
    """Return one part, counted from 0; empty beyond the end."""
    return body[number * PART_BYTES : (number + 1) * PART_BYTES]


def part_size(size: int, number: int) -> int:
    """Return the bytes that a part of a body has, 0 beyond the end."""
    return max(min(PART_BYTES, size - number * PART_BYTES), 0)


def is_large_place(subject: str) -> bool:
    """Tell whether a subject is one of a single body (`Names.large_at`), of any lattice."""
    return _PLACE.fullmatch(subject) is not None


def kept_result(err: Mapping[str, object]) -> Kept | None:
    """Return the result that an error's details say can be got, None for any other error.

    Raises:
        DecodeError: what they say is malformed, or the result is larger than `LARGE_BYTES_MAX`.
    """
    details = err.get("details")
    found = details.get(DETAIL) if isinstance(details, Mapping) else None
    if found is None:
        return None
    at = found.get("at") if isinstance(found, Mapping) else None
    size = found.get("bytes") if isinstance(found, Mapping) else None
    if not isinstance(at, str) or not is_large_place(at) or not isinstance(size, int):
        raise DecodeError(f"a result is said to be kept, but not where: {found!r}"[:300])
    if not 0 < size <= LARGE_BYTES_MAX:
        raise DecodeError(f"a result of {size} bytes is kept, at most {LARGE_BYTES_MAX} are got")
    return Kept(at, size)
