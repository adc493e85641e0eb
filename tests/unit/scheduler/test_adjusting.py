"""Deployments that stand are scaled, paused and rolled back; each change stands or nothing does."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.bus.base import Store
from lattice.bus.memory import memory_connection
from lattice.errors import ConflictError, InvalidError, NotFoundError
from lattice.model.ids import DeploymentName
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRecord, DeploymentStatus
from lattice.wire.subjects import desired, status
from scheduler.announcements import Emit
from scheduler.collecting import HISTORY_MAX
from scheduler.store import ControlStore
from scheduler.submission import api_verbs
from tests.guests import web_guests

APP = DeploymentName("app")


class Desk:
    """The verbs over a lattice in memory; `told` are the events."""

    def __init__(self, control: Any = None) -> None:
        self.connection = memory_connection("test")
        self.store = ControlStore(control or self.connection.control)
        self.told: list[Emit] = []
        self._verbs = api_verbs(self.store, self.connection.artifacts, self.told.append)

    async def ask(self, verb: str, **question: Any) -> Any:
        return await self._verbs[verb](question)

    async def put(self, version: str = "1", **fields: Any) -> Any:
        image = await self.connection.artifacts.put(web_guests.hello())
        component = {"name": "web", "image": image, "env": {"VERSION": version}}
        manifest = {"lattice": "v1", "name": APP, "components": [component], **fields}
        return await self.ask("put", manifest=manifest, submitted_by="ann")

    async def record(self) -> DeploymentRecord:
        found = await self.store.require(APP)
        assert found.record is not None
        return found.record

    async def version(self) -> str:
        return str((await self.record()).manifest["components"][0]["env"]["VERSION"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"replicas": 1}, {"replicas": 2}),
        ({"replicas": 1}, {"daemon": {"perHost": 2}}),
        ({"daemon": {}}, {"scale": {"max": 4}}),
        ({"scale": {"max": 4}}, {"scale": {"min": 1, "max": 9}}),
        ({"http": [{"path": "/a"}]}, {"http": [{"path": "/b"}]}),
        ({}, {"update": {"strategy": "recreate"}}),
        ({}, {"lostAfter": "30s"}),
        ({}, {"placement": {"require": {"labels": ["ssd"]}, "priority": 5}}),
        ({"placement": {"spread": [{"key": "zone"}]}}, {"placement": {"maxPerHost": 1}}),
    ],
)
async def test_what_leaves_the_running_as_it_is_keeps_the_generation(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    desk = Desk()
    await desk.put(**first)
    answer = await desk.put(**second)
    assert (answer["generation"], answer["changed"]) == (1, True)
    assert set(second) <= set((await desk.record()).manifest)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"labels": {"restart": "1"}}),
        ({}, {"singleton": True}),
        ({}, {"ready": {"http": "/healthz"}}),
        ({}, {"placement": {"require": {"cpu": 1}}}),
        ({}, {"placement": {"require": {"devices": [{"count": 1}]}}}),
        ({"version": "1"}, {"version": "2"}),
    ],
)
async def test_what_changes_the_running_makes_a_new_generation(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    desk = Desk()
    await desk.put(**first)
    assert (await desk.put(**second))["generation"] == 2


async def test_scaling_keeps_all_but_the_number() -> None:
    desk = Desk()
    await desk.put(replicas=2)
    answer = await desk.ask("scale", name=APP, replicas=5, submitted_by="bob")
    record = await desk.record()
    assert (answer["generation"], answer["changed"]) == (1, True)
    assert (record.manifest["replicas"], record.submitted_by) == (5, "bob")
    assert desk.told[-1].data == {
        "deployment": "app", "generation": 1, "replicas": 5, "revision": answer["revision"],
        "paused": False,
    }  # fmt: skip
    again = await desk.ask("scale", name=APP, replicas=5, submitted_by="bob")
    assert (again["revision"], again["changed"]) == (answer["revision"], False)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"daemon": {}}, "daemon"),
        ({"singleton": True}, "singleton"),
        ({"scale": {"max": 2}}, "scale"),
    ],
)
async def test_scaling_what_has_no_number_is_refused(fields: dict[str, Any], mode: str) -> None:
    desk = Desk()
    await desk.put(**fields)
    before = await desk.store.require(APP)
    with pytest.raises(ConflictError, match=f"`{mode}` of its manifest decides"):
        await desk.ask("scale", name=APP, replicas=2)
    assert await desk.store.require(APP) == before


@pytest.mark.parametrize("count", [-1, 100_001])
async def test_a_number_of_replicas_out_of_bounds_is_refused(count: int) -> None:
    desk = Desk()
    await desk.put()
    with pytest.raises(InvalidError, match="expected 0 to 100000"):
        await desk.ask("scale", name=APP, replicas=count)


async def test_a_pause_outlasts_what_is_applied_until_it_is_resumed() -> None:
    desk = Desk()
    await desk.put("1")
    assert (await desk.ask("pause", name=APP))["paused"]
    assert (await desk.put("2"))["paused"]
    assert (await desk.put("2", replicas=4))["paused"]
    record = await desk.record()
    assert (record.generation, record.is_paused, await desk.version()) == (2, True, "2")
    assert not (await desk.ask("resume", name=APP))["paused"]
    record = await desk.record()
    assert (record.generation, record.is_paused) == (2, False)


async def test_a_rollback_desires_the_old_generation_with_the_present_number() -> None:
    desk = Desk()
    await desk.put("1", replicas=1)
    await desk.put("2", replicas=1)
    await desk.put("3", replicas=3)
    since = (await desk.record()).since
    answer = await desk.ask("rollback", name=APP, generation=1, submitted_by="bob", reason="slow")
    record = await desk.record()
    assert (answer["generation"], record.generation, await desk.version()) == (1, 1, "1")
    assert record.manifest["replicas"] == 3
    assert (record.reverted, record.reason, record.since) == (3, "slow", since)
    assert [emit.kind for emit in desk.told[-2:]] == [
        "deployment-applied",
        "deployment-rolled-back",
    ]
    assert (await desk.put("4"))["generation"] == 4
    record = await desk.record()
    assert (record.reverted, record.reason) == (0, "")


async def test_a_rollback_without_a_number_goes_one_back_and_never_to_what_was_left() -> None:
    desk = Desk()
    for version in "123":
        await desk.put(version)
    assert (await desk.ask("rollback", name=APP))["generation"] == 2
    assert (await desk.ask("rollback", name=APP))["generation"] == 1
    with pytest.raises(NotFoundError, match="no generation before 1"):
        await desk.ask("rollback", name=APP)
    assert (await desk.put("4"))["generation"] == 4
    assert (await desk.ask("rollback", name=APP))["generation"] == 1, "2 and 3 were given up"
    await desk.ask("rollback", name=APP, generation=3)
    assert (await desk.record()).given_up == [2, 4, 1]


async def test_a_rollback_to_a_generation_that_is_not_kept_names_those_that_are() -> None:
    desk = Desk()
    await desk.put("1")
    await desk.put("2")
    with pytest.raises(NotFoundError, match=r"generation 7 of deployment app is not kept.*1, 2"):
        await desk.ask("rollback", name=APP, generation=7)


async def test_a_rollback_to_where_it_stands_changes_nothing() -> None:
    desk = Desk()
    revision = (await desk.put("1"))["revision"]
    answer = await desk.ask("rollback", name=APP, generation=1)
    assert (answer["revision"], answer["changed"]) == (revision, False)


async def test_a_rollback_whose_routes_another_has_by_now_is_refused() -> None:
    desk = Desk()
    await desk.put("1", http=[{"path": "/a"}])
    await desk.put("2", http=[{"path": "/b"}])
    await desk.put("3", name="other", http=[{"path": "/a"}])
    before = await desk.store.require(APP)
    with pytest.raises(ConflictError):
        await desk.ask("rollback", name=APP)
    assert await desk.store.require(APP) == before


async def test_a_record_that_cannot_be_read_can_be_rolled_back_but_not_scaled() -> None:
    desk = Desk()
    await desk.put("1")
    await desk.put("2")
    await desk.connection.control.put(desired(APP), b"nonsense")
    for verb, fields in (("scale", {"replicas": 2}), ("pause", {})):
        with pytest.raises(ConflictError, match="cannot be read"):
            await desk.ask(verb, name=APP, **fields)
    assert (await desk.ask("rollback", name=APP, generation=2))["generation"] == 2
    assert await desk.version() == "2"


@pytest.mark.parametrize(
    ("verb", "fields"),
    [("scale", {"replicas": 2}), ("pause", {}), ("resume", {}), ("rollback", {}), ("history", {})],
)
async def test_a_deployment_that_is_not_there_is_told(verb: str, fields: dict[str, Any]) -> None:
    with pytest.raises(NotFoundError, match="no deployment app"):
        await Desk().ask(verb, name=APP, **fields)


@pytest.mark.parametrize(
    ("verb", "fields"), [("scale", {"replicas": 2}), ("pause", {}), ("rollback", {})]
)
async def test_a_change_of_a_revision_that_is_gone_is_refused(
    verb: str, fields: dict[str, Any]
) -> None:
    desk = Desk()
    await desk.put("1")
    revision = (await desk.put("2"))["revision"]
    before = await desk.store.require(APP)
    with pytest.raises(ConflictError, match=f"stands at revision {revision}, expected 1"):
        await desk.ask(verb, name=APP, expect=1, **fields)
    assert await desk.store.require(APP) == before
    assert (await desk.ask(verb, name=APP, expect=revision, **fields))["changed"]


class Interrupting:
    """A store in which somebody else writes a key right before the first `times` writes of it."""

    def __init__(self, store: Store, key: str, times: int) -> None:
        self._store = store
        self._key = key
        self.left = times

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        if key == self._key and self.left and expect:
            self.left -= 1
            entry = await self._store.get(key)
            assert entry is not None
            assert entry.value is not None
            await self._store.put(key, entry.value)
        return await self._store.put(key, value, expect=expect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_change_is_made_again_when_somebody_else_was_first() -> None:
    control = Interrupting(memory_connection("test").control, desired(APP), 3)
    desk = Desk(control)
    await desk.put("1")
    answer = await desk.ask("scale", name=APP, replicas=2)
    assert (answer["changed"], control.left) == (True, 0)
    assert (await desk.record()).manifest["replicas"] == 2


async def test_a_change_that_others_always_forestall_is_refused() -> None:
    control = Interrupting(memory_connection("test").control, desired(APP), 100)
    desk = Desk(control)
    await desk.put("1")
    with pytest.raises(ConflictError):
        await desk.ask("scale", name=APP, replicas=2)
    assert control.left > 90


async def test_history_tells_which_generation_is_current_and_which_was_good() -> None:
    desk = Desk()
    for version in "12":
        await desk.put(version)
    good = DeploymentStatus(name=APP, good_generation=1)
    await desk.connection.control.put(status(APP), encode(good))
    await desk.ask("rollback", name=APP, submitted_by="bob")
    answer = await desk.ask("history", name=APP)
    assert [(e["generation"], e["current"], e["good"]) for e in answer["generations"]] == [
        (2, False, False),
        (1, True, True),
    ]
    assert [entry["given_up"] for entry in answer["generations"]] == [True, False]
    assert (answer["reverted"], answer["reason"]) == (2, "rolled back by bob")
    assert set(answer["generations"][0]["images"]) == {"web"}


async def test_the_last_good_generation_is_kept_however_many_bad_ones_follow() -> None:
    desk = Desk()
    await desk.put("0")
    good = DeploymentStatus(name=APP, good_generation=1)
    await desk.connection.control.put(status(APP), encode(good))
    for version in range(HISTORY_MAX + 3):
        await desk.put(str(version + 1))
    kept = await desk.store.generations(APP)
    assert (kept[0], kept[1], len(kept)) == (1, 5, HISTORY_MAX + 1)
