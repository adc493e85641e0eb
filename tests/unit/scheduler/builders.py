"""Small worlds for the scheduler's cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lattice.model.host import Capacity, Inventory, ReplicaReport, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId, replica_id
from lattice.model.scheduling import Placement
from lattice.wire.messages import TargetItem
from scheduler.delivery import Document
from scheduler.generations import Wanted
from scheduler.placement.model import NEEDS, Candidate, Demand

MIB = 1 << 20


def host_id(name: str) -> HostId:
    return HostId(name)


def inventory(name: str, *, boot: str = "b1", **fields: Any) -> Inventory:
    given: dict[str, Any] = {
        "labels": {},
        "interfaces": (),
        "capacity": Capacity(cpu_milli=4000, memory_bytes=1024 * MIB),
        "features": (*NEEDS, "singletons@1", "jobs@1"),
        **fields,
    }
    return Inventory(host=HostId(name), boot=boot, name=f"name-{name}", version="test", **given)


def report(
    name: str,
    sequence: int,
    *,
    boot: str = "b1",
    adopted: Revision | None = None,
    replicas: tuple[ReplicaReport, ...] = (),
) -> Report:
    return Report(
        host=HostId(name), boot=boot, sequence=sequence, adopted=adopted or Revision(),
        replicas=replicas,
    )  # fmt: skip


def replica(
    host: str, name: str = "app", generation: int = 1, *, assignment: int = 1, ordinal: int = 0,
    **fields: Any,
) -> ReplicaReport:  # fmt: skip
    given: dict[str, Any] = {"state": "running", **fields}
    return ReplicaReport(
        replica=ReplicaId(replica_id(name, generation, host, assignment, ordinal)),
        deployment=DeploymentName(name), generation=generation, **given,
    )  # fmt: skip


def item(name: str = "app", generation: int = 1, count: int = 1, **fields: int) -> TargetItem:
    return TargetItem(deployment=name, generation=generation, count=count, **fields)


def document(host: str, revision: int, *items: TargetItem) -> Document:
    return Document(host=HostId(host), items=items, revision=revision)


def wanted(name: str = "app", generation: int = 1, replicas: int = 1, **fields: Any) -> Wanted:
    given = _placed(fields)
    return Wanted(name=DeploymentName(name), generation=generation, replicas=replicas, **given)


def demand(name: str = "app", count: int = 1, **fields: Any) -> Demand:
    given: dict[str, Any] = {"generation": 1, **_placed(fields)}
    return Demand(deployment=DeploymentName(name), count=count, **given)


def _placed(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with those of `Placement` moved into one."""
    names = {each.name for each in dataclasses.fields(Placement)}
    inside = {name: value for name, value in given.items() if name in names}
    outside = {name: value for name, value in given.items() if name not in names}
    return outside | {"placement": Placement(**inside)}


def candidate(
    name: str, *, cpu_milli: int = 4000, memory_mib: int = 1024, slots: int = 100,
    labels: Mapping[str, str] | None = None, **fields: Any,
) -> Candidate:  # fmt: skip
    capacity = Capacity(cpu_milli=cpu_milli, memory_bytes=memory_mib * MIB, slots=slots)
    given: dict[str, Any] = {"interfaces": (), **fields}
    return Candidate(id=HostId(name), labels=labels or {}, capacity=capacity, **given)
