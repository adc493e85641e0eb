"""Asks hosts that may be gone whether their connection stands; a core, part of `membership`.

A hint (a connection that ended, a heartbeat that is late) proves nothing: a host that reconnects
looks the same. So a host is asked on a subject that it alone serves. "Nobody listens there", said
twice with the time between that a reconnect takes, means that its connection is gone. An answer
that does not come means nothing here: silence is judged by heartbeats alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lattice.model.ids import HostId

ABSENT_S = 0.8
"""Seconds between the first and the last word that nobody listens: a host reconnects within half a
second, with room for a busy machine."""

AGAIN_HEARTBEATS = 1.0
"""Heartbeats until a host that answered, or did not say, is asked again if it stays suspect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hinted:
    """A host may be gone."""

    host: HostId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The outcome of a `Probe`. `absent`: nobody listens; `unknown`: no answer came in time."""

    host: HostId
    ticket: int
    outcome: Literal["answered", "absent", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Ask a host whether it is there, after so many seconds; answered with one `Probed`."""

    host: HostId
    ticket: int
    after_s: float = 0.0


@dataclass(slots=True)
class _Suspect:
    ticket: int
    reason: str
    is_asked: bool = True  # a probe is under way
    absent_since_s: float | None = None
    again_s: float = 0.0


class Probing:
    """The hosts under suspicion. Time goes in with each call."""

    def __init__(self, heartbeat_s: float) -> None:
        self._again_s = AGAIN_HEARTBEATS * heartbeat_s
        self._suspects: dict[HostId, _Suspect] = {}
        self._tickets = 0

    def suspect(self, now_s: float, host: HostId, reason: str) -> tuple[Probe, ...]:
        """Return the question to a host that may be gone; none while one is under way or new."""
        suspect = self._suspects.get(host)
        if suspect is None:
            self._tickets += 1
            self._suspects[host] = _Suspect(self._tickets, reason)
        elif suspect.is_asked or now_s < suspect.again_s:
            return ()
        return (self._ask(host),)

    @property
    def asked(self) -> int:
        """Return how many questions are under way."""
        return sum(suspect.is_asked for suspect in self._suspects.values())

    def clear(self, host: HostId) -> None:
        """Forget a suspicion: the host reported, or is given up."""
        self._suspects.pop(host, None)

    def probed(self, now_s: float, event: Probed) -> tuple[str, tuple[Probe, ...]]:
        """Return the reason to give the host up, "" if there is none, and what to ask next."""
        suspect = self._suspects.get(event.host)
        if suspect is None or suspect.ticket != event.ticket:
            return "", ()
        if event.outcome != "absent":
            suspect.is_asked, suspect.absent_since_s = False, None
            suspect.again_s = now_s + self._again_s
            return "", ()
        if suspect.absent_since_s is None:
            suspect.absent_since_s = now_s
            return "", (self._ask(event.host, after_s=ABSENT_S),)
        left_s = suspect.absent_since_s + ABSENT_S - now_s
        if left_s > 0:
            return "", (self._ask(event.host, after_s=left_s),)
        self.clear(event.host)
        return f"its connection to NATS is gone ({suspect.reason})", ()

    def _ask(self, host: HostId, *, after_s: float = 0.0) -> Probe:
        self._tickets += 1
        suspect = self._suspects[host]
        suspect.ticket, suspect.is_asked = self._tickets, True
        return Probe(host=host, ticket=self._tickets, after_s=after_s)
