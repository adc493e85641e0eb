"""Fenced batches of one process, one after the other; those that wait for their turn go as one.

Servers of a cluster refuse a batch while another one that looks at the same fence is under way, as
if it had been overtaken (nats-server 2.15). A leader that writes the targets of a thousand hosts at
once would have most of them refused, over and over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from lattice.bus.base import BATCH_WRITES_MAX, Fence, Write, batch_revisions
from lattice.errors import ConflictError, LatticeError, OutcomeUnknownError

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of values that go together: servers of a cluster hold them until the batch is complete."""

Send = Callable[[Sequence[Write], Fence], Awaitable[int]]
"""Sends one batch, and returns the revision of its last write."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch that was not sent yet, then what came of it: its last revision, or an error."""

    writes: Sequence[Write]
    fence: Fence
    outcome: int | LatticeError | None = None


class BatchTurns:
    """Gives fenced batches their turns; to each asker it looks as if its batch went alone."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = anyio.CapacityLimiter(1)
        self._waiting: list[_Waiting] = []

    async def put_many(self, writes: Sequence[Write], fence: Fence) -> int:
        """Write all or nothing, and return the revision of the last write.

        When it is cancelled, it may or may not have been written. `Raises:` as the function that
        sends; `OutcomeUnknownError` also when the one who sent it along was cancelled.
        """
        mine = _Waiting(writes, fence)
        self._waiting.append(mine)
        try:
            async with self._turn:
                if mine.outcome is None:
                    await self._send_together(mine)
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
        if isinstance(mine.outcome, LatticeError):
            raise mine.outcome
        assert mine.outcome is not None, "whoever had the turn told what came of it"
        return mine.outcome

    async def _send_together(self, first: _Waiting) -> None:
        """Send a batch, with those that wait and go with it."""
        group = self._companions(first)
        for each in group:
            self._waiting.remove(each)
        writes = [write for each in group for write in each.writes]
        try:
            last = await self._send(writes, first.fence)
        except ConflictError as error:
            if len(group) == 1:
                first.outcome = error
                return
            for each in group:  # it is not known which of them is to blame
                await self._send_alone(each, group)
        except LatticeError as error:
            for each in group:
                each.outcome = error
        except BaseException:
            _leave_unknown(group)
            raise
        else:
            revisions, end = list(batch_revisions(last, len(writes))), 0
            for each in group:
                end += len(each.writes)
                each.outcome = revisions[end - 1]

    async def _send_alone(self, each: _Waiting, group: Sequence[_Waiting]) -> None:
        try:
            each.outcome = await self._send(each.writes, each.fence)
        except LatticeError as error:
            each.outcome = error
        except BaseException:
            _leave_unknown(group)
            raise

    def _companions(self, first: _Waiting) -> list[_Waiting]:
        """Return a batch and those waiting that fit into one with it: same fence, other keys."""
        group, keys = [first], {write.key for write in first.writes}
        count, size = len(first.writes), _bytes(first)
        for each in self._waiting:
            own = {write.key for write in each.writes}
            if each is first or each.fence != first.fence or own & keys:
                continue
            count, size = count + len(each.writes), size + _bytes(each)
            if count > BATCH_WRITES_MAX or size > BATCH_BYTES_MAX:
                break
            keys |= own
            group.append(each)
        return group


def _bytes(batch: _Waiting) -> int:
    return sum(len(write.value or b"") for write in batch.writes)


def _leave_unknown(group: Sequence[_Waiting]) -> None:
    for each in group:
        if each.outcome is None:
            each.outcome = OutcomeUnknownError(
                "batch of writes may or may not have taken place: who sent it was cancelled"
            )
