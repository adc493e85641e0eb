"""What the command line shows of the event log: history with events, and what stood at a time."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from lattice.cli import exits
from lattice.errors import NotFoundError
from lattice.wire import events
from lattice.wire.messages import Event
from tests.unit.cli.test_verbs import raising

HOST = "UAAAAAAAAAAAAAAA"


def told(number, kind, entity, **data):
    return Event(
        id=f"{number}.0", kind=kind, source="/lattice/test/scheduler/s", entity=entity,
        time_s=1000.0 + number, data=data, run="s", sequence=number,
    )  # fmt: skip


LOG = [
    told(1, "host-joined", HOST, host=HOST, name="one"),
    told(2, "deployment-applied", "app", deployment="app", generation=1, replicas=1, paused=False),
    told(3, "replica-placed", "app/1/U/3.0", deployment="app", generation=1, host=HOST),
    told(6, "replica-running", "app/1/U/3.0", host=HOST),
    told(7, "deployment-applied", "other", deployment="other", generation=1, replicas=2),
]


@pytest.fixture
def recorded(shell):
    @asynccontextmanager
    async def prepare(script):
        for event in LOG:
            subject, body, headers = events.to_packet(event, script.names)
            await script.connection.events.append(subject, body, headers=headers)
        yield

    shell.prepare = prepare


@pytest.mark.usefixtures("recorded")
def test_history_shows_the_events_below_the_generations(shell):
    shell.answers["api.history"] = {
        "name": "app", "revision": 2, "reverted": 0, "reason": "",
        "generations": [{"generation": 1, "submitted_by": "ann", "current": True, "images": {}}],
    }  # fmt: skip
    lines = shell("history", "app").out.splitlines()
    kinds = [line.split()[2] for line in lines[3:]]
    assert kinds == ["deployment-applied", "replica-placed", "events-missing", "replica-running"]
    found = json.loads(shell("history", "app", "-o", "json").out)
    assert [each["generation"] for each in found["generations"]] == [1]
    assert len(found["events"]) == 4


@pytest.mark.usefixtures("recorded")
def test_history_of_a_deleted_deployment_is_its_events(shell):
    shell.answers["api.history"] = raising(NotFoundError("there is no deployment app"))
    ran = shell("history", "app")
    assert ran.status == 0
    assert "deployment-applied" in ran.out
    assert shell("history", "nobody").status == exits.NOT_FOUND


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("family", "shown"),
    [
        ("hosts", ["one", "ready", "-", HOST]),
        ("deployments", ["app", "1", "1", "2"]),
        ("replicas", ["app", "1", "one", "running", "-", "app/1/U/3.0"]),
    ],
)
def test_what_stood_is_listed_with_a_word_of_what_is_missing(shell, family, shown):
    ran = shell("get", family, "--at", "2999-01-01T00:00:00")
    assert ran.out.splitlines()[1].split() == shown
    assert ran.err == "2 events are missing in the log: this may be wrong by them\n"


@pytest.mark.usefixtures("recorded")
def test_what_stood_is_one_document_for_programs(shell):
    found = json.loads(
        shell("get", "replicas", "other", "--at", "2999-01-01T00:00:00", "-o", "json").out
    )
    assert found == {"replicas": [], "position": 5, "missing": 2}


@pytest.mark.usefixtures("recorded")
def test_before_anything_happened_nothing_stood(shell):
    ran = shell("get", "deployments", "--at", "1970-01-02T00:00:00")
    assert (ran.status, ran.out) == (0, "")
