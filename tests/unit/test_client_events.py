"""What a client reads of the event log: filters, places to go on from, and what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.bus.memory import memory_connection
from lattice.client.session import LatticeClient
from lattice.wire import events
from lattice.wire.continuity import MISSING
from lattice.wire.messages import Event
from lattice.wire.subjects import Names

NAMES = Names("test")


def told(number: int, kind: str, entity: str, *, source: str = "host/UA", **data: Any) -> Event:
    return Event(
        id=f"{source}.{number}", kind=kind, source=f"/lattice/test/{source}", entity=entity,
        time_s=1.0, data=data, run=source, sequence=number,
    )  # fmt: skip


LOG = (
    told(1, "host-joined", "UA", source="scheduler/s", name="one"),
    told(1, "replica-running", "app/1/UA/2.0", host="UA"),
    told(2, "deployment-applied", "app", source="scheduler/s", deployment="app"),
    told(2, "replica-failed", "other/1/UA/3.0", host="UA", reason="trap"),
    told(3, "host-joined", "UB", source="scheduler/s", name="two"),
    told(4, "replica-placed", "app/1/UB/4.0", source="scheduler/s", deployment="app", host="UB",
         generation=1, host_name="two"),
)  # fmt: skip


async def client(*log: Event) -> LatticeClient:
    connection = memory_connection("test")
    for event in log:
        subject, body, headers = events.to_packet(event, NAMES)
        await connection.events.append(subject, body, headers=headers)
    return LatticeClient(connection)


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"kinds": ["host-joined"]}, [1, 5]),
        ({"entity": "app"}, [3]),
        ({"deployment": "app"}, [2, 3, 6]),
        ({"deployment": "ap"}, []),
        ({"host": "UA"}, [1, 2, 4]),
        ({"host": "two"}, [5, 6]),
        ({"source": "UA"}, [2, 4]),
        ({"source": "scheduler/s", "kinds": ["host-joined"]}, [1, 5]),
        ({"deployment": "app", "host": "UB"}, [6]),
        ({"after": 4}, [5, 6]),
    ],
)
async def test_of_all_events_those_come_for_which_all_that_is_asked_holds(
    wanted: dict[str, Any], positions: list[int]
) -> None:
    lattice = await client(*LOG)
    assert [event.position async for event in lattice.events(**wanted)] == positions


async def test_a_gap_is_told_whatever_is_filtered_but_not_of_other_sources() -> None:
    lattice = await client(
        told(1, "replica-running", "r"), told(2, "replica-running", "r"),
        told(5, "replica-running", "r"),
    )  # fmt: skip
    found = [event async for event in lattice.events(kinds=["host-lost"])]
    assert [(e.kind, e.source, e.data["first"], e.data["last"]) for e in found] == [
        (MISSING, "/lattice/test/host/UA", 3, 4)
    ]
    assert [event async for event in lattice.events(source="UB")] == []


async def test_an_event_that_two_tell_comes_once() -> None:
    first = told(1, "deployment-applied", "app", source="scheduler/s")
    again = Event(
        id=first.id, kind=first.kind, source="/lattice/test/scheduler/t", entity="app", time_s=2.0,
        data={}, run="t", sequence=1,
    )  # fmt: skip
    lattice = await client(first, again)
    assert [event.source async for event in lattice.events()] == [first.source]


async def test_the_state_now_is_what_the_events_make() -> None:
    lattice = await client(*LOG)
    moment = await lattice.state_at()
    assert [host.name for host in moment.state.hosts] == ["one", "two"]
    assert [each.replica for each in moment.state.replicas] == ["app/1/UB/4.0"]
    assert (moment.position, moment.missing) == (6, 0)
