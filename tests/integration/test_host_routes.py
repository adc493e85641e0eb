"""Calls divided among generations of a deployment, by hosts over an in-memory lattice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hosts.http.front import HttpOptions
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRoute, RouteGeneration
from lattice.wire.subjects import route
from tests.guests import components, web_guests
from tests.integration.host_world import World
from tests.integration.http_client import Client
from tests.integration.http_lattice import ANY, HELLO, listening

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"
GREET = "test:hello/greet@0.1.0"
WELCOME = "test:greeter/welcome@0.1.0"


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world: World, tmp_path: Path, *hosts: str) -> AsyncIterator[int]:
    """Run hosts, and yield the port where the first one takes requests over HTTP."""
    plain = listening()
    port: int = plain.getsockname()[1]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        for host in hosts:
            http = HttpOptions(plain=[plain] if host == hosts[0] else [])
            await stack.enter_async_context(world.host(host, tmp_path / host, http=http))
        yield port


async def until_running(world: World, host: str, *expected: tuple[str, int]) -> None:
    def is_so() -> bool:
        report = world.reports.get(host)
        found = {(r.deployment, r.generation): r.state for r in report.replicas} if report else {}
        return found == dict.fromkeys(expected, "running")

    await eventually(is_so, timeout_s=30)


async def divide(world: World, name: str, shares: dict[int, tuple[int, list[str]]]) -> None:
    """Write how the calls are divided: generation -> (weight, hosts)."""
    generations = [
        RouteGeneration(generation=generation, weight=weight, hosts=hosts)
        for generation, (weight, hosts) in shares.items()
    ]
    document = DeploymentRoute(name=name, generations=generations)
    await world.connection.control.put(route(name), encode(document))


async def submitted(world: World, name: str, body: bytes, **fields: object) -> None:
    """Submit two generations of a deployment."""
    for generation in (1, 2):
        await world.submit(name, {"part": body}, generation=generation, **fields)


async def generations_of(world: World, calls: int) -> Counter[int]:
    replies = [await world.reply("math", ADD, "add", [40, 2]) for _ in range(calls)]
    assert all(reply.ok == [42] for reply in replies)
    return Counter(reply.generation for reply in replies)


async def test_of_a_thousand_calls_a_canary_of_a_tenth_gets_a_hundred(
    world: World, tmp_path: Path
) -> None:
    await submitted(world, "math", components.add())
    async with running(world, tmp_path, "H1", "H2", "H3"):
        await world.assign("H1", ("math", 1, 1))
        await world.assign("H2", ("math", 2, 1))
        await world.assign("H3", ("math", 1, 1), ("math", 2, 1))
        await until_running(world, "H1", ("math", 1))
        await until_running(world, "H2", ("math", 2))
        await until_running(world, "H3", ("math", 1), ("math", 2))
        await divide(world, "math", {2: (10, ["H2", "H3"]), 1: (90, ["H1", "H3"])})

        async def is_divided() -> bool:  # each of the three hosts has seen the route
            return (await generations_of(world, 3))[1] == 3

        await eventually(is_divided)
        counts = await generations_of(world, 1000)
        assert abs(counts[2] - 100) <= 5, counts
        await world.connection.control.delete(route("math"))

        async def is_undivided() -> bool:  # H2 and H3 answer with the newest that they have
            return (await generations_of(world, 30))[2] == 20

        await eventually(is_undivided)


async def test_a_canary_that_does_not_answer_costs_no_call(world: World, tmp_path: Path) -> None:
    await submitted(world, "math", components.add())
    async with running(world, tmp_path, "H1"):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "H1", ("math", 1))
        await divide(world, "math", {2: (50, ["UGONE", "H1"]), 1: (50, ["H1"])})
        assert await generations_of(world, 50) == {1: 50}


async def test_calls_between_deployments_on_one_host_are_divided_too(
    world: World, tmp_path: Path
) -> None:
    await submitted(world, "hello", components.hello())
    links = [{"import": GREET, "to": "hello"}]
    await world.submit("greeter", {"part": components.greeter()}, links=links)
    async with running(world, tmp_path, "H1", "H2"):
        await world.assign("H1", ("hello", 1, 1), ("greeter", 1, 1))
        await world.assign("H2", ("hello", 2, 1))
        await until_running(world, "H1", ("hello", 1), ("greeter", 1))
        await until_running(world, "H2", ("hello", 2))
        await divide(world, "hello", {2: (10, ["H2"]), 1: (90, ["H1"])})
        routes: Counter[tuple[str, str]] = Counter()

        async def count(calls: int) -> Counter[tuple[str, str]]:
            for _ in range(calls):
                reply = await world.reply("greeter", WELCOME, "welcome", ["Ada"])
                assert reply.ok == ["Hello, Ada!"]
                [leg] = reply.legs
                routes[leg.route, leg.host] += 1
            return routes

        async def is_divided() -> bool:
            return (await count(1))["remote", "H2"] > 0

        await eventually(is_divided)
        routes.clear()
        await count(100)
    assert routes == {("local", "H1"): 90, ("remote", "H2"): 10}


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_requests_over_http_are_divided_wherever_they_arrive(
    world: World, tmp_path: Path, where: str
) -> None:
    """On the host that takes them, or on the one that they are forwarded to."""
    await submitted(world, "web", web_guests.hello(), http=ANY)
    async with running(world, tmp_path, "H1", "H2", "H3") as port, Client(port) as client:
        stable = "H1" if where == "here" else "H3"
        await world.assign(stable, ("web", 1, 1))
        await world.assign("H2", ("web", 2, 1))
        await until_running(world, stable, ("web", 1))
        await until_running(world, "H2", ("web", 2))
        await divide(world, "web", {2: (10, ["H2"]), 1: (90, [stable])})
        with anyio.fail_after(20):
            while (await client.get()).status != 200:
                await anyio.lowlevel.checkpoint()

        def calls() -> tuple[int, int]:
            each = [sum(r.calls for r in world.reports[host].replicas) for host in (stable, "H2")]
            return each[0], each[1]

        for _ in range(200):
            assert (await client.get()).body == HELLO
        await eventually(lambda: sum(calls()) >= 201, timeout_s=20)
        told = calls()
    assert abs(told[1] - sum(told) / 10) <= 3, told


async def test_a_request_whose_canary_is_gone_is_answered_by_what_there_is(
    world: World, tmp_path: Path
) -> None:
    await submitted(world, "web", web_guests.hello(), http=ANY)
    async with running(world, tmp_path, "H1") as port, Client(port) as client:
        await world.assign("H1", ("web", 1, 1))
        await until_running(world, "H1", ("web", 1))
        await divide(world, "web", {2: (50, ["UGONE"]), 1: (50, ["H1"])})
        with anyio.fail_after(20):
            while (await client.get()).status != 200:
                await anyio.lowlevel.checkpoint()
        for _ in range(20):
            assert (await client.get(method="POST")).body == HELLO
