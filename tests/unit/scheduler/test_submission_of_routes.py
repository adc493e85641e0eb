"""Routes at submission: conflicts are refused with both names, and deployments have an age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lattice.bus.base import Connection
from lattice.bus.memory import memory_connection
from lattice.errors import ConflictError, InvalidError
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import desired
from scheduler.store import ControlStore
from scheduler.submission import api_verbs
from tests.guests import components, web_guests


class Desk:
    """The verbs over a lattice in memory."""

    def __init__(self) -> None:
        self.connection: Connection = memory_connection("test")
        store = ControlStore(self.connection.control)
        self._verbs = api_verbs(store, self.connection.artifacts, lambda _: None)

    async def put(self, name: str, *paths: str, guest: bytes = b"", **fields: Any) -> Any:
        image = await self.connection.artifacts.put(guest or web_guests.hello())
        manifest: Mapping[str, Any] = {
            "lattice": "v1",
            "name": name,
            "components": [{"name": "web", "image": image}],
            "http": [{"host": "a.org", "path": path} for path in paths],
            **fields,
        }
        return await self._verbs["put"]({"manifest": manifest})

    async def delete(self, name: str) -> None:
        await self._verbs["delete"]({"name": name})

    async def record(self, name: str) -> DeploymentRecord:
        entry = await self.connection.control.get(desired(name))
        assert entry is not None
        assert entry.value is not None
        return decode_as(DeploymentRecord, entry.value)


async def test_a_route_that_another_deployment_has_is_refused_with_both_names():
    desk = Desk()
    await desk.put("one", "/a", "/b/{id}")
    with pytest.raises(ConflictError) as refused:
        await desk.put("two", "/c", "/b/{name}")
    assert refused.value.details["conflicts"] == [["a.org/b/{name}", "one", "two"]]
    assert await desk.connection.control.get(desired("two")) is None
    await desk.put("two", "/c", "/b")


async def test_a_deployment_may_keep_its_routes_and_take_those_that_became_free():
    desk = Desk()
    await desk.put("one", "/a")
    await desk.put("one", "/a", replicas=2)
    await desk.put("one", "/b")
    await desk.put("two", "/a")
    await desk.delete("one")
    await desk.put("two", "/a", "/b")


async def test_routes_that_cannot_be_read_are_in_nobodys_way():
    desk = Desk()
    bad = DeploymentRecord(name="bad", generation=1, manifest={"http": [{"path": "a"}]})
    await desk.connection.control.put(desired("bad"), encode(bad))
    await desk.connection.control.put(desired("worse"), b"nonsense")
    await desk.put("one", "/a")


async def test_a_deployment_without_a_part_that_answers_is_refused():
    desk = Desk()
    with pytest.raises(InvalidError) as refused:
        await desk.put("one", "/a", guest=components.hello())
    assert refused.value.faults == (
        "http: no part exports wasi:http/incoming-handler@0.2, so none can answer",
    )


async def test_a_deployment_keeps_its_age_until_it_is_deleted():
    desk = Desk()
    await desk.put("one", "/a")
    await desk.put("two", "/b")
    older, younger = (await desk.record("one")).since, (await desk.record("two")).since
    assert 0 < older < younger
    await desk.put("one", "/a", "/c")
    await desk.put("one", "/a", "/c", replicas=3)
    assert (await desk.record("one")).since == older
    await desk.delete("one")
    await desk.put("one", "/a")
    assert (await desk.record("one")).since > younger


async def test_other_routes_keep_the_generation_and_another_part_that_answers_does_not():
    desk = Desk()
    await desk.put("one", "/a")
    changed = await desk.put("one", "/b", "/c")
    assert (changed["generation"], changed["changed"]) == (1, True)
    assert [each["path"] for each in (await desk.record("one")).manifest["http"]] == ["/b", "/c"]
    assert (await desk.put("one"))["generation"] == 1
    named = await desk.put("one", http=[{"component": "web"}])
    assert named["generation"] == 2
