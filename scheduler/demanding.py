"""From what a deployment wants and what there is of it to the demands of a plan; a core.

Each way of wanting replicas (a number, one on every host, exactly one, a job) becomes demands here.
Which replicas should leave is said by host; which hosts get new ones is placement's decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import Placement
from scheduler.flapping import tolerant
from scheduler.generations import Wanted
from scheduler.ledger import Ledger
from scheduler.placement.model import NEEDS, Demand, Key
from scheduler.rollout import Group, Progress, Seen, Trial, Turn, bounds, turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What matters to one deployment now besides its counts."""

    count: int = 0  # replicas wanted on hosts that are there
    avoided: Mapping[HostId, str] = field(default_factory=dict[HostId, str])
    leaving: frozenset[HostId] = frozenset()  # to be emptied as replacements get ready
    forced: frozenset[HostId] = frozenset()  # to be emptied at once
    moving: Mapping[HostId, int] = field(default_factory=dict[HostId, int])  # for a better place
    retreats: bool = False  # moves were given up: of what is too much, what is not ready goes
    old: Mapping[int, Placement] = field(default_factory=dict[int, Placement])
    trial: Trial = field(default_factory=Trial)
    bad_hosts: int = 0
    gives_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of placement for one deployment, and how far its rollout is."""

    demands: tuple[Demand, ...]
    turn: Turn


def asked(
    now_s: float, wanted: Wanted, ledger: Ledger, about: Circumstances, was: Progress | None
) -> Asked:
    """Return the demands of a deployment and the turn of its rollout."""
    places = ledger.places(wanted.key)
    is_moved_whole = wanted.is_singleton or wanted.job is not None or wanted.daemon is not None
    emptied = dict.fromkeys(sorted((about.leaving | about.forced) & places), 0)
    leaving: dict[HostId, int] = {}  # replicas of each host that leave as others get ready
    if not is_moved_whole:
        drained = (about.leaving - about.forced) & places
        leaving = {host: ledger.at(host, wanted.key)[0] for host in sorted(drained)}
    moving = {} if is_moved_whole or emptied else dict(about.moving)
    seen = _seen(wanted, ledger, about, emptied.keys() - leaving.keys(), leaving or moving)
    if wanted.daemon is not None:
        return _daemon(now_s, wanted, ledger, about, replace(seen, wanted=_hosts(wanted, ledger)),
                       was, emptied)  # fmt: skip
    update = wanted.update
    if is_moved_whole:
        update = replace(update, strategy="recreate")
    if wanted.job is not None:
        update = replace(update, progress_deadline_s=math.inf)  # its attempts bound it
    if moving:
        update = replace(update, unavailable_max=0)  # nobody asked for it, so nothing may miss it
    made = turn(now_s, wanted.generation, update, seen, was, is_paused=wanted.is_paused)
    leaving = leaving or moving
    kept = _remaining(ledger, wanted.key, leaving, made.leaving_withdrawn)
    # What stays beside those that leave counts as new already.
    beside = sum(ledger.at(host, wanted.key)[0] - many for host, many in leaving.items())
    count = made.new + sum(kept.values()) - beside
    if about.retreats and not (is_moved_whole or leaving or emptied):
        kept = _retreating(ledger, wanted.key, seen.new.assigned - made.new)
    demand = replace(_demand(wanted, about, emptied | kept), count=count)
    withdrawn = made.old_withdrawn
    return Asked(demands=(demand, *_older(wanted, ledger, about, withdrawn)), turn=made)


def kept_as_it_is(
    name: DeploymentName, ledger: Ledger, old: Mapping[int, Placement]
) -> tuple[Demand, ...]:
    """Return demands that keep all that a deployment has: its record cannot be read."""
    return tuple(
        _outgoing((name, generation), ledger.assigned((name, generation)), placement, {})
        for generation, placement in sorted(old.items())
    )


def needs_of(wanted: Wanted) -> tuple[str, ...]:
    """Return the features that a host must understand to run a deployment as it is meant."""
    extras = (
        ("singletons@1", wanted.is_singleton),
        ("jobs@1", wanted.job is not None),
        ("probes@1", wanted.has_probes),
        ("devices@1", bool(wanted.placement.devices)),
    )
    return (*NEEDS, *(need for need, is_used in extras if is_used))


# --- what there is ------------------------------------------------------------------------------


def _seen(
    wanted: Wanted,
    ledger: Ledger,
    about: Circumstances,
    forced: Iterable[HostId],
    leaving: Mapping[HostId, int],
) -> Seen:
    away = _part(ledger, wanted.key, leaving)
    gone = _at(ledger, [(wanted.key, host) for host in forced])
    new = Group(
        assigned=ledger.assigned(wanted.key) - away.assigned - gone.assigned,
        ready=ledger.ready(wanted.key) - away.ready - gone.ready,
    )
    return Seen(
        wanted=about.count,
        new=new,
        leaving=away,
        old=_at(ledger, _old_places(wanted, ledger)),
        lingering=ledger.lingering(wanted.name, wanted.generation),
        trial=about.trial,
        bad_hosts=about.bad_hosts,
        gives_way=about.gives_way,
    )


def _old_places(wanted: Wanted, ledger: Ledger) -> list[tuple[Key, HostId]]:
    return [
        ((wanted.name, generation), host)
        for generation in ledger.generations(wanted.name)
        if wanted.is_older(generation)
        for host in sorted(ledger.places((wanted.name, generation)))
    ]


def _at(ledger: Ledger, places: Iterable[tuple[Key, HostId]]) -> Group:
    assigned = ready = useless = 0
    for key, host in places:
        listed, working = ledger.at(host, key)
        assigned, ready = assigned + listed, ready + working
        useless += 0 if working else listed
    return Group(assigned=assigned, ready=ready, useless=useless)


def _part(ledger: Ledger, key: Key, leaving: Mapping[HostId, int]) -> Group:
    """Return the replicas that leave hosts; where others stay, those that are ready leave."""
    assigned = ready = useless = 0
    for host, many in leaving.items():
        idle = _idle(ledger, key, host, many)
        assigned, useless = assigned + many, useless + idle
        ready += min(many - idle, ledger.at(host, key)[1])
    return Group(assigned=assigned, ready=ready, useless=useless)


def _idle(ledger: Ledger, key: Key, host: HostId, many: int) -> int:
    """Return how many of so many replicas of a host may be withdrawn without a loss: all where
    none is ready, and those that may be withdrawn already."""
    return min(many, ledger.fading(host, key)) if ledger.at(host, key)[1] else many


# --- what is to stay ------------------------------------------------------------------------------


def _demand(wanted: Wanted, about: Circumstances, keep_max: Mapping[HostId, int]) -> Demand:
    return Demand(
        deployment=wanted.name,
        generation=wanted.generation,
        count=0,
        placement=wanted.placement,
        interfaces=wanted.interfaces,
        needs=needs_of(wanted),
        avoid=about.avoided,
        keep_max=keep_max,
        unavailable_max=wanted.update.unavailable_max,
    )


def _remaining(
    ledger: Ledger, key: Key, leaving: Mapping[HostId, int], withdrawn: int
) -> dict[HostId, int]:
    """Return what hosts keep after so many of those that leave were withdrawn: first those whose
    withdrawal costs nothing."""
    taken: dict[HostId, int] = {}
    for host in sorted(leaving):
        taken[host] = min(_idle(ledger, key, host, leaving[host]), withdrawn)
        withdrawn -= taken[host]
    for host in sorted(leaving):
        more = min(leaving[host] - taken[host], withdrawn)
        taken[host], withdrawn = taken[host] + more, withdrawn - more
    return {host: ledger.at(host, key)[0] - many for host, many in taken.items()}


def _retreating(ledger: Ledger, key: Key, surplus: int) -> dict[HostId, int]:
    """Return what hosts keep whose replicas are not ready, when so many in all are too many."""
    kept: dict[HostId, int] = {}
    for host in sorted(ledger.places(key), key=lambda h: (-ledger.fading(h, key), h)):
        listed, working = ledger.at(host, key)
        taken = min(listed - working, surplus)
        if taken > 0:
            surplus -= taken
            kept[host] = listed - taken
    return kept


def _older(
    wanted: Wanted, ledger: Ledger, about: Circumstances, withdrawn: int
) -> Iterable[Demand]:
    """Yield what older generations keep: first go those on hosts without a ready one, then those on
    hosts that are emptied, then the oldest."""
    useless: dict[Key, dict[HostId, int]] = {}
    others: dict[Key, dict[HostId, int]] = {}
    ordinary: dict[Key, int] = {}
    emptied = about.leaving | about.forced
    for key, host in _old_places(wanted, ledger):
        listed, working = ledger.at(host, key)
        if not working:
            useless.setdefault(key, {})[host] = listed
        elif host in emptied:
            others.setdefault(key, {})[host] = listed
        else:
            ordinary[key] = ordinary.get(key, 0) + listed
    for places in (useless, others):
        for counts in places.values():
            for host, count in counts.items():
                taken = min(count, withdrawn)
                withdrawn -= taken
                counts[host] = count - taken
    for key in sorted(ordinary):
        taken = min(ordinary[key], withdrawn)
        withdrawn -= taken
        ordinary[key] -= taken
    for generation, placement in sorted(about.old.items()):
        if not wanted.is_older(generation):
            continue
        key = (wanted.name, generation)
        kept = {**useless.get(key, {}), **others.get(key, {})}
        limited = {host: count for host, count in kept.items()
                   if count < ledger.at(host, key)[0]}  # fmt: skip
        yield _outgoing(key, ordinary.get(key, 0) + sum(kept.values()), placement, limited)


def _outgoing(key: Key, count: int, placement: Placement, keep_max: Mapping[HostId, int]) -> Demand:
    return Demand(
        deployment=key[0],
        generation=key[1],
        count=count,
        placement=placement,
        keep_max=keep_max,
        is_kept_only=True,
    )


# --- one on every host ----------------------------------------------------------------------------


def _hosts(wanted: Wanted, ledger: Ledger) -> int:
    """Return how many replicas of a daemon there are to be on the hosts that have one."""
    hosts = set(ledger.places(wanted.key)) | {host for _, host in _old_places(wanted, ledger)}
    return len(hosts) * (wanted.daemon.per_host if wanted.daemon else 0)


def _daemon(
    now_s: float,
    wanted: Wanted,
    ledger: Ledger,
    about: Circumstances,
    seen: Seen,
    was: Progress | None,
    emptied: dict[HostId, int],
) -> Asked:
    """Replace a daemon host by host: beside the old one, or after it where the update allows that.

    At most `surge_max + unavailable_max` hosts are in between at a time.
    """
    per_host = wanted.daemon.per_host if wanted.daemon else 0
    made = turn(now_s, wanted.generation, wanted.update, seen, was, is_paused=wanted.is_paused)
    unavailable_max, surge_max = bounds(wanted.update)
    is_ready = {host: ledger.at(host, wanted.key)[1] >= per_host
                for host in ledger.places(wanted.key)}  # fmt: skip
    old = _old_places(wanted, ledger)
    changing = {host for host, is_done in is_ready.items() if not is_done and old}
    keep_max, kept_old = dict(emptied), {}
    for key, host in old:
        listed, working = ledger.at(host, key)
        kept_old[key, host] = listed
        is_emptied = host in about.leaving or host in about.forced
        if is_ready.get(host) or is_emptied or (not working and host in changing):
            kept_old[key, host] = 0
        elif host in changing:
            continue
        elif len(changing) < unavailable_max + surge_max and not wanted.is_paused:
            changing.add(host)
            if unavailable_max or about.gives_way:
                kept_old[key, host] = 0
        else:
            keep_max[host] = 0
    # It moves nowhere, so that a host that comes and goes is no reason to leave it out.
    placement = tolerant(wanted.placement)
    demands = [replace(_demand(wanted, about, keep_max), per_host=per_host, placement=placement)]
    for generation, placement in sorted(about.old.items()):
        key = (wanted.name, generation)
        if wanted.is_older(generation):
            left = {host: count for (other, host), count in kept_old.items() if other == key}
            limited = {host: count for host, count in left.items() if not count}
            demands.append(_outgoing(key, sum(left.values()), placement, limited))
    return Asked(demands=tuple(demands), turn=made)
