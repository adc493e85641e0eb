"""Every rule of a demand with its verdict on one host: why a replica is not there, or could be.

The verdicts are the filters'; this adds the rules that the host meets, so that one sees them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.placement.filters import Kind, exact_size, refusals
from scheduler.placement.model import Demand
from scheduler.placement.rooms import Room, Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one rule says of one host: `text` is the refusal, or what the host has to show."""

    kind: Kind
    subject: str
    is_met: bool
    text: str


def verdicts(demand: Demand, room: Room, around: Surroundings) -> tuple[Verdict, ...]:
    """Return the verdict of every rule that the demand brings about, in the order of the filters.

    The first that is not met is the reason that is counted for this host.
    """
    refused = {(each.kind, each.subject): each for each in refusals(demand, room, around)}
    found: list[Verdict] = []
    for kind, subject, text in _rules(demand, room, around):
        refusal = refused.get((kind, subject))
        found.append(
            Verdict(
                kind=kind,
                subject=subject,
                is_met=refusal is None,
                text=text if refusal is None else refusal.text,
            )
        )
    missing = refused.keys() - {(each.kind, each.subject) for each in found}
    assert not missing, f"rules without a line: {sorted(missing)}"
    return tuple(found)


_Rule = tuple[Kind, str, str]


def _rules(demand: Demand, room: Room, around: Surroundings) -> Iterator[_Rule]:
    """Yield each rule with what it says when the host meets it."""
    yield from _state_rules(demand, room)
    labels = room.candidate.labels
    asked = demand.placement
    for taint in room.candidate.taints:
        title = f"{taint.key}={taint.value}" if taint.value else taint.key
        yield "taint", title, f"taint {title} is tolerated"
    for selector in asked.require_labels:
        value = labels.get(selector.key)
        shown = f"no label {selector.key}" if value is None else f"label {selector.key}={value}"
        yield "label", str(selector), f"{shown}, needs {selector}"
    for name in demand.interfaces:
        yield "interface", name, f"offers {name}"
    yield from _neighbour_rules(demand, room, around)
    yield from _capacity_rules(demand, room)


def _state_rules(demand: Demand, room: Room) -> Iterator[_Rule]:
    host = room.candidate
    if host.state == "silent":
        yield "silent", "", ""
    else:
        yield "lost", "", "heartbeats arrive"
    for need in demand.needs:
        yield "feature", need, f"its release understands {need}"
    yield "cordoned", "", "not cordoned"
    yield "draining", "", "not draining"
    if host.is_frozen:
        yield "frozen", "", ""
    yield "failed", "", "has not failed there lately"
    if host.id in demand.keep_max:
        yield "leaving", "", ""


def _neighbour_rules(demand: Demand, room: Room, around: Surroundings) -> Iterator[_Rule]:
    asked = demand.placement
    for name in asked.together:
        yield "together", name, f"{name} runs there"
    for name in asked.apart:
        yield "apart", name, f"{name} does not run there"
    for name in sorted(around.refusing - {demand.deployment}):
        yield (
            "apart",
            f"of {name}",
            f"{name}, which keeps {demand.deployment} away, does not run there",
        )
    for spread in asked.spread if not demand.per_host else ():
        if spread.is_hard:
            value = room.candidate.labels.get(spread.key, "")
            yield "spread", spread.key, f"{spread.key}={value} may have one more"
    if asked.per_host_max:
        own = room.counts.get(demand.key, 0)
        yield "per-host", "", f"has {own} of it, at most {asked.per_host_max} on one host"


def _capacity_rules(demand: Demand, room: Room) -> Iterator[_Rule]:
    asked, has = demand.placement, room.candidate.capacity
    yield "slots", "", f"slots {has.slots - room.slots} free, needs {max(asked.slots, 1)}"
    if asked.cpu_milli:
        free = has.cpu_milli - room.cpu_milli
        yield "cpu", "", f"cpu {free}m free, needs {asked.cpu_milli}m"
    if asked.memory_bytes:
        free = has.memory_bytes - room.memory_bytes
        text = f"memory {exact_size(free)} free, needs {exact_size(asked.memory_bytes)}"
        yield "memory", "", text
    if asked.devices:
        yield "device", "", "the devices that it asks for are free"
