"""When calls of a target are refused at once, because it answered nobody lately: circuit breakers.

A target that fails costs each caller its whole deadline, and gets new calls all the while. A
breaker lets calls through while it is *closed*, refuses them while it is *open*, and, when its time
is over, is *half open*: one call goes through, and what becomes of it decides.

A failure is what the target owes an answer to and did not give; traps, errors of the callee and
refusals are answers. A target that never fails has no entry, so a call that is answered costs one
look into an empty table. Time is in whole milliseconds of any clock that only grows. No I/O, no
clock: the shell tells when a call began and how it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "half-open"]

TARGETS_MAX = 4096
"""Failing targets that are remembered; of further ones nothing is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a breaker opens, and for how long."""

    consecutive: int = 10
    """Failures in a row that open it. Only calls that began after the last answer count: fifty that
    one frozen host kept must not speak against the others, who have answered meanwhile."""
    window_ms: int = 10_000
    """The time over which the rate of failures is taken, in `BUCKETS` steps."""
    calls: int = 20
    """Calls in the window below which a rate says nothing."""
    percent: int = 80
    """The part of them that must fail: with half of its hosts frozen a target still answers."""
    open_ms: int = 1_000
    """How long it stays open the first time; each failed trial doubles it."""
    open_ms_max: int = 30_000


BUCKETS = 10
"""Steps in which a window moves on."""

RULES = Rules()


@dataclass(slots=True)
class _Breaker:
    """What is known of one target that failed lately."""

    answered_ms: int  # when it last answered, or was first heard of
    state: State = "closed"
    in_a_row: int = 0
    buckets: dict[int, list[int]] = field(default_factory=dict[int, list[int]])  # ok, failed
    until_ms: int = 0  # while open
    pause_ms: int = 0  # how long it was open last
    trial_ms: int | None = None  # when the one call began that goes through half open


class Breakers:
    """The breakers of all targets of one caller."""

    def __init__(self, rules: Rules = RULES) -> None:
        self._rules = rules
        self._breakers: dict[str, _Breaker] = {}

    def __len__(self) -> int:
        return len(self._breakers)

    def state(self, target: str) -> State:
        """Return the state of a target's breaker, as of the last call."""
        breaker = self._breakers.get(target)
        return breaker.state if breaker is not None else "closed"

    def admit(self, target: str, now_ms: int) -> int:
        """Return 0 when a call may begin, else the milliseconds after which one may.

        Whoever is let through tells how it ended, by `answered`, `failed` or `left`.
        """
        breaker = self._breakers.get(target)
        if breaker is None or breaker.state == "closed":
            return 0
        if breaker.state == "open":
            if now_ms < breaker.until_ms:
                return breaker.until_ms - now_ms
            breaker.state = "half-open"
        elif breaker.trial_ms is not None:
            return max(1, min(breaker.pause_ms, self._rules.open_ms))
        breaker.trial_ms = now_ms
        return 0

    def answered(self, target: str, began_ms: int, now_ms: int) -> None:
        """Note that a call which began then was answered, by a value or an error."""
        breaker = self._breakers.get(target)
        if breaker is None:
            return
        breaker.answered_ms, breaker.in_a_row = now_ms, 0
        if breaker.state != "closed":
            # Whoever answers is there, be it to a call that began before the breaker opened.
            del self._breakers[target]
            return
        self._count(breaker, now_ms, 0)
        if not any(failed for _, failed in breaker.buckets.values()):
            del self._breakers[target]

    def failed(self, target: str, began_ms: int, now_ms: int) -> None:
        """Note that a call which began then had no answer in its time."""
        breaker = self._breakers.get(target)
        if breaker is None:
            if len(self._breakers) >= TARGETS_MAX:
                self._forget_old(now_ms)
            if len(self._breakers) >= TARGETS_MAX:
                return
            breaker = self._breakers[target] = _Breaker(answered_ms=began_ms - 1)
        self._count(breaker, now_ms, 1)
        if began_ms > breaker.answered_ms:
            breaker.in_a_row += 1
        if breaker.state == "half-open":
            if breaker.trial_ms == began_ms:
                self._open(breaker, now_ms)
        elif breaker.state == "closed" and self._is_ill(breaker):
            self._open(breaker, now_ms)

    def left(self, target: str, began_ms: int) -> None:
        """Note that a call ended without saying anything of its target: it was cancelled, nobody
        took it, or its caller gave it no time to speak of."""
        breaker = self._breakers.get(target)
        if breaker is not None and breaker.trial_ms == began_ms:
            breaker.trial_ms = None

    def _is_ill(self, breaker: _Breaker) -> bool:
        if breaker.in_a_row >= self._rules.consecutive:
            return True
        ok, failed = (sum(each[i] for each in breaker.buckets.values()) for i in (0, 1))
        calls = ok + failed
        return calls >= self._rules.calls and failed * 100 >= self._rules.percent * calls

    def _open(self, breaker: _Breaker, now_ms: int) -> None:
        rules = self._rules
        longer_ms = min(breaker.pause_ms * 2, rules.open_ms_max)
        breaker.pause_ms = longer_ms or rules.open_ms
        breaker.state, breaker.trial_ms = "open", None
        breaker.until_ms = now_ms + breaker.pause_ms

    def _count(self, breaker: _Breaker, now_ms: int, index: int) -> None:
        width_ms = max(1, self._rules.window_ms // BUCKETS)
        now = now_ms // width_ms
        for old in [each for each in breaker.buckets if each <= now - BUCKETS]:
            del breaker.buckets[old]
        breaker.buckets.setdefault(now, [0, 0])[index] += 1

    def _forget_old(self, now_ms: int) -> None:
        """Forget closed breakers whose failures have left the window."""
        oldest = now_ms // max(1, self._rules.window_ms // BUCKETS) - BUCKETS
        for target, breaker in tuple(self._breakers.items()):
            if breaker.state == "closed" and max(breaker.buckets, default=0) <= oldest:
                del self._breakers[target]
