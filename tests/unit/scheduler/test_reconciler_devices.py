"""Devices in a leader's term: no device is given twice, whatever the leader does not know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lattice.model.host import Device, HeldDevice, Report, Revision
from lattice.model.ids import HostId, replica_id
from lattice.model.scheduling import DeviceRequest
from lattice.wire.messages import DeviceGrant, TargetItem
from scheduler.delivery import TargetRead, TargetUnknown, WriteTarget
from scheduler.memory import RestoreSeen
from scheduler.reconciler import InventoryRead, Reported
from tests.unit.scheduler.builders import document, inventory, replica, report, wanted
from tests.unit.scheduler.term import Term

WHOLE = (DeviceRequest(kind="gpu", count=1),)
FEATURES = ("replicas@1", "devices@1")


def facts(*devices: str, sick: str = "") -> InventoryRead:
    there = tuple(Device(id=each, is_healthy=each != sick) for each in devices)
    given = inventory("a", features=FEATURES, devices=there)
    return InventoryRead(host=HostId("a"), inventory=given)


def held(item: TargetItem) -> list[tuple[int, str]]:
    return [(grant.ordinal, grant.device) for grant in item.grants]


def test_new_leader_keeps_what_the_targets_grant() -> None:
    before = Term(known=facts("x", "y"))
    before.beat("a")
    before.want(wanted(replicas=1, devices=WHOLE))
    before.settle()
    (item,) = before.items("a")
    term = Term(*before.core.delivery.documents.values(), known=facts("x", "y"))
    term.want(wanted(replicas=2, devices=WHOLE))
    term.settle()
    (now,) = term.items("a")
    assert held(now)[0] == held(item)[0]
    assert {device for _, device in held(now)} == {"x", "y"}


def test_devices_of_an_outgoing_generation_that_the_leader_never_wanted_are_not_free() -> None:
    old = TargetItem(
        deployment="app", generation=1, count=1, assignment=7,
        grants=[DeviceGrant(ordinal=0, device="x")],
    )  # fmt: skip
    term = Term(document("a", 60, old), known=facts("x", "y"))
    term.beat("a", replica("a", assignment=7), adopted=Revision("inc", 60))
    term.want(wanted(generation=2, replicas=1, devices=WHOLE), revision=91)
    grants = {item.generation: held(item) for item in term.items("a")}
    assert grants == {1: [(0, "x")], 2: [(0, "y")]}
    term.settle()
    grants = {item.generation: held(item) for item in term.items("a")}
    assert grants == {2: [(0, "y")]}, "the old one has gone"


def test_host_keeps_its_devices_after_a_restore() -> None:
    """What it runs becomes its target again, and no replica is given another device."""
    term = Term(known=facts("x", "y"))
    term.feed(RestoreSeen(is_running=True))
    running = [replica("a", "app", 1, assignment=9, ordinal=n) for n in range(2)]
    told = replace(
        report("a", 1, adopted=Revision("lost", 44), replicas=tuple(running)),
        held=tuple(
            HeldDevice(replica=replica_id("app", 1, "a", 9, n), device=device)
            for n, device in enumerate("yx")
        ),
    )
    term.feed(Reported(report=told))
    term.want(wanted(replicas=2, devices=WHOLE))
    term.feed(RestoreSeen(is_running=False))
    sent: list[Report] = [replace(told, sequence=n) for n in (2, 3)]
    for each in sent:
        term.feed(Reported(report=each))
        term.tick()
    (item,) = term.items("a")
    assert (item.assignment, item.count) == (9, 2)
    assert held(item) == [(0, "y"), (1, "x")]
    term.settle()
    assert held(term.items("a")[0]) == [(0, "y"), (1, "x")]


def test_grant_that_was_not_written_is_written_again() -> None:
    term = Term(known=facts("x", "y"))
    term.beat("a")
    term.want(wanted(replicas=1, devices=WHOLE))
    term.settle()
    (item,) = before = term.items("a")
    sick = item.grants[0].device
    term.is_written = False
    (lost,) = writes(term.feed(facts("x", "y", sick=sick)), term.tick())
    assert held(lost.target.items[0]) != held(item)
    term.feed(TargetUnknown(host=HostId("a"), ticket=lost.ticket))
    reading: Any = next(c for c in term.tick() if type(c).__name__ == "ReadTarget")
    term.is_written = True
    stands = replace(document("a", lost.expect), items=before)
    term.feed(TargetRead(document=stands, ticket=reading.ticket))
    term.settle()
    (now,) = term.items("a")
    assert held(now) == [(0, "y" if sick == "x" else "x")]


def writes(*commands: tuple[Any, ...]) -> list[WriteTarget]:
    return [each for group in commands for each in group if isinstance(each, WriteTarget)]
