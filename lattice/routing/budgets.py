"""How many calls of a target may be sent again: a share, so that an outage is not multiplied.

Each call that is sent for the first time earns a part of a repetition; a few more come with time,
and a reserve lets those be repeated that one lost host had at once. Who finds nothing left waits.
Time is in whole milliseconds. No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARE_MILLI = 200
"""Thousandths of a repetition that a call earns: in the long run one call in five may be one."""

RESERVE = 1000
"""Repetitions that may be made at once: as many calls as one router holds (`holding.HELD_MAX`), all
of which may have been on one host that is lost."""

PER_SECOND = 20
"""Repetitions a second that are free: a caller of few calls earns none to speak of."""

TARGETS_MAX = 4096
"""Targets of which repetitions are counted. A target that needed none has no entry, so one that is
forgotten too early only gets a new reserve."""


@dataclass(slots=True)
class _Budget:
    milli: int  # left
    at_ms: int


class Budgets:
    """What is left of each target's repetitions; only those below the reserve are kept."""

    def __init__(
        self,
        *,
        reserve: int = RESERVE,
        share_milli: int = SHARE_MILLI,
        per_second: int = PER_SECOND,
    ) -> None:
        self._reserve_milli = reserve * 1000
        self._share_milli = share_milli
        self._per_second = per_second  # thousandths a millisecond
        self._spent: dict[str, _Budget] = {}

    def __len__(self) -> int:
        return len(self._spent)

    def sent(self, target: str) -> None:
        """Note a call that is sent for the first time."""
        budget = self._spent.get(target)
        if budget is not None:
            budget.milli = min(budget.milli + self._share_milli, self._reserve_milli)

    def take(self, target: str, now_ms: int) -> bool:
        """Spend a repetition; False: none is left now, and none was spent."""
        budget = self._spent.get(target)
        if budget is None:
            if len(self._spent) >= TARGETS_MAX:
                del self._spent[next(iter(self._spent))]
            budget = self._spent[target] = _Budget(self._reserve_milli, now_ms)
        earned = max(0, now_ms - budget.at_ms) * self._per_second
        budget.milli, budget.at_ms = min(budget.milli + earned, self._reserve_milli), now_ms
        if budget.milli < 1000:
            return False
        budget.milli -= 1000
        return True
