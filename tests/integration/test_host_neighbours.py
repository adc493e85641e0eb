"""Hosts whose guests answer requests that came to another host, or from another deployment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hosts.http.front import HttpOptions
from hosts.http.internal import InternalOptions
from hosts.sharing import listening_on, own_socket
from lattice.testing import eventually
from lattice.wire.codec import decode, encode
from tests.guests import web_guests
from tests.integration.host_world import World
from tests.integration.http_client import Client

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

ASKING = "test:web/asking@0.1.0"
WEB = "web.test.lattice.internal"
HELLO = "Hello, world!\n"
GRANT = {"network": {"http": [f"http://{WEB}"]}}


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(
    world: World, directory: Path, places: dict[str, list[str]], **options: Any
) -> AsyncIterator[None]:
    """Run a host for each name, with one replica of each of its deployments."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        for host, deployments in places.items():
            await stack.enter_async_context(
                world.host(host, directory / host, **(options if host == "H1" else {}))
            )
            await world.assign(host, *((name, 1, 1) for name in deployments))
        for host, deployments in places.items():
            wanted = dict.fromkeys(deployments, ("running", ""))
            await eventually(lambda h=host, w=wanted: world.states(h) == w, timeout_s=60)
        yield


async def ask(world: World) -> tuple[str, list[tuple[str, str, str, str]]]:
    """Have the guest `shop` ask `web`, and return what it got, and the legs of its call."""
    reply = await world.reply("shop", ASKING, "ask", [WEB, "/a?b=c"])
    legs = [(leg.deployment, leg.op, leg.route, leg.host) for leg in reply.legs]
    assert reply.ok is not None
    return reply.ok[0], legs


async def test_a_guest_asks_another_deployment_in_memory(world: World, tmp_path: Path) -> None:
    await world.submit("web", {"guest": web_guests.hello()})
    await world.submit("shop", {"asker": web_guests.asker()}, asker=GRANT)
    async with running(world, tmp_path, {"H1": ["web", "shop"]}):
        assert await ask(world) == (f"200 {HELLO}", [("web", "http GET /a", "local", "H1")])


@pytest.mark.parametrize("who", ["asker", "answerer", "host"])
async def test_each_side_can_keep_requests_out_of_memory(
    world: World, tmp_path: Path, who: str
) -> None:
    routes = {"web": {}, "shop": {}, "host": {}}
    routes[{"asker": "shop", "answerer": "web", "host": "host"}[who]] = {"httpRoute": "remote"}
    await world.submit("web", {"guest": web_guests.hello()}, **routes["web"])
    await world.submit("shop", {"asker": web_guests.asker()}, asker=GRANT, **routes["shop"])
    http = HttpOptions(internal=InternalOptions(in_memory=who != "host"))
    async with running(world, tmp_path, {"H1": ["web", "shop"]}, http=http):
        assert await ask(world) == (f"200 {HELLO}", [("web", "http GET /a", "remote", "H1")])


async def test_a_guest_asks_a_deployment_on_another_host(world: World, tmp_path: Path) -> None:
    await world.submit("web", {"guest": web_guests.hello()})
    await world.submit("shop", {"asker": web_guests.asker()}, asker=GRANT)
    async with running(world, tmp_path, {"H1": ["shop"], "H2": ["web"]}):
        assert await ask(world) == (f"200 {HELLO}", [("web", "http GET /a", "remote", "H2")])


async def test_a_guest_without_a_grant_is_denied(world: World, tmp_path: Path) -> None:
    await world.submit("web", {"guest": web_guests.hello()})
    await world.submit("shop", {"asker": web_guests.asker()}, asker={"network": {"http": ["*"]}})
    async with running(world, tmp_path, {"H1": ["web", "shop"]}):
        said, legs = await ask(world)
        assert (said.split()[0], legs) == ("error", [])
        packet = await world.connection.bus.request(
            world.names.host_control("H1", "logs"),
            encode({"deployment": "shop", "lines": 10}),
            timeout_s=5,
        )
        lines = [line["line"] for line in decode(packet.body)["ok"]["lines"]]
        assert f"denied: request to http://{WEB}; the grant http://{WEB} would allow it" in lines


async def test_a_service_asks_without_being_called(world: World, tmp_path: Path) -> None:
    await world.submit("web", {"guest": web_guests.hello()})
    await world.submit(
        "shop",
        {"courierservice": web_guests.courier()},
        courierservice={**GRANT, "env": {"AUTHORITY": WEB}, "restart": {"policy": "never"}},
    )
    async with running(world, tmp_path, {"H1": ["web"]}):
        await world.assign("H1", ("web", 1, 1), ("shop", 1, 1))

        async def is_told() -> bool:
            packet = await world.connection.bus.request(
                world.names.host_control("H1", "logs"),
                encode({"deployment": "shop", "lines": 10}),
                timeout_s=5,
            )
            return f"200 {HELLO.strip()}" in [e["line"] for e in decode(packet.body)["ok"]["lines"]]

        await eventually(is_told, timeout_s=30)


# --- requests of clients --------------------------------------------------------------------------


@asynccontextmanager
async def two_hosts(
    world: World, tmp_path: Path, guest: bytes, **fields: Any
) -> AsyncIterator[Client]:
    """Yield a client of a host that has no replica of what is asked for; another one has."""
    fields = {"http": [{"path": "/"}], **fields}
    await world.submit("web", {"guest": guest}, **fields)
    plain = listening_on(own_socket("127.0.0.1", 0), backlog=64)
    port: int = plain.getsockname()[1]
    options = HttpOptions(plain=[plain])
    async with (
        running(world, tmp_path, {"H1": [], "H2": ["web"]}, http=options),
        Client(port) as client,
    ):

        async def is_routed() -> bool:
            return (await client.get("/")).status != 404

        await eventually(is_routed)
        yield client


async def test_a_host_without_a_replica_forwards_to_one_that_has(
    world: World, tmp_path: Path
) -> None:
    async with two_hosts(world, tmp_path, web_guests.hello()) as client:
        reply = await client.get("/x")
        assert (reply.status, reply.body) == (200, HELLO.encode())
        await world.assign("H2")
        await eventually(lambda: world.states("H2") == {})
        reply = await client.get("/x")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")


async def test_bodies_are_forwarded_both_ways(world: World, tmp_path: Path) -> None:
    body = bytes(range(256)) * 4000
    async with two_hosts(world, tmp_path, web_guests.paths()) as client:
        reply = await client.ask("/echo", method="POST", body=body)
        assert (reply.status, reply.body) == (200, body)
        reply = await client.get("/large?3000000")
        assert (reply.status, len(reply.body)) == (200, 3_000_000)
        reply = await client.get("/hints")
        assert (reply.status, reply.body) == (200, b"hinted")
        assert (await client.get("/trap")).status == 500
        assert (await client.get("/events")).status == 200
        reply = await client.ask("/large?3000000", method="HEAD")
        assert (reply.status, reply.body) == (200, b"")


async def until_generations(world: World, *generations: int) -> None:
    def is_so() -> bool:
        found = {each.generation: each.state for each in world.reports["H2"].replicas}
        return found == dict.fromkeys(generations, "running")

    await eventually(is_so, timeout_s=30)


async def test_a_rolling_change_loses_no_forwarded_request(world: World, tmp_path: Path) -> None:
    statuses: list[int] = []
    async with two_hosts(world, tmp_path, web_guests.hello()) as client:
        done = anyio.Event()

        async def keep_asking() -> None:
            while not done.is_set():
                statuses.append((await client.ask("/", method="POST", body=b"x")).status)

        async with anyio.create_task_group() as group:
            group.start_soon(keep_asking)
            for generation in (2, 3, 4):
                await world.submit(
                    "web", {"guest": web_guests.hello()}, generation=generation,
                    http=[{"path": "/"}],
                )  # fmt: skip
                await world.assign("H2", ("web", generation - 1, 1), ("web", generation, 1))

                await until_generations(world, generation - 1, generation)
                await world.assign("H2", ("web", generation, 1))
                await until_generations(world, generation)
            done.set()
    assert set(statuses) == {200}
