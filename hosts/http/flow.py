"""The core of a streamed exchange: what may be sent, and what to make of what comes.

One `Outflow` and one `Inflow` for each direction of an exchange. Bytes of bodies need credit, told
as a total, so that a repeated word changes nothing and a lost one is made up for by the next.
Numbered frames come in order or not at all; a hole in them breaks the exchange, because nothing is
sent twice. No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WINDOW_BYTES = 512 * 1024
"""Bytes of one body on their way or unread: keeps a link of 100 MB/s with 5 ms busy. It is also
what one direction of one exchange takes of memory at most."""

WINDOW_BYTES_MIN = 16 * 1024
"""What a body gets that comes when many others are at work: a thousand of them are 16 MiB."""

BUDGET_BYTES = 24 * 1024 * 1024
"""Bytes of all bodies that may be on their way to one process, but for the least windows: a server
cuts off the connection of who has 64 MiB waiting, with all else that it carries."""

SHARE = 8
"""A body gets an eighth of what is left of the budget, so that those after it get some, too."""

CHUNK_BYTES = 64 * 1024
"""Bytes of body in one frame: far below the limit of a message, and eight of them make a window."""

Verdict = Literal["take", "ignore", "broken"]


@dataclass(slots=True)
class Budget:
    """Windows of all bodies that come to one process."""

    left_bytes: int = BUDGET_BYTES

    def take(self) -> int:
        """Return the window of one more body."""
        window = max(WINDOW_BYTES_MIN, min(WINDOW_BYTES, self.left_bytes // SHARE))
        self.left_bytes -= window
        return window

    def give_back(self, window: int) -> None:
        """Note that a body is over."""
        self.left_bytes += window


@dataclass(slots=True)
class Outflow:
    """What goes out in one direction: numbers of frames, and credit for bytes."""

    granted: int = 0  # bytes that may be sent in all
    sent_bytes: int = 0
    sent_frames: int = 0

    @property
    def room(self) -> int:
        """Return how many bytes may be sent now."""
        return self.granted - self.sent_bytes

    def send(self, size: int = 0) -> int:
        """Note a frame with so many bytes of body and return its number."""
        assert size <= self.room or not size, "bytes are sent when there is credit for them"
        number = self.sent_frames
        self.sent_frames += 1
        self.sent_bytes += size
        return number

    def grant(self, granted: int) -> bool:
        """Take a word of credit; tell whether it allows more than before."""
        is_more = granted > self.granted
        self.granted = max(self.granted, granted)
        return is_more

    def check(self) -> None:
        """Assert what must hold after every step."""
        assert 0 <= self.sent_bytes <= max(self.granted, 0), "never more than was granted"


@dataclass(slots=True)
class Inflow:
    """What comes in from one direction: the number that is next, and what was granted."""

    window: int
    next_frame: int = 0
    received_bytes: int = 0
    taken_bytes: int = 0
    granted: int = 0
    is_ended: bool = False

    def __post_init__(self) -> None:
        self.granted = self.window

    def arrive(self, sequence: int, size: int = 0, *, is_end: bool = False) -> Verdict:
        """Judge a numbered frame: take it, ignore a repetition, or give the exchange up."""
        if sequence < self.next_frame:
            return "ignore"
        if sequence > self.next_frame or self.is_ended:
            return "broken"
        if self.received_bytes + size > self.granted:
            return "broken"  # the sender keeps no limit, so nothing of it is bounded
        self.next_frame += 1
        self.received_bytes += size
        self.is_ended = is_end
        return "take"

    def told(self, sent_frames: int) -> Verdict:
        """Judge a word of the sender about how many frames it has sent: were some lost?"""
        return "broken" if sent_frames > self.next_frame else "ignore"

    def take(self, size: int) -> int | None:
        """Note bytes that the reader took; return the credit to tell of, if it is worth a word.

        It is once half a window was taken, and never behind the end.
        """
        self.taken_bytes += size
        wanted = self.taken_bytes + self.window
        if self.is_ended or wanted - self.granted < self.window // 2:
            return None
        self.granted = wanted
        return wanted

    def check(self) -> None:
        """Assert what must hold after every step."""
        assert 0 <= self.taken_bytes <= self.received_bytes <= self.granted, "credit bounds all"
        assert self.received_bytes - self.taken_bytes <= self.window, "a window bounds memory"
