"""The core that admits calls to a replica: so many run, so many wait in order, the rest is refused.

Refusing at once is an answer; an unbounded queue is not. No I/O, no clock: the shell starts what
`arrive` and `leave` name.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

RETRY_AFTER_MS = 100
"""What a refused caller is told to wait: a few calls' time, since a full queue moves quickly."""

Admission = Literal["start", "wait", "refuse"]


@dataclass(slots=True)
class Dispatch:
    """Running and waiting calls of one replica, by ids that the shell makes."""

    concurrency: int
    queue: int
    running: set[int] = field(default_factory=set[int])
    waiting: OrderedDict[int, None] = field(default_factory=OrderedDict[int, None])

    def arrive(self, call: int) -> Admission:
        """Take in a new call and return whether it runs, waits, or is refused and forgotten."""
        assert call not in self.running, "a call arrives once"
        if len(self.running) < self.concurrency and not self.waiting:
            self.running.add(call)
            return "start"
        if len(self.waiting) < self.queue:
            self.waiting[call] = None
            return "wait"
        return "refuse"

    def start(self, call: int) -> bool:
        """Take in a new call if it can run at once, else forget it; tell which."""
        if len(self.running) >= self.concurrency or self.waiting:
            return False
        self.running.add(call)
        return True

    def leave(self, call: int) -> tuple[int, ...]:
        """Forget a call that ended or gave up, and return those that run now, oldest first."""
        self.running.discard(call)
        if not self.waiting:
            return ()
        self.waiting.pop(call, None)
        started: list[int] = []
        while self.waiting and len(self.running) < self.concurrency:
            next_call, _ = self.waiting.popitem(last=False)
            self.running.add(next_call)
            started.append(next_call)
        return tuple(started)

    def check(self) -> None:
        """Assert what must hold after every call."""
        assert len(self.running) <= self.concurrency, "never more than the limit run"
        assert len(self.waiting) <= self.queue, "never more than the limit wait"
        assert not self.waiting or len(self.running) == self.concurrency, "none waits for nothing"
