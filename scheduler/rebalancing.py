"""When replicas are moved to hosts that joined, and which moves are under way; a core, one a term.

A move asks for one replica more elsewhere, and for one less where it was once that one is ready:
the turns of `scheduler.rollout` do both. Which moves gain enough is found by
`scheduler.placement.rebalance`. A term that begins knows no host that joined, so that a change of
leaders moves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lattice.model.ids import DeploymentName, HostId
from scheduler.flapping import TAINT
from scheduler.generations import Wanted
from scheduler.ledger import Ledger
from scheduler.placement.model import Candidate, Key
from scheduler.placement.rebalance import Gain, Move, improved
from scheduler.placement.scores import ONE
from scheduler.placement.state import State
from scheduler.profile import Profile
from scheduler.rollout import bounds
from scheduler.wishes import Wishes

JOIN_HEARTBEATS = 10
"""Heartbeats without another host that joins after which replicas are moved to those that did:
hosts often come several at a time, and one that fails at once should have drawn nothing."""

MOVES_MAX = 64
"""Replicas of the whole lattice that are moved at a time."""

PAUSE_HEARTBEATS = 2
"""Heartbeats between the last move of one wave and the next wave."""

PATIENCE_S = 60.0
"""Seconds after which a move that is not done is given up, and its deployment left alone until
another host joins; `minReady` of an update comes on top."""


@dataclass(slots=True)
class UnderWay:
    """The moves of one deployment that are not done yet."""

    key: Key
    until_s: float  # when they are given up
    moves: tuple[Move, ...]
    keep: dict[HostId, int] = field(default_factory=dict[HostId, int])  # what is to stay there


class Rebalancing:
    """Hosts that joined in this term, and moves to them. Time goes in with each call."""

    def __init__(self, profile: Profile) -> None:
        self.under_way: dict[DeploymentName, UnderWay] = {}
        self._wait_s = JOIN_HEARTBEATS * profile.heartbeat_s
        self._pause_s = PAUSE_HEARTBEATS * profile.heartbeat_s
        self._joined: set[HostId] = set()
        self._shut: set[HostId] = set()  # that were seen to take nothing in this term
        self._due_s = 0.0
        self._left_alone: set[Key] = set()  # until another host joins
        self._times: Counter[Key] = Counter()  # replicas that were moved since a host joined
        self._retreating: set[DeploymentName] = set()
        self._known: set[DeploymentName] = set()  # looked at in this term

    # --- hosts ----------------------------------------------------------------------------

    def noticed(
        self, now_s: float, before: State, hosts: Mapping[HostId, Candidate | None]
    ) -> None:
        """Take in which hosts are about to be other than in the state before; an empty one is that
        of a term that begins."""
        known = before.fleet.rows
        for host, candidate in hosts.items():
            is_new = bool(known) and host not in known
            if candidate is None or not _is_open(candidate):
                # Whoever was there before this term may be silent at first; that is no absence.
                if is_new or candidate is None or candidate.state != "silent":
                    self._shut.add(host)
                    self._joined.discard(host)
            elif is_new or host in self._shut:
                self._shut.discard(host)
                self._joined.add(host)
                self._due_s = now_s + self._wait_s
                self._left_alone.clear()
                self._times.clear()

    def is_due(self, now_s: float) -> bool:
        """Tell whether it is time to look for moves."""
        return bool(self._joined) and not self.under_way and now_s >= self._due_s

    # --- deployments ----------------------------------------------------------------------

    def leaving(
        self, now_s: float, wanted: Wanted, ledger: Ledger, *, is_stopped: bool
    ) -> Mapping[HostId, int]:
        """Return how many replicas of a deployment are to leave which hosts, as others get ready.

        Moves end when they are done, and are given up when they are stopped, take too long or meet
        a pause, a drain or an update.
        """
        found = self.under_way.get(wanted.name)
        if found is None:
            return {}
        is_other = found.key != wanted.key or wanted.is_paused
        is_other |= ledger.generations(wanted.name) != (wanted.generation,)
        if is_other or is_stopped or now_s >= found.until_s:
            self.give_up(wanted.name)
            return {}
        listed = {host: ledger.at(host, found.key)[0] for host in found.keep}
        left = {host: listed[host] - kept for host, kept in found.keep.items()
                if listed[host] > kept}  # fmt: skip
        if not left:
            self._end(wanted.name)
        return left

    def retreats(self, wanted: Wanted, count: int, ledger: Ledger) -> bool:
        """Tell whether a deployment has more replicas than `count` since a move of it was given up,
        or since before this term, when one may have been under way."""
        is_new = wanted.name not in self._known
        self._known.add(wanted.name)
        if ledger.assigned(wanted.key) <= count:
            self._retreating.discard(wanted.name)
        elif is_new:
            self._retreating.add(wanted.name)
        return wanted.name in self._retreating and wanted.name not in self.under_way

    def give_up(self, name: DeploymentName) -> None:
        """Leave a deployment as it is, and alone until another host joins."""
        if name in self.under_way:
            self._left_alone.add(self.under_way[name].key)
            self._retreating.add(name)
            self._end(name)

    def forget(self, name: DeploymentName) -> None:
        """Drop a deployment that is desired no more."""
        self.under_way.pop(name, None)
        self._retreating.discard(name)
        self._known.discard(name)

    def _end(self, name: DeploymentName) -> None:
        del self.under_way[name]

    # --- moves ----------------------------------------------------------------------------

    def begin(
        self, now_s: float, state: State, wishes: Wishes, ledger: Ledger, *, is_stopped: bool
    ) -> tuple[Move, ...]:
        """Return the moves that begin now, if it is time for some."""
        if not self.is_due(now_s):
            return ()
        rows = state.fleet.row_lists(self._joined)
        if is_stopped or state.fleet.frozen[rows].any():
            self._due_s = now_s + self._pause_s
            return ()

        def may_move(key: Key) -> int:
            if key in self._left_alone:
                return 0
            unmoved = ledger.assigned(key) - self._times[key]
            return min(_movable(key, wishes, ledger), unmoved)

        found = improved(state, self._joined, may_move, moves_max=MOVES_MAX)
        self._left_alone |= found.in_vain
        self._due_s = now_s + self._pause_s
        if not found.moves and not found.in_vain:
            self._joined.clear()
        for move in found.moves:
            wanted = wishes.wanted[move.key[0]]
            ready_min_s = wanted.update.ready_min_s if wanted is not None else 0.0
            self._add(now_s + PATIENCE_S + ready_min_s, move, ledger)
        return found.moves

    def _add(self, until_s: float, move: Move, ledger: Ledger) -> None:
        self._times[move.key] += 1
        entry = self.under_way.setdefault(
            move.key[0], UnderWay(key=move.key, until_s=until_s, moves=())
        )
        entry.moves = (*entry.moves, move)
        standing = entry.keep.get(move.source, ledger.at(move.source, move.key)[0])
        entry.keep[move.source] = standing - 1


def reason(gain: Gain) -> str:
    """Return in words what a move makes better, the largest part first."""
    parts = {
        "a host in less use": gain.balance,
        "fewer of its own beside it": gain.own,
        "what it prefers": gain.preferences,
        "a more even spread": gain.spread,
        "room that has the shape of what it asks": gain.alignment,
    }
    named = [
        f"{text} {points(value):+}"
        for text, value in sorted(parts.items(), key=lambda part: (-part[1], part[0]))
        if points(value)
    ]
    return f"a host joined: {points(gain.total):+} points ({', '.join(named)})"


def points(score: int) -> int:
    """Return a score in points: 100 are a whole capacity of a host."""
    return round(score * 100 / ONE)


def _is_open(candidate: Candidate) -> bool:
    is_free = candidate.state == "ready" and not candidate.is_cordoned
    return is_free and not candidate.is_draining and all(t.key != TAINT for t in candidate.taints)


def _movable(key: Key, wishes: Wishes, ledger: Ledger) -> int:
    """Return how many replicas of a generation may be moved at a time: none of singletons, jobs,
    daemons and paused ones, while anything else is under way or not ready, and where an update may
    not have one too many either."""
    wanted, progress = wishes.wanted.get(key[0]), wishes.progress.get(key[0])
    if wanted is None or wanted.key != key or wanted.is_paused or wanted.is_singleton:
        return 0
    if wanted.job is not None or wanted.daemon is not None:
        return 0
    if progress is None or progress.phase != "steady" or wanted.update.strategy == "recreate":
        return 0
    assigned = ledger.assigned(key)
    is_whole = assigned == ledger.ready(key) == wishes.standing_count(wanted)
    if not is_whole or ledger.generations(key[0]) != (key[1],):
        return 0
    return 0 if ledger.lingering(key[0], key[1]) else bounds(wanted.update)[1]
