"""Whether and when one call is sent again: the rules of at most once and at least once.

- *Unrun*: nobody took the call, or whoever had it says that it was not begun. It is sent again,
  with or without a key.
- *Lost*: whoever had it is gone or silent, so that it may have run. With an idempotency key it is
  sent again, and may run twice; without one it ends here, and its outcome is unknown.
- *Answered*: whatever the answer says, it is the end.

No I/O and no clock: the shell says what happened and how much time is left.
"""

from __future__ import annotations

from dataclasses import dataclass

UNRUN_PAUSE_S = 0.02
"""Seconds before a call is sent again that nobody took; each further wait is twice the one before.
The servers forget a host that goes within a few milliseconds."""

UNRUN_PAUSE_MAX_S = 0.5
"""Seconds between two such attempts at most: what a caller waits in vain when somebody is there."""

ATTEMPTS_MAX = 64
"""Attempts of one call in all: about half a minute of them, at the longest pause."""

LOST_MAX = 8
"""Attempts of one call that may be lost. More hosts than that do not fail by chance in the time of
a call, so the call itself may be what ends them: it must not take all of them along."""

LOST_PAUSE_S = 0.01
"""Seconds before a lost call is sent again: the wait was long already; doubles up to the other."""


@dataclass(slots=True)
class Attempts:
    """The attempts of one call so far."""

    is_keyed: bool
    """Whether the call has an idempotency key."""
    made: int = 0
    unrun: int = 0
    lost: int = 0

    def begin(self) -> int:
        """Count an attempt and return its number, from 1."""
        self.made += 1
        return self.made

    def after_unrun(self, left_s: float) -> float | None:
        """Return the seconds until the next attempt of a call that nobody began, None: no more."""
        pause_s = min(UNRUN_PAUSE_S * 2.0 ** min(self.unrun, 16), UNRUN_PAUSE_MAX_S)
        self.unrun += 1
        return self._within(pause_s, left_s)

    def after_loss(self, left_s: float) -> float | None:
        """Return the seconds until the next attempt of a call that was lost, None: no more."""
        pause_s = min(LOST_PAUSE_S * 2.0 ** min(self.lost, 16), UNRUN_PAUSE_MAX_S)
        self.lost += 1
        if not self.is_keyed or self.lost >= LOST_MAX:
            return None
        return self._within(pause_s, left_s)

    def _within(self, pause_s: float, left_s: float) -> float | None:
        return pause_s if self.made < ATTEMPTS_MAX and pause_s < left_s else None
