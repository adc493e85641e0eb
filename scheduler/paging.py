"""Cuts long lists into pages that fit into messages. Pure.

A page ends where the next entry would exceed the bytes or the asker's limit; its `next` is the
place of its last entry, from which the asker goes on. Places are ordered texts, so that entries
that come and go between two pages shift nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.bus.base import PAYLOAD_BYTES_MAX
from lattice.wire.codec import encode

PAGE_BYTES_MAX = PAYLOAD_BYTES_MAX // 2
"""Bytes of the entries of one page in JSON, the longer of the two encodings: they and what is
around them fit into a message, whatever is asked for."""

Entry = tuple[str, Mapping[str, object]]
"""An entry and its place in the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some entries, in the order of their places. `next` is empty on the last page."""

    entries: tuple[Entry, ...]
    next: str = ""

    def body(self, **lists: object) -> dict[str, object]:
        """Return the answer that holds `lists`, with `next` only when there is more."""
        return {**lists, "next": self.next} if self.next else dict(lists)


def page(entries: Iterable[Entry], *, after: str, limit: int) -> Page:
    """Return the entries after a place: at most `limit` (0 for no limit), at least one if any."""
    taken: list[Entry] = []
    left_bytes = PAGE_BYTES_MAX
    for entry in sorted(entries, key=lambda one: one[0]):
        if entry[0] <= after and after:
            continue
        left_bytes -= len(encode(entry[1], as_json=True))
        if taken and (left_bytes < 0 or 0 < limit <= len(taken)):
            return Page(entries=tuple(taken), next=taken[-1][0])
        taken.append(entry)
    return Page(entries=tuple(taken))
