"""The core that makes an answer of probes: one success counts, failures count when they repeat.

No I/O and no clock; `hosts.prober` asks.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Probing:
    """What the probes of one kind say of a replica so far.

    A readiness probe begins with "no", since nobody has asked; a liveness probe with "yes".
    """

    failures_max: int  # in a row, until a "yes" becomes a "no"
    is_ok: bool
    failures: int = 0  # in a row
    reason: str = ""  # of the last failure

    def succeeded(self) -> bool:
        """Take in a success, and return whether the answer changed."""
        self.failures, self.reason = 0, ""
        return self._become(is_ok=True)

    def failed(self, reason: str) -> bool:
        """Take in a failure, and return whether the answer changed."""
        self.failures += 1
        self.reason = reason
        return self.failures >= self.failures_max and self._become(is_ok=False)

    def told(self, what: str) -> str:
        """Return why the answer is "no", for people; `what` names the probe."""
        if not self.failures:
            return f"{what} has not succeeded yet"
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"{what} failed {times}: {self.reason}"

    def _become(self, *, is_ok: bool) -> bool:
        is_changed, self.is_ok = self.is_ok != is_ok, is_ok
        return is_changed
