"""Byte streams from and to a call that runs: the words by which they travel.

Whoever calls says `open` with the call, and is told a place at the host that runs it. To that place
the caller puts parts of what the guest reads, and from there it gets parts of what the guest
writes. All are requests of the caller, and a part is acknowledged when the guest has taken it:
that is the back-pressure. Asking again does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lattice.errors import DecodeError, InvalidError

HEADER = "Lattice-Stream"
"""The header with the word. Of callers: `open`, `put N`, `ask N`, `end N`, `get N`, `beat`, `done`;
of hosts, in answers to `get`: `part N`, `wait` or `over`."""

DETAIL = "stream"
"""Where the details of an error name the place of a call that streams: `{at}`."""

PART_BYTES = 128 * 1024
"""Bytes of a part at most: large enough that a part costs less than its bytes do."""

WINDOW = 4
"""Parts of one direction that are on the way or wait, at either end: half a mebibyte. A network
that takes 10 ms there and back carries 50 MB/s so."""

POLL_S = 2.0
"""Seconds after which a host answers a word that waits for something, so that a caller can tell a
slow guest from a lost host."""

SILENCE_S = 10.0
"""Seconds without a word of the caller after which a host ends the call, and without an answer of
the host after which the caller does: a server that restarts is back by then."""

STREAM_S_MAX = 24 * 3600.0
"""Seconds that a call with streams may take in all: as long as any call may."""

OPEN = "open"

_PLACE = re.compile(r"[\w-]+\.[\w-]+\.at\.[\w-]+\.stream\.[a-z][0-9a-f]+\.[0-9a-f]+")
_WORDS = {
    OPEN: 0, "put": 1, "ask": 1, "end": 1, "get": 1, "beat": 0, "done": 0,
    "part": 1, "wait": 0, "over": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """What is asked or answered about a stream; `number` is that of a part, counted from 0."""

    kind: str
    number: int = -1

    def __str__(self) -> str:
        return self.kind if self.number < 0 else f"{self.kind} {self.number}"


def read_word(text: str) -> Word:
    """Return what a header says.

    Raises:
        InvalidError: it is no word of this protocol.
    """
    kind, *rest = text.split(" ")
    if _WORDS.get(kind) != len(rest):
        raise InvalidError(f"{HEADER}: {text[:80]!r} is none of {', '.join(_WORDS)}")
    if not rest:
        return Word(kind)
    if not (rest[0].isascii() and rest[0].isdigit() and len(rest[0]) <= 15):
        raise InvalidError(f"{HEADER}: {text[:80]!r} has no number of a part")
    return Word(kind, int(rest[0]))


def is_stream_place(subject: str) -> bool:
    """Tell whether a subject is that of one call that streams (`Names.stream_at`)."""
    return _PLACE.fullmatch(subject) is not None


def stream_place(err: Mapping[str, object]) -> str | None:
    """Return the place that an error's details say the call streams at, None for other errors.

    Raises:
        DecodeError: what they say is malformed.
    """
    details = err.get("details")
    found = details.get(DETAIL) if isinstance(details, Mapping) else None
    if found is None:
        return None
    at = found.get("at") if isinstance(found, Mapping) else None
    if not isinstance(at, str) or not is_stream_place(at):
        raise DecodeError(f"a call is said to stream, but not where: {found!r}"[:300])
    return at
