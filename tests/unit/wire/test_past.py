"""The past from events: what they make, in whatever order two sources come, and from snapshots."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from lattice.errors import DecodeError
from lattice.model.ids import HostId, replica_id
from lattice.wire.messages import Event, TargetItem
from lattice.wire.past import Past, PastReplica, State, snapshot_of
from lattice.wire.selecting import is_about_deployment
from scheduler.announcements import REPLICA_EVENTS_MAX, Announcements, replicas_of
from scheduler.delivery import Changed

H1, H2 = HostId("UHOSTONE"), HostId("UHOSTTWO")
NUMBERS = itertools.count(1)


def event(kind: str, entity: str, *, identity: str = "", **data: Any) -> Event:
    number = next(NUMBERS)
    return Event(
        id=identity or f"e{number}", kind=kind, source="/s", entity=entity, time_s=1.0, data=data,
        position=number,
    )  # fmt: skip


def applied(revision: int, name: str = "app", generation: int = 1) -> Event:
    return event(
        "deployment-applied", name, identity=f"{revision}.0", generation=generation, replicas=2
    )


def replica(ordinal: int = 0, host: HostId = H1) -> str:
    return replica_id("app", 1, host, 9, ordinal)


def placed(ordinal: int = 0, host: HostId = H1) -> Event:
    facts = {"deployment": "app", "generation": 1, "host": host}
    return event("replica-placed", replica(ordinal, host), **facts)


def withdrawn(ordinal: int = 0) -> Event:
    return event("replica-withdrawn", replica(ordinal), deployment="app", generation=1, host=H1)


def past(*events: Event) -> Past:
    made = Past()
    for each in events:
        made.take(each)
    return made


def replicas(*events: Event) -> dict[str, str]:
    return {each.replica: each.state for each in past(*events).state().replicas}


def test_a_deployment_stands_until_it_is_deleted() -> None:
    made = past(applied(3), applied(5, generation=2))
    [found] = made.state().deployments
    assert (found.generation, found.revision) == (2, 5)
    made.take(event("deployment-deleted", "app", identity="7.0"))
    assert made.state() == State()


def test_an_older_word_about_a_deployment_changes_nothing() -> None:
    deleted = event("deployment-deleted", "app", identity="7.0")
    assert past(deleted, applied(5)).state() == State()
    assert past(applied(8), deleted).state().deployments[0].revision == 8
    assert past(deleted, applied(8)).state().deployments[0].revision == 8


def test_a_host_may_tell_of_a_replica_before_the_scheduler_does() -> None:
    running = event("replica-running", replica(), host=H1)
    assert replicas(running) == {}
    assert replicas(running, placed()) == {replica(): "running"}
    assert replicas(placed(), running) == {replica(): "running"}
    assert replicas(placed(), withdrawn(), running) == {}


def test_a_replica_that_stopped_and_is_still_placed_is_begun_again() -> None:
    stopped = event("replica-stopped", replica(), host=H1)
    assert replicas(placed(), event("replica-running", replica()), stopped) == {
        replica(): "starting"
    }
    assert replicas(placed(), withdrawn(), stopped) == {}


def test_replicas_of_a_lost_host_are_lost_until_it_returns() -> None:
    events = [
        event("host-joined", H1, name="one", labels={"zone": "a"}),
        placed(), event("replica-running", replica()), event("host-lost", H1, name="one"),
    ]  # fmt: skip
    assert replicas(*events) == {replica(): "lost"}
    assert replicas(*events, event("host-returned", H1)) == {replica(): "running"}
    [host] = past(*events).state().hosts
    assert (host.name, host.state, host.labels) == ("one", "lost", {"zone": "a"})


def test_a_host_that_began_anew_runs_nothing_yet() -> None:
    running = event("replica-running", replica())
    assert replicas(placed(), running, event("host-rebooted", H1)) == {replica(): "assigned"}


@pytest.mark.parametrize("data", [{}, {"generation": "x", "replicas": None}, {"host": 1}])
@pytest.mark.parametrize("kind", ["deployment-applied", "replica-placed", "host-labelled"])
def test_events_of_others_with_other_data_are_passed_over(kind: str, data: dict[str, Any]) -> None:
    assert past(event(kind, "x", identity="no.revision", **data)).state() == State()


def test_what_is_told_in_sums_is_there_one_by_one() -> None:
    many = TargetItem(deployment="app", generation=1, count=REPLICA_EVENTS_MAX * 2, assignment=9)
    few = TargetItem(deployment="b", generation=4, count=1, assignment=2)
    made = Past()
    announcements = Announcements(1)

    def tell(before: tuple[TargetItem, ...], after: tuple[TargetItem, ...]) -> None:
        changed = Changed(host=H1, before=before, after=after, revision=5)
        for emit in announcements.target(changed, None):
            made.take(event(emit.kind, emit.entity, identity=emit.id, **emit.data))

    placed_many = Changed(host=H1, before=(), after=(many,), revision=4)
    (emit,) = announcements.target(placed_many, None)
    summed = event(emit.kind, emit.entity, identity=emit.id, **emit.data)
    assert is_about_deployment(summed, "app")
    assert not is_about_deployment(summed, "b")
    tell((), (many, few))
    assert set(made.replicas) == set(replicas_of(H1, (many, few)))
    tell((many, few), (few,))
    assert set(made.replicas) == set(replicas_of(H1, (few,)))


def story(seed: int) -> list[Event]:
    """Return events of a lattice in which something happens."""
    chance = random.Random(seed)
    found: list[Event] = []
    for revision in range(1, 200):
        host, ordinal = chance.choice([H1, H2]), chance.randrange(6)
        facts = {"deployment": "app", "generation": 1, "host": host}
        one = replica_id("app", 1, host, 9, ordinal)
        name = chance.choice("abc")
        found.append(
            chance.choice([
                applied(revision, name),
                event("deployment-deleted", name, identity=f"{revision}.0"),
                event("replica-placed", one, **facts), event("replica-withdrawn", one, **facts),
                event("replica-running", one, host=host),
                event("replica-failed", one, host=host, reason="trap \u2028 \x00"),
                event("replica-stopped", one, host=host), event("host-joined", host, name="h"),
                event("host-lost", host), event("host-left", host), event("host-rebooted", host),
            ])
        )  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_replay_from_a_snapshot_is_the_replay_from_the_beginning(seed: int) -> None:
    events = story(seed)
    whole = past(*events)
    for cut in (0, 1, 77, 198):
        parts = [json.loads(json.dumps(part)) for part in past(*events[:cut]).parts()]
        again = Past.from_parts(parts)
        for each in events[cut:]:
            again.take(each)
        assert again.state() == whole.state()
        assert again.parts() == whole.parts()


@pytest.mark.parametrize("seed", range(5))
def test_taking_events_twice_changes_nothing_at_the_end(seed: int) -> None:
    made = past(*(each for each in story(seed) if each.kind.startswith("deployment")))
    before = made.state()
    for each in story(seed):
        if each.kind == "deployment-applied":
            made.take(each)
    assert made.state() == before


def test_a_large_snapshot_has_several_parts_and_is_whole_with_all_of_them() -> None:
    made = Past()
    for number in range(3000):
        one = f"app/1/h/{number}.0"
        made.replicas[one] = PastReplica(replica=one, deployment="app", host=H1, reason="r" * 20)
    parts = made.parts()
    assert len(parts) > 1
    told = {
        number: event("lattice-snapshot", "lattice", **part) for number, part in enumerate(parts)
    }
    again = snapshot_of(told)
    assert again is not None
    assert again.state() == made.state()
    del told[1]
    assert snapshot_of(told) is None


def test_what_is_no_snapshot_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        Past.from_parts([{"through": 1, "hosts": [["too", "short"]]}])
