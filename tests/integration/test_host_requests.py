"""Requests over HTTP that workloads of a host send: grants of the manifest, logs, traces."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from lattice.testing import eventually
from lattice.wire.codec import decode, encode
from tests.guests import web_guests
from tests.integration.host_world import World
from tests.integration.http_peers import Peer, answer, serving
from tests.integration.test_host import until_running

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

ASKING = "test:web/asking@0.1.0"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world: World, directory: Path, deployment: str):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", directory))
        await world.assign("H1", (deployment, 1, 1))
        await until_running(world, deployment)
        yield


async def lines_of(world: World, deployment: str) -> list[str]:
    body = encode({"deployment": deployment, "lines": 100})
    packet = await world.connection.bus.request(
        world.names.host_control("H1", "logs"), body, timeout_s=5
    )
    return [line["line"] for line in decode(packet.body)["ok"]["lines"]]


async def test_a_component_sends_requests_where_its_manifest_grants_it(
    world: World, tmp_path: Path
) -> None:
    heads: list[str] = []

    async def note(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            await peer.say(answer(b"noted"))

    async with serving(note) as port:
        await world.submit(
            "courier",
            {"asker": web_guests.asker()},
            asker={"network": {"http": [f"http://127.0.0.1:{port}"]}},
        )
        async with running(world, tmp_path, "courier"):
            said = await world.call(
                "courier", ASKING, "ask", [f"127.0.0.1:{port}", "/x"], trace=TRACE
            )
            assert said == "200 noted"
            assert heads[0].startswith("get /x http/1.1\r\n")
            assert f"traceparent: {TRACE}" in heads[0]
            said = await world.call("courier", ASKING, "ask", ["localhost:1", "/"])
            assert said == "error 4", "another port is not granted"
            lines = await lines_of(world, "courier")
            assert [line for line in lines if line.startswith("denied: ")] == [
                (
                    "denied: request to http://localhost:1, 127.0.0.1 lies in 127.0.0.0/8 and "
                    "needs a grant within it; the grant http://127.0.0.1:1 would allow it"
                )
            ]


async def test_connections_of_a_workload_are_closed_when_its_replica_stops(
    world: World, tmp_path: Path
) -> None:
    left: list[bool] = []

    async def note(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"noted"))
        await peer.left()
        left.append(True)

    async with serving(note) as port:
        await world.submit(
            "courier",
            {"asker": web_guests.asker()},
            asker={"network": {"http": ["127.0.0.0/8:*"]}},
        )
        async with running(world, tmp_path, "courier"):
            await world.call("courier", ASKING, "ask", [f"127.0.0.1:{port}", "/x"])
            assert not left, "it is kept for the next request"
            await world.assign("H1")
            await eventually(lambda: bool(left))


async def test_a_service_that_runs_by_itself_sends_requests(world: World, tmp_path: Path) -> None:
    heads: list[str] = []

    async def note(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.say(answer(b"noted"))

    async with serving(note) as port:
        await world.submit(
            "courier",
            {"courierservice": web_guests.courier()},
            courierservice={
                "network": {"http": [f"127.0.0.0/8:{port}"]},
                "env": {"AUTHORITY": f"127.0.0.1:{port}"},
                "restart": {"policy": "never"},
            },
        )
        async with running(world, tmp_path, "courier"):
            await eventually(lambda: bool(heads))

            async def is_told() -> bool:
                return "200 noted" in await lines_of(world, "courier")

            await eventually(is_told)
