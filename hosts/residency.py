"""The core that decides which programs stay in memory: those used last, within a bound.

No I/O and no clock: the order of use is the order of the calls made here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Residency:
    """Sizes of what is in memory, by number, the one that is unused for longest first."""

    bytes_max: int
    sizes: OrderedDict[int, int] = field(default_factory=OrderedDict[int, int])
    total_bytes: int = 0

    def use(self, number: int, size_bytes: int) -> tuple[int, ...]:
        """Note a use of something of this size; forget and return what must go for it.

        What is used just now stays, also when it alone is larger than the bound.
        """
        self.drop(number)
        self.sizes[number] = size_bytes
        self.total_bytes += size_bytes
        gone: list[int] = []
        while self.total_bytes > self.bytes_max and len(self.sizes) > 1:
            oldest = next(iter(self.sizes))
            self.drop(oldest)
            gone.append(oldest)
        return tuple(gone)

    @property
    def newest(self) -> int | None:
        """Return what was used last, None when nothing is in memory."""
        return next(reversed(self.sizes), None)

    def resize(self, number: int, size_bytes: int) -> None:
        """Note a new size of what is in memory; that is no use of it."""
        if number in self.sizes:
            self.total_bytes += size_bytes - self.sizes[number]
            self.sizes[number] = size_bytes

    def drop(self, number: int) -> None:
        """Forget something that is not in memory any more."""
        self.total_bytes -= self.sizes.pop(number, 0)
