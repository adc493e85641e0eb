"""Calls that wait because nobody answers for their deployment: who asks, who tries, who goes.

The first call that waits for a deployment is its *scout*: it asks the leader once to wake the
deployment, and then tries again and again, in ever longer pauses. The others wait for what it
finds, so that a thousand waiting calls cost as much as one. Once somebody was reached, they are let
go, a limited number at a time. No I/O and no clock: the shell carries out the turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

HELD_MAX = 1000
"""Calls that one router holds, of all deployments together; the next one is `overloaded`."""

RETRY_AFTER_MS = 1000
"""What a refused caller is told to wait: about as long as it takes to start a replica."""

AT_WORK_MAX = 32
"""Held calls of one deployment that are let go and not ended: as many as one replica runs at once
by default, so that the first replica to come is not drowned by those who waited for it."""

TRY_PAUSE_S = 0.01
"""Seconds between the first two tries of a scout; doubles up to `TRY_PAUSE_MAX_S`."""

TRY_PAUSE_MAX_S = 0.05
"""Seconds between two tries of a scout at most: what a call waits although somebody is there."""

ASK_AGAIN_S = 1.0
"""Seconds after which the leader is asked again while calls are held: it may be another one now,
which knows nothing of the question before."""

READY_S = 1.0
"""Seconds for which calls are held although the leader says that a replica is ready: it may have
become so just now, or the deployment answers no calls of this kind."""

GONE_S = 0.5
"""Seconds for which "it does not wake" holds, so that calls into the void do not all ask."""

GONE_NAMES_MAX = 1024
"""Deployments of which that is remembered."""

Turn = Literal["ask", "try", "wait", "gone"]
"""What a held call does next. `gone`: nobody will come, the caller is told so."""

Verdict = Literal["starting", "ready", "gone", "unknown"]
"""What the leader says of a deployment; `unknown`: it said nothing."""


@dataclass(slots=True)
class _Queue:
    """The held calls of one deployment, in the order of their arrival."""

    calls: dict[int, None] = field(default_factory=dict[int, None])
    at_work: set[int] = field(default_factory=set[int])  # those that were let go or try
    scout: int | None = None
    asked_at_s: float | None = None  # when the leader last said that it wakes
    give_up_at_s: float | None = None
    misses: int = 0
    is_open: bool = False  # somebody was reached
    is_gone: bool = False


class Holding:
    """The calls that one router holds."""

    def __init__(self, limit: int = HELD_MAX) -> None:
        self._limit = limit
        self._count = 0
        self._queues: dict[str, _Queue] = {}
        self._gone_until_s: dict[str, float] = {}

    def __len__(self) -> int:
        return self._count

    def arrive(self, deployment: str, call: int) -> bool:
        """Take a call in; False: there are too many, and it was not."""
        if self._count >= self._limit:
            return False
        self._count += 1
        self._queues.setdefault(deployment, _Queue()).calls[call] = None
        return True

    def turn(self, deployment: str, call: int, now_s: float) -> tuple[Turn, float]:
        """Return what a held call does next, and after how many seconds."""
        queue = self._queues[deployment]
        if queue.give_up_at_s is not None and now_s >= queue.give_up_at_s:
            queue.is_gone = True
        if queue.asked_at_s is None and self._gone_until_s.get(deployment, now_s) > now_s:
            queue.is_gone = True
        if queue.is_gone:
            return "gone", 0.0
        if queue.is_open:
            if call in queue.at_work or len(queue.at_work) < AT_WORK_MAX:
                queue.at_work.add(call)
                return "try", 0.0
            return "wait", 0.0
        if queue.scout is None:
            queue.scout = call
        if queue.scout != call:
            return "wait", 0.0
        if queue.asked_at_s is None or now_s - queue.asked_at_s >= ASK_AGAIN_S:
            return "ask", 0.0
        queue.at_work.add(call)
        return "try", min(TRY_PAUSE_S * 2.0 ** min(queue.misses, 16), TRY_PAUSE_MAX_S)

    def told(self, deployment: str, verdict: Verdict, now_s: float) -> tuple[int, ...]:
        """Take in what the leader said, and return the calls whose turn may have changed."""
        queue = self._queues.get(deployment)
        if verdict == "gone":
            if len(self._gone_until_s) >= GONE_NAMES_MAX:
                self._gone_until_s.clear()
            self._gone_until_s[deployment] = now_s + GONE_S
        elif verdict != "unknown":
            self._gone_until_s.pop(deployment, None)
        if queue is None:
            return ()
        if verdict == "gone" or (verdict == "unknown" and queue.asked_at_s is None):
            queue.is_gone = True
            return tuple(queue.calls)
        queue.asked_at_s = now_s
        if verdict != "ready":
            queue.give_up_at_s = None
        elif queue.give_up_at_s is None:
            queue.give_up_at_s = now_s + READY_S
        return ()

    def missed(self, deployment: str, call: int) -> tuple[int, ...]:
        """Note that a try reached nobody, and return the calls whose turn may have changed."""
        queue = self._queues[deployment]
        queue.at_work.discard(call)
        if queue.is_open:
            # Whoever was reached is gone again: all begin anew, this call first.
            queue.is_open, queue.scout = False, call
            queue.misses, queue.asked_at_s, queue.give_up_at_s = 0, None, None
        elif queue.scout == call:
            queue.misses += 1
        return ()

    def reached(self, deployment: str) -> tuple[int, ...]:
        """Note that somebody answers, and return the calls that may go now."""
        queue = self._queues.get(deployment)
        if queue is None or queue.is_open:
            return ()
        queue.is_open, queue.scout, queue.give_up_at_s = True, None, None
        room = AT_WORK_MAX - len(queue.at_work)
        waiting = (call for call in queue.calls if call not in queue.at_work)
        return tuple(call for call, _ in zip(waiting, range(room), strict=False))

    def shown(self, deployment: str) -> tuple[int, ...]:
        """Note that a replica was announced, and return the call that tries now."""
        queue = self._queues.get(deployment)
        if queue is None or queue.scout is None:
            return ()
        queue.misses = 0
        return (queue.scout,)

    def leave(self, deployment: str, call: int) -> tuple[int, ...]:
        """Forget a call that ended or gave up, and return those whose turn may have changed."""
        queue = self._queues[deployment]
        self._count -= 1
        del queue.calls[call]
        queue.at_work.discard(call)
        if not queue.calls:
            del self._queues[deployment]
            return ()
        if queue.scout == call:
            queue.scout = None
        if not queue.is_open and queue.scout is not None:
            return ()
        return next(((each,) for each in queue.calls if each not in queue.at_work), ())
