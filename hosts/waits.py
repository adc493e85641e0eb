"""The core that finds calls which wait for each other in a circle, before they wait for ever.

A service takes one call at a time. A call that it works on may wait for another service, whose own
call may wait for this one. No I/O and no clock: the shells tell when waiting begins and ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """Which busy service waits for which other one, by their ids, on one host."""

    awaited: dict[str, str] = field(default_factory=dict[str, str])

    def begin(self, holds: Sequence[str], wanted: str) -> tuple[str, ...]:
        """Note that a call, for which the services `holds` are busy, waits for `wanted`.

        Return the circle that this would close, from `wanted` to one of `holds`; then nothing is
        noted. Empty: it may wait, and `end` must follow.
        """
        if wanted in holds:
            return (wanted,)
        circle = [wanted]
        while (awaited := self.awaited.get(circle[-1])) is not None:
            circle.append(awaited)
            if awaited in holds:
                return tuple(circle)
        for held in holds:
            self.awaited[held] = wanted
        return ()

    def end(self, holds: Sequence[str]) -> None:
        """Note that the call waits no longer."""
        for held in holds:
            del self.awaited[held]

    def check(self) -> None:
        """Assert what must hold after every step."""
        for first in self.awaited:
            seen = {first}
            awaited = self.awaited.get(first)
            while awaited is not None:
                assert awaited not in seen, "nobody waits in a circle"
                seen.add(awaited)
                awaited = self.awaited.get(awaited)
