"""Makes the `Surroundings` of a demand from the rooms of all hosts: the domains that it is spread
over, and who wants to be apart from it.

This says what counts as a domain; whether a host may take a replica is the filters' to say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Spread
from scheduler.placement.devices import suffices
from scheduler.placement.filters import is_passing, standing_refusals
from scheduler.placement.model import Candidate, Demand, Key
from scheduler.placement.rooms import Domains, Room, Surroundings

Refusing = Mapping[DeploymentName, frozenset[DeploymentName]]
"""For each deployment, those that want to be apart from it."""


def refusing_of(demands: Iterable[Demand]) -> Refusing:
    """Return who wants to be apart from whom, by the deployment that is kept away."""
    found: dict[DeploymentName, set[DeploymentName]] = {}
    for demand in demands:
        for name in demand.placement.apart:
            found.setdefault(name, set()).add(demand.deployment)
    return {name: frozenset(others) for name, others in found.items()}


def surroundings_of(demand: Demand, rooms: Collection[Room], refusing: Refusing) -> Surroundings:
    """Return what matters to one demand of all that is placed in `rooms`, one for each host."""
    hard = [s for s in demand.placement.spread if s.is_hard and not demand.per_host]
    eligible = [room for room in rooms if could_take(demand, room.candidate)] if hard else []
    return Surroundings(
        spread={spread.key: domains_of(spread, demand.key, rooms, eligible) for spread in hard},
        refusing=refusing.get(demand.deployment, frozenset()),
    )


def could_take(demand: Demand, candidate: Candidate) -> bool:
    """Tell whether a host makes its domain one that could take a replica.

    Room does not matter, nor what runs beside: a full zone still counts, or the skew that a hard
    spread promises would grow without bound. Hosts that are lost, cordoned or draining do not make
    a domain, nor do those without the devices that are asked for; those that are waited for do.
    """
    if not suffices(demand.placement.devices, candidate.devices):
        return False
    return all(is_passing(refusal) for refusal in standing_refusals(demand, candidate))


def domains_of(
    spread: Spread, key: Key, rooms: Iterable[Room], eligible: Iterable[Room]
) -> Domains:
    """Return how the replicas of one generation lie over the domains of a spread.

    With fewer domains than the spread wants at least, one that does not exist counts as empty.
    """
    counts: dict[str, int] = {}
    for room in rooms:
        if (value := room.candidate.labels.get(spread.key)) is not None:
            counts[value] = counts.get(value, 0) + room.counts.get(key, 0)
    labels = (room.candidate.labels for room in eligible)
    values = {each[spread.key] for each in labels if spread.key in each}
    is_short = not values or len(values) < spread.domains_min
    fewest = 0 if is_short else min(counts[value] for value in values)
    return Domains(counts=counts, fewest=fewest)
