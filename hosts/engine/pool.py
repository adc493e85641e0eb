"""The core that decides which instances of a program are kept, used again, and retired.

`fresh`: every call has an instance that no call used before; a few are made ahead, so that a call
finds one ready. `reuse`: an instance takes calls one after the other until it has had enough of
them, has idled too long, or died. No I/O and no clock: the shell makes and closes what this names
(`hosts.instances`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["fresh", "reuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How instances of one program are kept."""

    mode: Mode
    invocations_max: int  # calls that one instance takes in mode `reuse`
    idle_s: float  # time without a call after which an idle instance is closed
    ready: int  # idle instances that are made ahead of calls
    concurrency: int  # instances in use at once, as whoever admits calls promises


@dataclass(slots=True)
class Pool:
    """Idle and used instances of one program, by numbers that this core gives them."""

    policy: Policy
    idle: OrderedDict[int, float] = field(default_factory=OrderedDict[int, float])
    # idle: number -> since when; the one that idles longest comes first
    used: set[int] = field(default_factory=set[int])
    calls: dict[int, int] = field(default_factory=dict[int, int])  # that an instance took
    making: int = 0  # instances that the shell makes ahead just now
    last_call_s: float = float("-inf")
    _next: int = 0

    def acquire(self, now_s: float) -> int | None:
        """Return an idle instance for a call, the one used last; None: make one and tell `made`."""
        self.last_call_s = now_s
        if not self.idle:
            return None
        number, _ = self.idle.popitem()  # the last one
        self.used.add(number)
        self.calls[number] += 1
        return number

    def made(self) -> int:
        """Take in an instance that was made for a call, and return its number."""
        number = self._number()
        self._use(number)
        return number

    def release(self, number: int, now_s: float, *, is_dead: bool) -> bool:
        """Take back an instance after its call; return whether it is kept, else close it."""
        self.used.remove(number)
        policy, idle = self.policy, self.idle
        if (
            policy.mode == "reuse"
            and not is_dead
            and self.calls[number] < policy.invocations_max
            and len(idle) < policy.concurrency
        ):
            idle[number] = now_s
            return True
        del self.calls[number]
        return False

    def begin_making(self, now_s: float) -> bool:
        """Return whether an instance should be made ahead; then `ahead` or `failed` must follow.

        Nothing is made ahead for a program that nobody called for as long as an instance may idle.
        """
        if not self.is_short or now_s - self.last_call_s >= self.policy.idle_s:
            return False
        self.making += 1
        return True

    def ahead(self, now_s: float) -> int:
        """Take in an instance that was made ahead, and return its number."""
        self.making -= 1
        number = self._number()
        # It goes first: in mode `reuse`, those that have worked are warmer.
        self.idle[number] = now_s
        self.idle.move_to_end(number, last=False)
        return number

    def failed(self) -> None:
        """Take note that an instance could not be made ahead."""
        self.making -= 1

    def expired(self, now_s: float) -> tuple[int, ...]:
        """Forget and return the instances that idled too long; close them."""
        idle_s = self.policy.idle_s
        old = tuple(number for number, since_s in self.idle.items() if since_s + idle_s <= now_s)
        for number in old:
            self._forget(number)
        return old

    def next_expiry_s(self) -> float | None:
        """Return when the next idle instance will have idled too long, None when none is idle."""
        return min(self.idle.values()) + self.policy.idle_s if self.idle else None

    def evict(self) -> tuple[int, ...]:
        """Forget and return all idle instances; close them. Used ones are left alone."""
        self.last_call_s = float("-inf")
        numbers = tuple(self.idle)
        for number in numbers:
            self._forget(number)
        return numbers

    def check(self) -> None:
        """Assert what must hold after every step."""
        assert self.used.isdisjoint(self.idle), "an instance is idle or used"
        assert set(self.calls) == self.used | set(self.idle), "every instance is accounted for"
        kept = self.policy.concurrency if self.policy.mode == "reuse" else 0
        assert len(self.idle) <= kept + self.policy.ready, "never more than the limit idle"
        assert all(n <= self.calls_max for n in self.calls.values()), "retired after its calls"
        assert self.making >= 0, "what was begun ends once"

    @property
    def is_short(self) -> bool:
        """Tell whether fewer instances are ready, or about to be, than should be."""
        return len(self.idle) + self.making < self.policy.ready

    @property
    def calls_max(self) -> int:
        """Return how many calls an instance takes at most."""
        return self.policy.invocations_max if self.policy.mode == "reuse" else 1

    def _number(self) -> int:
        self._next += 1
        self.calls[self._next] = 0
        return self._next

    def _use(self, number: int) -> None:
        self.used.add(number)
        self.calls[number] += 1

    def _forget(self, number: int) -> None:
        del self.idle[number]
        del self.calls[number]
