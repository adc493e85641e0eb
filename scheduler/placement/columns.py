"""Hosts as columns: capacities as integers, labels and other facts coded by dictionary.

A rule over facts is asked once for each distinct value, of the scalar filter that defines it, and
then looked up for all hosts at once. Values; nothing here scores or places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lattice.model.host import Capacity, Device
from lattice.model.ids import HostId
from lattice.model.labels import Selector
from lattice.model.scheduling import HOST_TOPOLOGY, Placement
from scheduler.placement.devices import suffices
from scheduler.placement.filters import Refusal, is_passing, standing_refusals
from scheduler.placement.model import Candidate, Demand

Ints = NDArray[np.int64]
Rows = NDArray[np.int32]
Bools = NDArray[np.bool_]

CPU, MEMORY, SLOTS = 0, 1, 2
"""The order of capacities in columns."""

MEMORY_UNIT_BITS = 20
"""Scores count memory in MiB, so that products stay below 2^53 up to hosts of 8 TiB."""

MEMO_MAX = 2048
"""Masks that one fleet remembers; one takes a byte for each host."""

Signature = tuple[Placement, tuple[str, ...], tuple[str, ...]]
"""All of a demand that decides which hosts it may use, but for single hosts that it avoids."""


def signature(demand: Demand) -> Signature:
    """Return what demands of one class have in common."""
    return (demand.placement, demand.interfaces, demand.needs)


def capacity_units(capacity: Capacity) -> tuple[int, int, int]:
    """Return a capacity in the units of scores: thousandths of a core, MiB, slots."""
    return (capacity.cpu_milli, capacity.memory_bytes >> MEMORY_UNIT_BITS, capacity.slots)


def hashed(text: str) -> int:
    """Return 64 bits that depend on the text alone, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Coded:
    """One fact of every host: a code for each row, and the value of each code."""

    __slots__ = ("_domains", "codes", "values")

    def __init__(self, codes: Rows, values: tuple[Any, ...]) -> None:
        self.codes = codes
        self.values = values
        self._domains: Rows | None = None

    @classmethod
    def of(cls, facts: Iterable[Any]) -> Coded:
        """Return the column of facts, one for each row in order."""
        known: dict[Any, int] = {}
        codes = np.array([known.setdefault(fact, len(known)) for fact in facts], np.int32)
        return cls(codes, tuple(known))

    def patched(self, facts: Mapping[int, Any]) -> Coded:
        """Return the column with other facts in some rows; itself when nothing is different."""
        new = {row: fact for row, fact in facts.items() if self.values[self.codes[row]] != fact}
        if not new:
            return self
        known = {value: code for code, value in enumerate(self.values)}
        codes = self.codes.copy()
        for row, fact in new.items():
            codes[row] = known.setdefault(fact, len(known))
        return Coded(codes, tuple(known))

    def domains(self) -> Rows:
        """Return the code of each row, -1 where the fact is None."""
        if self._domains is None:
            codes = [-1 if value is None else code for code, value in enumerate(self.values)]
            self._domains = np.array(codes, np.int32)[self.codes]
            self._domains.setflags(write=False)
        return self._domains

    def where(self, rule: Callable[[Any], bool]) -> Bools:
        """Return in which rows the fact satisfies the rule, which is asked once for each value."""
        answers = np.array([rule(value) for value in self.values], np.bool_)
        return answers[self.codes]


class Fleet:
    """All candidates, one row each; a value, with a memory of answers."""

    __slots__ = ("candidates", "capacity", "choices", "devices", "frozen", "gone", "inverse",
                 "labels", "masks", "profiles", "rows", "seeds")  # fmt: skip

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = list(candidates)
        self.rows = {candidate.id: row for row, candidate in enumerate(self.candidates)}
        self.seeds = np.array([hashed(candidate.id) for candidate in candidates], np.uint64)
        keys = sorted({key for candidate in candidates for key in candidate.labels})
        self.labels = {
            key: Coded.of(candidate.labels.get(key) for candidate in candidates) for key in keys
        }
        self.profiles = Coded.of(_profile(candidate) for candidate in candidates)
        count = len(self.candidates)
        self.capacity = np.zeros((3, count), np.int64)
        self.inverse = np.zeros((3, count), np.int64)
        self.gone = np.zeros(count, np.bool_)
        self.frozen = np.zeros(count, np.bool_)
        self.measure(range(count))
        self.masks: dict[object, Bools] = {}
        self.choices: dict[Signature, int] = {}
        self.devices: Coded | None = None  # made when a demand first asks for some

    def patched(self, changed: Mapping[int, Candidate]) -> Fleet:
        """Return a fleet with other candidates in some rows, of the same ids."""
        fleet = Fleet.__new__(Fleet)
        fleet.rows, fleet.seeds, fleet.masks = self.rows, self.seeds, {}
        fleet.choices = {}
        fleet.candidates = self.candidates.copy()
        for row, candidate in changed.items():
            fleet.candidates[row] = candidate
        fleet.labels = dict(self.labels)
        for key in {key for candidate in changed.values() for key in candidate.labels}:
            if key not in fleet.labels:
                fleet.labels[key] = Coded(np.zeros(len(self.candidates), np.int32), (None,))
        for key, column in fleet.labels.items():
            fleet.labels[key] = column.patched(
                {row: candidate.labels.get(key) for row, candidate in changed.items()}
            )
        fleet.profiles = self.profiles.patched(
            {row: _profile(candidate) for row, candidate in changed.items()}
        )
        fleet.devices = (
            None
            if self.devices is None
            else self.devices.patched(
                {row: _equipment(candidate) for row, candidate in changed.items()}
            )
        )
        fleet.capacity, fleet.inverse = self.capacity.copy(), self.inverse.copy()
        fleet.gone, fleet.frozen = self.gone.copy(), self.frozen.copy()
        fleet.measure(changed)
        return fleet

    def __len__(self) -> int:
        return len(self.candidates)

    # --- answers --------------------------------------------------------------------------

    def standing(self, demand: Demand) -> Bools:
        """Return which hosts can take the demand as far as their own facts go; those without the
        devices that it asks for cannot."""
        return self._mask(("standing", signature(demand)), lambda: self._standing(demand))

    def choice(self, demand: Demand) -> int:
        """Return how many hosts can take the demand as far as their own facts go."""
        key = signature(demand)
        if (found := self.choices.get(key)) is None:
            found = self.choices[key] = int(self.standing(demand).sum())
        return found

    def eligible(self, demand: Demand) -> Bools:
        """Return whose domains count in a spread: as `standing`, but passing troubles of a host
        (its target is being written, it was not heard of yet) do not remove its domain."""
        return self._mask(
            ("eligible", signature(demand)), lambda: self._standing(demand, is_passing)
        )

    def eligible_domains(self, demand: Demand, key: str) -> Bools:
        """Return which domains of a label count in a spread of a demand, by their numbers."""
        codes = self.label_domains(key)

        def found() -> Bools:
            counts = np.zeros(int(codes.max(initial=-1)) + 1, np.bool_)
            counts[codes[self.eligible(demand) & (codes >= 0)]] = True
            counts.setflags(write=False)
            return counts

        return self._mask(("domains", key, signature(demand)), found)

    def matching(self, selectors: tuple[Selector, ...]) -> Bools:
        """Return which hosts satisfy all the selectors."""
        found = np.ones(len(self), np.bool_)
        for selector in selectors:
            found &= self._mask(selector, partial(self._selected, selector))
        return found

    def equipped(self, demand: Demand) -> Bools:
        """Return which hosts have the devices that a demand asks for, be they granted or not."""
        if self.devices is None:
            self.devices = Coded.of(map(_equipment, self.candidates))
        asked = demand.placement.devices
        return self.devices.where(lambda each: suffices(asked, each.devices))

    def offering(self, demand: Demand, rule: Callable[[Demand, Candidate], object]) -> Bools:
        """Return which hosts no rule over profiles refuses."""
        return self.profiles.where(lambda profile: rule(demand, profile.candidate) is None)

    def domains(self, topology: str) -> Rows:
        """Return the domain of each host in a topology; -1 for hosts that lack the label."""
        if topology == HOST_TOPOLOGY:
            return np.arange(len(self), dtype=np.int32)
        return self.label_domains(topology)

    def label_domains(self, key: str) -> Rows:
        """Return a number for the value that each host has of a label; -1 for those without."""
        column = self.labels.get(key)
        if column is None:
            return np.full(len(self), -1, np.int32)
        return column.domains()

    def ties(self, text: str) -> NDArray[np.uint64]:
        """Return a number for each host that orders hosts differently for each text."""
        return mixed(self.seeds ^ np.uint64(hashed(text)))

    def row_lists(self, hosts: Iterable[HostId]) -> list[int]:
        """Return the rows of those hosts that are in the fleet."""
        return [self.rows[host] for host in hosts if host in self.rows]

    # --- how they are made ----------------------------------------------------------------

    def measure(self, rows: Iterable[int]) -> None:
        """Write the amounts of some rows; only while the fleet is made."""
        for row in rows:
            candidate = self.candidates[row]
            capacity = candidate.capacity
            self.capacity[:, row] = (capacity.cpu_milli, capacity.memory_bytes, capacity.slots)
            self.inverse[:, row] = [inverse(units) for units in capacity_units(capacity)]
            self.gone[row] = candidate.state == "lost"
            self.frozen[row] = candidate.is_frozen and candidate.state != "lost"

    def _mask(self, key: object, make: Callable[[], Bools]) -> Bools:
        found = self.masks.get(key)
        if found is None:
            if len(self.masks) >= MEMO_MAX:
                self.masks.clear()
            found = self.masks[key] = make()
        return found

    def _standing(
        self, demand: Demand, is_ignored: Callable[[Refusal], bool] = lambda refusal: False
    ) -> Bools:
        bare = replace(
            demand, avoid={}, keep_max={}, placement=replace(demand.placement, require_labels=())
        )
        found = self.profiles.where(
            lambda profile: all(
                is_ignored(refusal) for refusal in standing_refusals(bare, profile.candidate)
            )
        )
        found &= self.matching(demand.placement.require_labels)
        return found & self.equipped(demand) if demand.placement.devices else found

    def _selected(self, selector: Selector) -> Bools:
        column = self.labels.get(selector.key)
        if column is None:
            return np.full(len(self), selector.refusal({}) is None, np.bool_)
        return column.where(
            lambda value: selector.refusal({} if value is None else {selector.key: value}) is None
        )


class _Equipment:
    """The devices of a host; equal for hosts that have the same, whatever their ids."""

    __slots__ = ("_facts", "devices")

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self.devices = devices
        self._facts = tuple(
            (each.kind, each.vendor, each.model, each.memory_bytes, each.features,
             each.is_software, tuple(sorted(each.attributes.items())))
            for each in devices
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Equipment) and self._facts == other._facts

    def __hash__(self) -> int:
        return hash(self._facts)


def _equipment(candidate: Candidate) -> _Equipment:
    return _Equipment(candidate.devices)


class _Profile:
    """The facts of a candidate that are neither labels nor amounts; equal for most of a fleet."""

    __slots__ = ("_facts", "candidate")

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self._facts = (
            candidate.state, candidate.features, candidate.interfaces, candidate.taints,
            candidate.is_cordoned, candidate.is_draining, candidate.is_frozen,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Profile) and self._facts == other._facts

    def __hash__(self) -> int:
        return hash(self._facts)


def _profile(candidate: Candidate) -> _Profile:
    return _Profile(candidate)


def inverse(units: int) -> int:
    """Return 2^40 through a capacity, rounded up: shares are products with it, which are quick."""
    return -(-(1 << 40) // units) if units > 0 else 0


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers whose bits depend on all bits of those given (the finish of splitmix64)."""
    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
