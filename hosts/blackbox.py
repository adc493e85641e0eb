"""What is at work in a host process, readable after it died without a word.

A supervised host shares a piece of memory with its supervisor. For each replica it notes there
which components the replica has, and how many of its starts and calls run. When the process is
aborted, the supervisor reads who was at work. A call costs 0.2 us more and no system call. A host
without a supervisor notes in memory of its own, which nobody reads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from mmap import mmap
from types import TracebackType

from lattice.model.ids import Digest, digest_hex

LAYOUT = 2
"""First word of the memory: a process of another release may write something else."""

SLOTS_MAX = 2048
"""Replicas that can be noted at once, and generations that are being prepared: above what one host
is given. Those beyond are not noted, so they are never accused."""

DIGESTS_MAX = 30
"""Components of one replica that are noted: more than a workload has in practice."""

_LATE_MAX = 1 << 32
"""Calls that may end after their replica is gone: far above any limit of a replica."""

_WORD = 8
_DIGEST_BYTES = 32
_SLOT_WORDS = 2 + DIGESTS_MAX * _DIGEST_BYTES // _WORD  # how many run, how many digests, they
_HEADER_WORDS = 2  # the layout, and how often the event loop came round
_TICKS = 1
_BOX_BYTES = (_HEADER_WORDS + SLOTS_MAX * _SLOT_WORDS) * _WORD


class Mark:
    """Says that one replica is at work, while it is entered; any number of times at once."""

    __slots__ = ("_free", "_index", "_words")

    def __init__(
        self,
        words: memoryview | None = None,
        index: int = 0,
        free: list[int] | None = None,
    ) -> None:
        """Note in the word of this index, which goes back to `free`, or where nobody reads."""
        self._words = memoryview(bytearray(_WORD)).cast("Q") if words is None else words
        self._index = index
        self._free = free

    def __enter__(self) -> None:
        """Note that a start or call begins."""
        self._words[self._index] += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note that it has ended."""
        self._words[self._index] -= 1

    def close(self) -> None:
        """Forget the replica: nothing of it runs any more, or will."""
        if self._free is None:
            return
        self._words[self._index] = 0
        self._free.append(self._index)
        # A call that ends late must not count in the slot of the next replica; what it takes off
        # here was never put on.
        late = memoryview(bytearray(_WORD)).cast("Q")
        late[0] = _LATE_MAX
        self._words, self._index, self._free = late, 0, None


class BlackBox:
    """Where a host notes what is at work. Used from the thread of the event loop alone."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Note in the file that a supervisor made, which is closed here, or where nobody reads."""
        self._words = memoryview(b"")
        self._free: list[int] = []
        if descriptor is not None:
            self._words = memoryview(mmap(descriptor, _BOX_BYTES)).cast("Q")
            os.close(descriptor)
            self._words[0] = LAYOUT
            first = reversed(range(SLOTS_MAX))
            self._free = [_HEADER_WORDS + number * _SLOT_WORDS for number in first]

    def tick(self) -> None:
        """Say that the event loop turns."""
        if self._words:
            self._words[_TICKS] += 1

    def mark(self, digests: Iterable[Digest]) -> Mark:
        """Return the mark of a replica with these components; to be closed in the end."""
        if not self._free:
            return Mark()
        index = self._free.pop()
        noted = sorted(set(digests))[:DIGESTS_MAX]
        packed = b"".join(bytes.fromhex(digest_hex(digest)) for digest in noted)
        first = index + 2
        self._words[first : first + len(packed) // _WORD] = memoryview(packed).cast("Q")
        self._words[index + 1] = len(noted)
        return Mark(self._words, index, self._free)


class BlackBoxReader:
    """The memory that a supervisor shares with one host process; it gives it a descriptor."""

    def __init__(self) -> None:
        """Make the memory: empty, and gone with the last process that has it."""
        self.descriptor = _new_file()
        os.ftruncate(self.descriptor, _BOX_BYTES)
        self._memory = mmap(self.descriptor, _BOX_BYTES)

    def ticks(self) -> int:
        """Return how often the process said that its event loop turns; 0 before it does."""
        with memoryview(self._memory) as memory, memory.cast("Q") as words:
            return words[_TICKS] if words[0] == LAYOUT else 0

    def at_work(self) -> frozenset[Digest]:
        """Return the components of the replicas that were at work when the process ended."""
        found: set[Digest] = set()
        with memoryview(self._memory) as memory, memory.cast("Q") as words:
            if words[0] != LAYOUT:
                return frozenset()
            for slot in range(_HEADER_WORDS, len(words), _SLOT_WORDS):
                if not words[slot]:
                    continue
                start = (slot + 2) * _WORD
                for number in range(min(words[slot + 1], DIGESTS_MAX)):
                    at = start + number * _DIGEST_BYTES
                    found.add(Digest(f"sha256:{memory[at : at + _DIGEST_BYTES].hex()}"))
        return frozenset(found)

    def close(self) -> None:
        """Release the memory. Doing so twice is no error."""
        if self.descriptor >= 0:
            self._memory.close()
            os.close(self.descriptor)
            self.descriptor = -1


def _new_file() -> int:
    """Return the descriptor of a file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("lattice-black-box")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
