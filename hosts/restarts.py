"""The core that decides what follows when a service ends: a restart after a wait, or its end.

No I/O and no clock. The shells (`hosts.actor`, `hosts.process`) tell when a life begins and ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lattice.model.deployment import Restart

CRASH_LOOP_FAILURES = 5
"""Lives in a row that failed and were of no use to anybody, after which a service is called a
crash loop; it is still restarted. An actor that answered calls before it failed is none: else its
callers could have it taken from its host."""

STABLE_FACTOR = 10
"""A service that ran this many times its longest backoff starts with a clean record again."""

_DOUBLINGS_MAX = 32
"""Doublings of the shortest backoff: more than between a millisecond and an hour."""

Verdict = Literal["restart", "finished", "failed", "given-up"]
"""`finished` and `failed` end the service, `given-up` ends the replica, which its host retries."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the end of a life; a restart comes after `delay_s`."""

    verdict: Verdict
    delay_s: float = 0.0


@dataclass(slots=True)
class Restarts:
    """The lives of one service so far."""

    name: str
    policy: Restart
    total: int = 0  # restarts since the replica began
    failures: int = 0  # in a row
    last_error: str = ""
    verdict: Verdict | None = None  # on the last life that ended
    is_up: bool = False
    _ends: int = 0  # in a row, failures and others
    _useless: int = 0  # failures in a row without use
    _was_useful: bool = False  # this life
    _began_s: float = 0.0

    def begin(self, now_s: float) -> None:
        """Note that a life begins; `up` follows when it does its work."""
        self._began_s = now_s
        self._was_useful = False

    def useful(self) -> None:
        """Note that the service answered a call."""
        self._was_useful = True

    def up(self) -> None:
        """Note that the service does its work."""
        self.is_up = True

    def end(self, now_s: float, error: str = "") -> Ending:
        """Note that a life ended, by a failure if there is an `error`; return what follows."""
        was_stable = self.is_up and self._is_stable(now_s)
        self.is_up = False
        self._ends = 1 if was_stable else self._ends + 1
        if error:
            self.failures = 1 if was_stable else self.failures + 1
            self._useless = 0 if self._was_useful else 1 if was_stable else self._useless + 1
            self.last_error = error
        else:
            self.failures = self._useless = 0
        self.verdict = self._judge(is_failure=bool(error))
        if self.verdict != "restart":
            return Ending(self.verdict)
        self.total += 1
        low, high = self.policy.backoff_min_s, self.policy.backoff_max_s
        return Ending("restart", min(low * 2.0 ** min(self._ends - 1, _DOUBLINGS_MAX), high))

    def is_looping(self, now_s: float) -> bool:
        """Tell whether the service fails again and again."""
        is_calm = self.is_up and self._is_stable(now_s)
        return self._useless >= CRASH_LOOP_FAILURES and not is_calm

    def trouble(self, now_s: float) -> str:
        """Return what is wrong with the service at the moment, "" when nothing is."""
        if not self.failures or (self.is_up and self._is_stable(now_s)):
            return ""
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        if self.verdict == "failed":
            now = "is not restarted (restart.policy: never)"
        else:
            now = "runs again" if self.is_up else "is restarting"
        loop = " (crash loop)" if self.is_looping(now_s) else ""
        return f"service {self.name} failed {times}{loop} and {now}: {self.last_error}"

    def _judge(self, *, is_failure: bool) -> Verdict:
        if not is_failure:
            return "restart" if self.policy.policy == "always" else "finished"
        if self.policy.policy == "never":
            return "failed"
        return "given-up" if self.failures > self.policy.attempts else "restart"

    def _is_stable(self, now_s: float) -> bool:
        """Tell whether this life lasted for so long that earlier failures are forgotten."""
        return now_s - self._began_s > STABLE_FACTOR * self.policy.backoff_max_s
