"""Which devices the replicas of a draft hold, and where replicas that need devices are placed.

It follows the counts of the draft: who places or takes away replicas elsewhere calls `settle`, and
after that every replica of a demand with devices holds its devices, or is not placed. The score is
that of `gpu`, what is possible that of `devices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lattice.model.ids import HostId
from lattice.wire.messages import DeviceGrant
from scheduler.placement.columns import Bools, Fleet, Ints
from scheduler.placement.devices import (
    Taken,
    choose,
    fitting,
    is_standing,
    needed_devices,
    taken_of,
)
from scheduler.placement.draft import Draft
from scheduler.placement.gpu import IMPOSSIBLE, Asked, Board, Mix
from scheduler.placement.model import Demand, Grants, Key

_Held = tuple[tuple[DeviceGrant, ...], ...]
"""What each replica of one demand on one host holds, in the order of their ordinals."""


@dataclass(slots=True)
class Granting:
    """The grants of a draft: row of the host -> number of the demand -> what its replicas hold."""

    fleet: Fleet
    places: Ints  # rows of the hosts that have devices
    given: Mapping[int, Mapping[int, _Held]]
    held: dict[int, dict[int, _Held]]
    mix: Mix
    board: Board | None = None  # made when it is first needed

    @classmethod
    def of(cls, draft: Draft, given: Grants) -> Granting:
        """Return what is granted now to demands on hosts that are still there."""
        held: dict[int, dict[int, _Held]] = {}
        numbers, rows = draft.book.numbers, draft.fleet.rows
        for host, by_key in given.items():
            for key, grants in by_key.items():
                if host in rows and key in numbers:
                    demand = draft.book.demand(numbers[key])
                    held.setdefault(rows[host], {})[numbers[key]] = _by_replica(demand, grants)
        candidates = draft.fleet.candidates
        places = np.array([row for row, host in enumerate(candidates) if host.devices], np.int64)
        before = {row: dict(by_number) for row, by_number in held.items()}
        return cls(draft.fleet, places, before, held, _mix_of(draft.book.demands))

    def fork(self) -> Granting:
        """Return a copy that goes its own way."""
        held = {row: dict(by_number) for row, by_number in self.held.items()}
        return replace(self, held=held, board=None)

    def taken(self, row: int) -> dict[str, Taken]:
        """Return by id what is taken of the devices of a host."""
        return taken_of(
            grant for held in self.held.get(row, {}).values() for grants in held for grant in grants
        )

    def fitting(self, draft: Draft, demand: Demand, limit: Ints) -> Ints:
        """Return on how many replicas more each host has the devices, at most `limit`."""
        found = np.zeros(len(limit), np.int64)
        for row in self.places[limit[self.places] > 0].tolist():
            devices = draft.fleet.candidates[row].devices
            found[row] = fitting(
                demand.placement.devices, devices, self.taken(row), int(limit[row])
            )
        return found

    def settle(self, draft: Draft) -> dict[int, int]:
        """Make grants and counts agree: grants of replicas that left end, replicas without get
        theirs where they are, and those for which nothing is left are taken away: how many, by the
        number of the demand, is returned.

        Hosts whose assignments cannot change now keep what they have.
        """
        holding = {number for held in self.held.values() for number in held}
        asking = [
            number
            for number, demand in enumerate(draft.book.demands)
            if demand is not None and (demand.placement.devices or number in holding)
        ]
        counts = {
            (number, int(row)): int(many)
            for number in asking
            for row, many in zip(*draft.pairs(number), strict=True)
        }
        before, self.held, self.board = self.held, {}, None
        lacking: list[tuple[int, int, int]] = []
        for (number, row), count in counts.items():
            held = before.get(row, {}).get(number, ())
            if not draft.book.demand(number).placement.devices:
                held = held[:count]
            elif not self.fleet.frozen[row]:
                held = self._standing(draft.book.demand(number), row, held)[:count]
                lacking.append((number, row, count - len(held)))
            if held:
                self.held.setdefault(row, {})[number] = held
        order = {number: draft.book.demand(number).key for number in asking}
        lost: dict[int, int] = {}
        for number, row, count in sorted(lacking, key=lambda entry: (order[entry[0]], entry[1])):
            for _ in range(count):
                if not self.regrant(draft, number, row):
                    draft.put(number, np.array([row], np.int32), np.array([-1], np.int64))
                    lost[number] = lost.get(number, 0) + 1
        return lost

    def place(self, draft: Draft, number: int, allowed: Bools, extra: Ints) -> int | None:
        """Draft one replica where the score is best, with its devices, and return the host's row;
        None if no host that is allowed can take it. `extra` is added to the scores."""
        board = self._opened(draft)
        asked = Asked.of(draft.book.demand(number).placement)
        free = (draft.fleet.capacity - draft.used)[:, self.places]
        bonus = np.where(allowed, extra, IMPOSSIBLE)[self.places]
        at = board.best(asked, free, bonus)
        if at is None:
            return None
        row = int(self.places[at])
        grants = board.take(asked, at, free)
        assert grants is not None, "a host whose score is possible has the devices"
        self._hold(number, row, grants)
        draft.put(number, np.array([row], np.int32), np.array([1], np.int64))
        return row

    def release(self, number: int, row: int, count: int) -> None:
        """Free what the last `count` replicas of a demand on a host hold."""
        held = self.held.get(row, {}).get(number)
        if held:
            self.held[row][number] = held[: len(held) - count] if count < len(held) else ()
            self.board = None

    def regrant(self, draft: Draft, number: int, row: int) -> bool:
        """Grant devices to a replica that stands on a host without them, if there are any."""
        devices, requests = (
            self.fleet.candidates[row].devices,
            draft.book.demand(number).placement.devices,
        )
        grants = choose(requests, devices, self.taken(row))
        if grants is not None:
            self._hold(number, row, grants)
            self.board = None
        return grants is not None

    def grants(self, draft: Draft) -> dict[HostId, dict[Key, tuple[DeviceGrant, ...]]]:
        """Return what is granted by host and key, only what is not empty."""
        found: dict[HostId, dict[Key, tuple[DeviceGrant, ...]]] = {}
        for row, by_number in self.held.items():
            mine = {
                draft.book.demand(number).key: tuple(
                    replace(grant, ordinal=ordinal)
                    for ordinal, grants in enumerate(held)
                    for grant in grants
                )
                for number, held in by_number.items()
            }
            if mine := {key: flat for key, flat in mine.items() if flat}:
                found[draft.fleet.candidates[row].id] = mine
        return found

    def changed(self) -> list[int]:
        """Return the rows of hosts on which something else is granted than was given."""
        rows = {*self.held, *self.given}
        return [row for row in rows if self.held.get(row, {}) != self.given.get(row, {})]

    # --- its own --------------------------------------------------------------------------

    def _standing(self, demand: Demand, row: int, held: _Held) -> _Held:
        devices, requests = self.fleet.candidates[row].devices, demand.placement.devices
        return tuple(grants for grants in held if is_standing(requests, devices, grants))

    def _hold(self, number: int, row: int, grants: tuple[DeviceGrant, ...]) -> None:
        by_number = self.held.setdefault(row, {})
        by_number[number] = (*by_number.get(number, ()), grants)

    def _opened(self, draft: Draft) -> Board:
        """Return the board, made when it is first needed after the counts were settled."""
        if self.board is None:
            rows = self.places.tolist()
            self.board = Board(
                [self.fleet.candidates[row].devices for row in rows],
                self.fleet.capacity[:, self.places],
                self.mix,
                {
                    at: [
                        grant
                        for held in self.held.get(row, {}).values()
                        for grants in held
                        for grant in grants
                    ]
                    for at, row in enumerate(rows)
                },
            )
        return self.board


def wants_devices(demands: Iterable[Demand | None], *given: Grants) -> bool:
    """Tell whether any demand asks for devices or holds some; if none does, nothing of this is
    needed."""
    if any(by_key for grants in given for by_key in grants.values()):
        return True
    return any(demand is not None and demand.placement.devices for demand in demands)


def _mix_of(demands: Iterable[Demand | None]) -> Mix:
    """Return the mix that is expected: that of what is wanted now."""
    expected: dict[Asked, int] = {}
    for demand in demands:
        if demand is not None and demand.placement.devices:
            asked = Asked.of(demand.placement)
            expected[asked] = expected.get(asked, 0) + max(demand.count, demand.per_host, 1)
    return Mix(expected)


def _by_replica(demand: Demand, grants: Sequence[DeviceGrant]) -> _Held:
    """Return grants apart for each replica; what is not whole is left out.

    An outgoing generation that this term never wanted holds what its targets say: what it asked for
    is not known, and its devices are not free.
    """
    by_ordinal: dict[int, list[DeviceGrant]] = {}
    for grant in grants:
        by_ordinal.setdefault(grant.ordinal, []).append(grant)
    wanted = sum(map(needed_devices, demand.placement.devices))
    is_unknown = demand.is_kept_only and not wanted
    return tuple(
        tuple(by_ordinal[ordinal])
        for ordinal in sorted(by_ordinal)
        if is_unknown or len(by_ordinal[ordinal]) == wanted
    )
