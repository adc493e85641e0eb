"""The core that finds out which components bring the hosts of a machine down.

Nobody can ask a process that was aborted, so what was at work in it is all there is to go by. Who
is at work again and again is accused; who merely happened to be beside the one at fault is in fewer
of the aborts. No I/O, no clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lattice.model.ids import Digest

ABORTS_MAX = 3
"""Aborts with the same component at work, at which it is quarantined: two may be bad luck."""

ABORT_WINDOW_S = 3600.0
"""Time within which these aborts count: who takes all neighbours down three times within an hour
harms more than its absence."""

ABORTS_KEPT_MAX = 1000
"""Aborts that are remembered; with the waits between them a machine has fewer in an hour."""


@dataclass(slots=True)
class Accusations:
    """Recent aborts, and the quarantined components with the reasons. Change it by `judge` only."""

    quarantined: dict[Digest, str] = field(default_factory=dict[Digest, str])
    _aborts: list[tuple[float, frozenset[Digest]]] = field(
        default_factory=list[tuple[float, frozenset[Digest]]]
    )

    def judge(self, now_s: float, at_work: frozenset[Digest], manner: str) -> tuple[Digest, ...]:
        """Remember an abort, and return those who are quarantined for it, sorted.

        `manner` tells how the process ended. An abort with a quarantined component at work is
        explained, so it counts against nobody else.
        """
        if at_work & self.quarantined.keys():
            return ()
        self._aborts = [each for each in self._aborts if now_s - each[0] < ABORT_WINDOW_S]
        self._aborts = [*self._aborts, (now_s, at_work)][-ABORTS_KEPT_MAX:]
        counts = Counter(digest for _, present in self._aborts for digest in present)
        accused = sorted(digest for digest in at_work if counts[digest] >= ABORTS_MAX)
        for digest in accused:
            began_s = min(at_s for at_s, present in self._aborts if digest in present)
            self.quarantined[digest] = (
                f"it was at work in {counts[digest]} of this machine's host processes when they "
                f"were aborted, within {now_s - began_s:.0f} s; the last {manner}"
            )
        self._aborts = [each for each in self._aborts if not each[1] & self.quarantined.keys()]
        return tuple(accused)
