"""How large the block of a lowered value is, and what generated code writes into it.

Only sizes and places; `lowering_source` knows how each type is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hosts.engine.codec.source import Item, Place, Source
from hosts.engine.ffi import RECORD_ENTRY_SIZE, VAL_SIZE
from lattice.component.types import (
    OptionType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


def tail_size(wit: WitType) -> int:
    """Return the bytes that a value needs in its block besides its own."""
    match structure(wit):
        case RecordType(fields):
            return sum(RECORD_ENTRY_SIZE + tail_size(field) for _, field in fields)
        case TupleType(items):
            return sum(VAL_SIZE + tail_size(item) for item in items)
        case OptionType(element):
            return VAL_SIZE + tail_size(element)
        case VariantType(cases):
            return largest_payload([payload for _, payload in cases])
        case ResultType(ok, err):
            return largest_payload([ok, err])
        case _:
            return 0


def largest_payload(payloads: Sequence[WitType | None]) -> int:
    """Return the bytes that the largest of several payloads needs."""
    return max([VAL_SIZE + tail_size(each) for each in payloads if each is not None], default=0)


class Block:
    """What is written into one block: fixed items, their conditions, and what comes after them."""

    def __init__(self, room: Place) -> None:
        """Tails are put one after another from `room` on."""
        self.items: list[Item] = []
        self.refusals: list[str] = []
        self.later: list[Callable[[], None]] = []
        self.room = room  # where the next tail goes

    def take(self, size: int) -> Place:
        """Return the place of that many bytes more."""
        place = self.room
        self.room = place.plus(size)
        return place


class Writer(Protocol):
    """Who writes values of any type, as those who write some of them see it."""

    source: Source

    def value(self, wit: WitType, x: str, at: Place, block: Block, depth: int) -> None:
        """Write the value of a variable to a place of a block."""
        ...

    def flush(self, block: Block, depth: int) -> None:
        """Write what was put into a block."""
        ...

    def text(self, text: str) -> tuple[int, int]:
        """Return size and address of a name."""
        ...
