"""What the listing of replicas tells of each: its load, and the devices that it was granted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lattice.client.views import GrantView, ReplicaView
from lattice.model.ids import HostId
from lattice.wire.codec import convert
from lattice.wire.messages import DeviceGrant
from lattice.wire.requests import ReplicaListing
from scheduler import views
from tests.unit.scheduler.builders import wanted
from tests.unit.scheduler.term import Term


def listed(term: Term) -> list[ReplicaView]:
    found: Any = views.replicas(term.core, ReplicaListing())["replicas"]
    return [convert(view, ReplicaView) for view in found]


def test_each_replica_shows_the_devices_of_its_ordinal() -> None:
    term = Term(hosts="a")
    term.want(wanted(replicas=2))
    term.run_all()
    documents = term.core.delivery.documents
    host = HostId("a")
    (item,) = documents[host].items
    grants = [DeviceGrant(ordinal=1, device="gpu0", share_milli=250, memory_bytes=4)]
    documents[host] = replace(documents[host], items=(replace(item, grants=grants),))
    assert [view.devices for view in listed(term)] == [
        [], [GrantView(device="gpu0", share_milli=250, memory_bytes=4)],
    ]  # fmt: skip
    assert [(v.in_flight, v.waiting, v.errors, v.busy_ms) for v in listed(term)] == [(0,) * 4] * 2
