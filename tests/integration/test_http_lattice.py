"""Requests over HTTP that a host answers with its replicas, over an in-memory lattice."""

from __future__ import annotations

import contextlib
from pathlib import Path

import anyio
import pytest

from hosts import runner
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import desired
from tests.guests import web_guests
from tests.integration.host_world import World
from tests.integration.http_client import Client
from tests.integration.http_lattice import (
    ANY,
    HELLO,
    deploy,
    running,
    status_of,
    until_running,
    until_status,
)

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


async def test_a_replica_of_the_host_answers_what_a_route_names(
    world: World, tmp_path: Path
) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await deploy(world, "web", http=[{"host": "docs.example.com", "path": "/search"}])
        reply = await client.get("/search/a?b=c", host="docs.example.com:81")
        assert (reply.status, reply.body) == (200, HELLO)
        assert await status_of(client, "/searching", host="docs.example.com") == 404
        assert await status_of(client, "/search", host="www.example.com") == 404
        assert await status_of(client, "/search/%2e%2e/x", host="docs.example.com") == 400
        await eventually(
            lambda: [each.calls for each in world.reports["H1"].replicas] == [1], timeout_s=10
        )


async def test_a_star_asks_whoever_answers_for_the_host(world: World, tmp_path: Path) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await deploy(world, "web")
        assert (await client.get("*", method="OPTIONS")).status == 200


async def test_a_deployment_without_a_ready_replica_is_unavailable_for_now(
    world: World, tmp_path: Path
) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await world.submit("web", {"guest": web_guests.hello()}, http=ANY)
        await until_status(client, 503)
        reply = await client.get()
        assert reply.headers["retry-after"] == "1"
        await world.assign("H1", ("web", 1, 1))
        await until_running(world, "web", 1)
        assert await status_of(client) == 200


async def test_routes_come_and_go_with_what_is_desired(world: World, tmp_path: Path) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await until_status(client, 404)
        await deploy(world, "web")
        assert await status_of(client) == 200
        await world.submit(
            "web", {"guest": web_guests.hello()}, generation=2, http=[{"path": "/a"}]
        )
        await until_status(client, 404)
        assert await status_of(client, "/a") == 200
        await world.connection.control.delete(desired("web"))
        await until_status(client, 404, "/a")


async def test_of_two_deployments_with_one_route_the_older_one_answers(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await deploy(world, "web")
        await world.submit("other", {"guest": web_guests.paths()}, http=[*ANY, {"path": "/echo"}])
        # No replica of the other one is here: what it answers is unavailable.
        await until_status(client, 503, "/echo")
        assert (await client.get()).body == HELLO
        assert "*/ of other matches what a route of web matches; the older one answers" in (
            caplog.text
        )
        # Whichever was changed last.
        await world.submit("web", {"guest": web_guests.hello()}, http=ANY, generation=2)
        await world.connection.control.delete(desired("web"))
        await until_status(client, 503)


async def test_a_record_that_cannot_be_read_keeps_its_routes_and_those_of_others(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await deploy(world, "web")
        await world.connection.control.put(desired("web"), b"nonsense")
        record = DeploymentRecord(name="bad", generation=1, manifest={"http": [{"path": "x"}]})
        await world.connection.control.put(desired("bad"), encode(record))
        await eventually(lambda: "routes of bad cannot be read" in caplog.text, timeout_s=10)
        assert await status_of(client) == 200


async def test_no_request_is_lost_while_generations_replace_each_other(
    world: World, tmp_path: Path
) -> None:
    answered = [0]
    async with running(world, tmp_path) as port, anyio.create_task_group() as group:
        await deploy(world, "web")

        async def hammer(client: Client) -> None:
            async with client:
                while True:
                    reply = await client.get()
                    assert (reply.status, reply.body) == (200, HELLO)
                    answered[0] += 1

        for _ in range(4):
            group.start_soon(hammer, Client(port))
        for generation in range(2, 7):
            await world.submit(
                "web",
                {"guest": web_guests.hello()},
                generation=generation,
                http=ANY,
                labels={"generation": str(generation)},
            )
            await world.assign("H1", ("web", generation - 1, 1), ("web", generation, 1))
            await until_running(world, "web", generation - 1, generation)
            await world.assign("H1", ("web", generation, 1))
            await until_running(world, "web", generation)
        before = answered[0]
        await eventually(lambda: answered[0] > before + 10, timeout_s=10)
        group.cancel_scope.cancel()


async def test_a_replica_that_is_withdrawn_finishes_what_it_has_begun(
    world: World, tmp_path: Path
) -> None:
    async with running(world, tmp_path) as port, Client(port) as client, Client(port) as other:
        await deploy(world, "web", web_guests.paths())
        await client.begin("/echo", b"first")
        await world.assign("H1")
        await until_status(other, 503)
        assert await client.end(b"last") == b"last"
        await until_running(world, "web")


async def test_a_request_that_outlasts_the_drain_is_answered_all_the_same(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DRAIN_S", 0.2)
    monkeypatch.setattr(runner, "PATIENCE_S", 0.2)
    async with running(world, tmp_path, is_dev=True) as port, Client(port) as client:
        await deploy(world, "web", web_guests.paths())
        async with anyio.create_task_group() as group, Client(port) as other:

            async def forever() -> None:
                reply = await client.get("/forever")
                assert reply.status == 504
                assert b"was stopped before" in reply.body
                assert await status_of(client) == 503  # on the same connection

            group.start_soon(forever)
            await eventually(lambda: world.reports["H1"].load.calls_in_flight == 1, timeout_s=10)
            await world.assign("H1")
            await until_status(other, 503)


async def test_a_host_that_stops_finishes_what_it_has_taken(world: World, tmp_path: Path) -> None:
    async with (
        Client(0) as client,
        anyio.create_task_group() as group,
        running(world, tmp_path) as port,
    ):
        await deploy(world, "web", web_guests.paths())
        client.port = port
        await client.begin("/echo", b"first")

        async def end_once_it_stops() -> None:
            async with Client(port) as other:
                with contextlib.suppress(OSError):
                    while True:
                        await status_of(other)
                        await other.close()
            assert await client.end(b"last") == b"last"

        group.start_soon(end_once_it_stops)


async def test_a_host_that_stops_does_not_wait_for_idle_connections(
    world: World, tmp_path: Path
) -> None:
    client = None
    async with running(world, tmp_path) as port:
        client = Client(port)
        await until_status(client, 404)
        began = anyio.current_time()
    assert anyio.current_time() - began < 2.0
    await client.close()


async def test_limits_of_the_manifest_hold_for_requests(world: World, tmp_path: Path) -> None:
    async with running(world, tmp_path) as port, Client(port) as client, Client(port) as other:
        limits = {"concurrency": 1, "queue": 0, "deadline": "2s"}
        await world.submit("web", {"guest": web_guests.paths()}, http=ANY, guest={"limits": limits})
        await world.assign("H1", ("web", 1, 1))
        await until_running(world, "web", 1)
        async with anyio.create_task_group() as group:
            statuses: list[int] = []

            async def forever() -> None:
                statuses.append(await status_of(client, "/forever"))

            group.start_soon(forever)
            await until_status(other, 503, "/large?10")
            full = await other.get("/large?10")
            assert (full.status, full.headers["retry-after"]) == (503, "1")
        assert statuses == [504]
        assert await status_of(other, "/large?10") == 200
