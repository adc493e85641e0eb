"""How good a host and its devices are for a demand: what placing there does to the others.

A device that is free but that the demands of the mix cannot use is fragmented. The score is the
fall of the fragmentation that the mix expects (fragmentation gradient descent: Weng et al., "Beware
of Fragmentation", USENIX ATC 2023), less a small best-fit term. All integers: 2^20 is one device.
`Board.score` and the cache over it decide alike; `devices` says what is allowed at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lattice.model.host import Device
from lattice.model.scheduling import DeviceRequest, Placement
from lattice.wire.messages import DeviceGrant
from scheduler.placement.columns import CPU, MEMORY, Bools, Ints
from scheduler.placement.devices import (
    NOTHING,
    WHOLE_MILLI,
    Taken,
    choose,
    grant_of,
    needed_devices,
    needed_milli,
    preferred,
    taken_of,
    unsuited,
)
from scheduler.placement.rooms import SHARE_ONE

WEIGHT_ONE = 1 << 16
"""Sum of the weights of a mix, about: products of weights and thousandths stay below 2^53."""

IMPOSSIBLE = -(1 << 60)
"""The score of a host that cannot take the replica."""

SOFTWARE_PRICE = 64 * SHARE_ONE
"""What a device that computes on the CPU costs: more than any hardware does."""


UNKNOWN_ONE_OF = 20
"""A mix is a sample: of so many demands one is taken to be none of it, and of any size. For that
one a host is worth the more the less is broken into it: the best-fit term. It is the usual
twentieth, not fitted to a trace."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one replica of a class takes of its host: demands that ask the same are one class."""

    devices: tuple[DeviceRequest, ...]
    cpu_milli: int
    memory_bytes: int
    slots: int

    @classmethod
    def of(cls, placement: Placement) -> Asked:
        """Return what a placement asks."""
        slots = max(placement.slots, 1)
        return cls(placement.devices, placement.cpu_milli, placement.memory_bytes, slots)


class Mix:
    """The demands that are expected: each class that asks for devices, and how often it comes.

    A class with several requests counts as each of them by itself.
    """

    def __init__(self, expected: Mapping[Asked, int]) -> None:
        lines: dict[tuple[DeviceRequest, int, int, int, int], int] = {}
        for asked, count in expected.items():
            for request in asked.devices:
                need = DeviceRequest(
                    kind=request.kind, require=request.require, memory_bytes=request.memory_bytes,
                    share_milli=needed_milli(request), allows_software=request.allows_software,
                )  # fmt: skip
                line = (need, needed_devices(request), asked.cpu_milli, asked.memory_bytes,
                        asked.slots)  # fmt: skip
                lines[line] = lines.get(line, 0) + count
        total = max(1, sum(lines.values()))
        ordered = sorted(lines.items(), key=lambda entry: repr(entry[0]))
        self.needs = list(dict.fromkeys(line[0] for line, _ in ordered))
        at = {need: index for index, need in enumerate(self.needs)}
        self.need = np.array([at[line[0]] for line, _ in ordered], np.intp)
        self.devices = np.array([line[1] for line, _ in ordered], np.int64)
        self.room = np.array([line[2:] for line, _ in ordered], np.int64).reshape(-1, 3)
        self.weight = np.array(
            [max(1, count * WEIGHT_ONE // total) for _, count in ordered], np.int64
        )
        self.milli = np.array([need.share_milli for need in self.needs], np.int64)
        self.bytes = np.array([need.memory_bytes for need in self.needs], np.int64)
        self.total = max(1, int(self.weight.sum()))


@dataclass(slots=True)
class _Scored:
    """What is known of a class: its score on each host, and which device it would be granted."""

    score: Ints
    device: Ints  # -1: several, or none
    stamp: int = -1


class Board:
    """The devices of a fleet while a plan is made: what is free, and the score of each host.

    `free` in the calls is what every host has left: thousandths of cores, bytes, slots, as rows of
    a column matrix in the order of `hosts`. Mutable, owned by the one who makes the plan.
    """

    def __init__(
        self,
        hosts: Sequence[Sequence[Device]],
        capacity: Ints,
        mix: Mix,
        grants: Mapping[int, Iterable[DeviceGrant]] | None = None,
        *,
        is_cached: bool = True,
    ) -> None:
        self._hosts = [tuple(devices) for devices in hosts]
        self._mix = mix
        self._is_cached = is_cached
        self._taken: list[dict[str, Taken]] = [{} for _ in hosts]
        width = max((len(devices) for devices in hosts), default=0)
        shape = (len(self._hosts), max(1, width))
        self._milli = np.zeros(shape, np.int64)
        self._bytes = np.zeros(shape, np.int64)
        self._type = np.full(shape, -1, np.int64)
        self._types: dict[object, int] = {}
        self._sample: list[Device] = []
        for row, devices in enumerate(self._hosts):
            for at, device in enumerate(devices):
                self._type[row, at] = self._type_of(device)
        self._suits = np.array(
            [[unsuited(need, device) is None for need in mix.needs] for device in self._sample]
            + [[False] * len(mix.needs)],  # the last row is that of no device, -1
            np.bool_,
        )  # fmt: skip
        self._largest = np.maximum(np.array([*capacity.max(1, initial=1), width * WHOLE_MILLI]), 1)
        self._seen = np.full((3, len(self._hosts)), -1, np.int64)
        self._version = np.zeros(len(self._hosts), np.int64)
        self._stamp = 0
        self._known: dict[Asked, _Scored] = {}
        self._answers: dict[DeviceRequest, tuple[Bools, Ints]] = {}
        for row in range(len(self._hosts)):
            self._taken[row] = taken_of((grants or {}).get(row, ()))
            self._refresh(row)

    # --- questions ------------------------------------------------------------------------

    def scores(self, asked: Asked, free: Ints) -> Ints:
        """Return the score of one more replica on each host, `IMPOSSIBLE` where it does not fit.

        Only hosts on which something changed since the class was last asked are scored anew.
        """
        return self._scored(asked, free).score

    def best(self, asked: Asked, free: Ints, extra: Ints | None = None) -> int | None:
        """Return the host with the best score, of equal ones the first; None if none can take it.

        `extra` is added to each score; `IMPOSSIBLE` in it rules a host out.
        """
        scores = self.scores(asked, free)
        if extra is not None:
            scores = scores + extra
        row = int(scores.argmax()) if len(scores) else 0
        return row if len(scores) and scores[row] > IMPOSSIBLE // 2 else None

    def take(
        self, asked: Asked, row: int, free: Ints, ordinal: int = 0
    ) -> tuple[DeviceGrant, ...] | None:
        """Grant one replica its devices on a host; None, and nothing granted, if it gets none.

        The room beside the devices is the caller's to account.
        """
        device = int(self._scored(asked, free).device[row]) if len(asked.devices) == 1 else -1
        if device >= 0:
            grants: tuple[DeviceGrant, ...] | None = (
                grant_of(asked.devices[0], self._hosts[row][device], ordinal),
            )
        else:
            grants = choose(asked.devices, self._hosts[row], self._taken[row], ordinal)
        if grants:
            self._change(row, grants, 1)
        return grants

    def give_back(self, row: int, grants: Iterable[DeviceGrant]) -> None:
        """Free what was granted on a host."""
        self._change(row, grants, -1)

    def taken(self, row: int) -> Mapping[str, Taken]:
        """Return what is taken of the devices of a host, by id."""
        return self._taken[row]

    # --- what is free ---------------------------------------------------------------------

    def _change(self, row: int, grants: Iterable[DeviceGrant], sign: int) -> None:
        held = self._taken[row]
        for device, more in taken_of(grants).items():
            before = held.get(device, NOTHING)
            held[device] = Taken(
                before.milli + sign * more.milli, before.memory_bytes + sign * more.memory_bytes
            )
        self._refresh(row)

    def _refresh(self, row: int) -> None:
        self._stamp += 1
        self._version[row] = self._stamp
        for at, device in enumerate(self._hosts[row]):
            held = self._taken[row].get(device.id, NOTHING)
            self._milli[row, at] = WHOLE_MILLI - held.milli if device.is_healthy else 0
            self._bytes[row, at] = device.memory_bytes - held.memory_bytes

    def _type_of(self, device: Device) -> int:
        facts = replace(device, id="", attributes={})
        key = (repr(facts), tuple(sorted(device.attributes.items())))
        if key not in self._types:
            self._types[key] = len(self._sample)
            self._sample.append(device)
        return self._types[key]

    # --- scores ---------------------------------------------------------------------------

    def _scored(self, asked: Asked, free: Ints) -> _Scored:
        if (stale := (self._seen != free).any(0)).any():
            self._stamp += 1
            self._version[stale] = self._stamp
            self._seen[:, stale] = free[:, stale]
        known = self._known.get(asked)
        if known is None or not self._is_cached:
            count = len(self._hosts)
            known = _Scored(np.full(count, IMPOSSIBLE), np.full(count, -1, np.int64))
            self._known[asked] = known
        if known.stamp < self._stamp:
            rows = np.flatnonzero(self._version > known.stamp)
            known.score[rows], known.device[rows] = self._score(asked, rows)
            known.stamp = self._stamp
        return known

    def _score(self, asked: Asked, rows: Ints) -> tuple[Ints, Ints]:
        """Return for some hosts the score of their best device, and which that is."""
        score = np.full(len(rows), IMPOSSIBLE)
        device = np.full(len(rows), -1, np.int64)
        room = np.array([asked.cpu_milli, asked.memory_bytes, asked.slots], np.int64)
        left = self._seen[:, rows].T - room
        fits = np.flatnonzero((left >= 0).all(1))
        if not len(fits):
            return score, device
        options = self._options(asked, rows[fits])
        found = options.bonus + self._gain(options, rows[fits], left[fits])
        found -= self._emptiness(options, rows[fits], left[fits])
        # The best option of each host, of equal ones the first: options lie in the order of hosts.
        order = np.lexsort((-np.arange(len(found)), found, options.row))
        row = options.row[order]
        last = order[np.flatnonzero(np.append(np.diff(row) > 0, True)[: len(row)])]
        score[fits[options.row[last]]] = found[last]
        device[fits[options.row[last]]] = options.device[last]
        return score, device

    def _options(self, asked: Asked, rows: Ints) -> _Options:
        """Return the ways to grant a class its devices on some hosts, those in vain left out."""
        if not asked.devices:
            return _Options.of([(row, 0, ()) for row in range(len(rows))])
        request = asked.devices[0]
        if len(asked.devices) == 1 and needed_devices(request) == 1:
            return self._single(request, rows)
        found = []
        for at, row in enumerate(rows.tolist()):
            devices = self._hosts[row]
            grants = choose(asked.devices, devices, self._taken[row])
            if grants is not None:
                places = {device.id: index for index, device in enumerate(devices)}
                steps = [(places[g.device], g.share_milli, g.memory_bytes) for g in grants]
                found.append((at, self._bonus(asked.devices, row, [s[0] for s in steps]), steps))
        return _Options.of(found)

    def _single(self, request: DeviceRequest, rows: Ints) -> _Options:
        """Return each device of each host that can serve a request, equal ones of a host once."""
        milli = needed_milli(request)
        suits, bonus = self._facts(request)
        kind, free, memory = self._type[rows], self._milli[rows], self._bytes[rows]
        usable = suits[kind] & (free >= milli) & (memory >= request.memory_bytes)
        for at in range(1, usable.shape[1]):
            equal = usable[:, :at] & (kind[:, :at] == kind[:, at : at + 1])
            equal &= free[:, :at] == free[:, at : at + 1]
            equal &= memory[:, :at] == memory[:, at : at + 1]
            usable[:, at] &= ~equal.any(1)
        row, device = np.nonzero(usable)
        is_whole = milli == WHOLE_MILLI
        taken = memory[row, device] if is_whole else np.full(len(row), request.memory_bytes)
        return _Options(
            row=row, bonus=bonus[kind[row, device]], device=device, pair=np.arange(len(row)),
            step=device, milli=np.full(len(row), milli), bytes=taken,
        )  # fmt: skip

    def _facts(self, request: DeviceRequest) -> tuple[Bools, Ints]:
        """Return for each distinct device whether it suits a request, and what it is worth."""
        if (found := self._answers.get(request)) is None:
            suits = [unsuited(request, device) is None for device in self._sample]
            worth = [self._worth(request, device) for device in self._sample]
            found = (np.array([*suits, False], np.bool_), np.array([*worth, 0], np.int64))
            self._answers[request] = found
        return found

    def _bonus(self, requests: Sequence[DeviceRequest], row: int, places: Sequence[int]) -> int:
        asking = [request for request in requests for _ in range(needed_devices(request))]
        return sum(
            self._worth(request, self._hosts[row][at])
            for request, at in zip(asking, places, strict=True)
        )

    def _worth(self, request: DeviceRequest, device: Device) -> int:
        return preferred(request, device) * SHARE_ONE - device.is_software * SOFTWARE_PRICE

    def _gain(self, options: _Options, rows: Ints, left: Ints) -> Ints:
        """Return by how much less is fragmented with each option than without."""
        mix = self._mix
        free, memory, suits = self._milli[rows], self._bytes[rows], self._suits[self._type[rows]]
        usable = suits & (free[:, :, None] >= mix.milli) & (memory[:, :, None] >= mix.bytes)
        count, amount = usable.sum(1), (usable * free[:, :, None]).sum(1)
        room = np.all(self._seen[:, rows].T[:, None, :] >= mix.room, axis=2)
        before = self._useful(room, count, amount)
        row, step = options.row[options.pair], options.step
        less = free[row, step] - options.milli
        still = suits[row, step] & (less[:, None] >= mix.milli)
        still &= (memory[row, step] - options.bytes)[:, None] >= mix.bytes
        was = usable[row, step]
        count, amount = count[options.row], amount[options.row]
        np.add.at(count, options.pair, still.astype(np.int64) - was)
        np.add.at(amount, options.pair, still * less[:, None] - was * free[row, step][:, None])
        room = np.all(left[:, None, :] >= mix.room, axis=2)[options.row]
        gain = self._useful(room, count, amount) - before[options.row]
        taken = np.zeros(len(options.row), np.int64)
        np.add.at(taken, options.pair, options.milli)
        return ((gain + taken * mix.total) * SHARE_ONE) // (WHOLE_MILLI * mix.total)

    def _useful(self, room: Bools, count: Ints, amount: Ints) -> Ints:
        """Return the thousandths that the mix can use, weighted; one for each row."""
        mix = self._mix
        fits = room & (count[:, mix.need] >= mix.devices)
        return np.asarray((fits * amount[:, mix.need]) @ mix.weight, np.int64)

    def _emptiness(self, options: _Options, rows: Ints, left: Ints) -> Ints:
        """Return the best-fit term: the mean share that is left of devices, cores and memory."""
        devices = self._milli[rows].sum(1)[options.row]
        np.subtract.at(devices, options.pair, options.milli)
        shares: Ints = devices * SHARE_ONE // self._largest[3]
        for kind in (CPU, MEMORY):
            shares = shares + (left[:, kind] * SHARE_ONE // self._largest[kind])[options.row]
        return shares // (3 * UNKNOWN_ONE_OF)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """Ways to place one replica: columns over the ways, and over the devices that each takes."""

    row: Ints  # the host of each way, ascending
    bonus: Ints
    device: Ints  # the only device, or -1
    pair: Ints  # the way that each device belongs to
    step: Ints  # place of the device on its host
    milli: Ints
    bytes: Ints

    @classmethod
    def of(cls, ways: Sequence[tuple[int, int, Sequence[tuple[int, int, int]]]]) -> _Options:
        """Return the columns of ways, each a host, a bonus, and what it takes of which devices."""
        taken = [(pair, *step) for pair, way in enumerate(ways) for step in way[2]]
        columns = np.array(taken, np.int64).reshape(-1, 4)
        return cls(
            row=np.array([way[0] for way in ways], np.int64),
            bonus=np.array([way[1] for way in ways], np.int64),
            device=np.full(len(ways), -1, np.int64),
            pair=columns[:, 0], step=columns[:, 1], milli=columns[:, 2], bytes=columns[:, 3],
        )  # fmt: skip
