"""Deployments that fall to no replica at all, and come back for the first call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import anyio
import pytest

from lattice.client.session import LatticeClient
from lattice.errors import LatticeError, NoRouteError
from tests.e2e.conftest import Lattice, lattice_up
from tests.e2e.running import client_of, deploy, until_placed
from tests.guests import components, web_guests
from tests.integration.http_client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow]

AT_ZERO = {"min": 0, "max": 2, "idle": "100ms"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    with lattice_up(tmp_path_factory.mktemp("waking"), "--hosts", "2") as running:
        yield running


@pytest.fixture
async def client(up: Lattice) -> AsyncIterator[LatticeClient]:
    async with client_of(up) as client:
        yield client
        for deployment in await client.deployments():
            await client.delete(deployment.name)


async def test_calls_of_what_has_no_replica_wake_it_and_all_are_answered(
    client: LatticeClient,
) -> None:
    await deploy(client, "math", {"add": components.add()}, scale=AT_ZERO, wait=False)
    took_s: list[float] = []
    for _ in range(3):
        await until_placed(client, "math", 0)
        began_s = time.monotonic()
        assert await client.call("math", "add", [40, 2]) == 42
        took_s.append(time.monotonic() - began_s)
    print(f"from no replica to the answer: {took_s}")  # noqa: T201 - figures of a run with -s
    await until_placed(client, "math", 0)
    answers: list[int] = []

    async def call(number: int) -> None:
        answers.append(await client.call("math", "add", [number, 2]))

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(call, number)
    assert sorted(answers) == list(range(2, 202))


async def test_jobs_that_wait_bring_replicas_and_their_end_takes_them_away(
    client: LatticeClient,
) -> None:
    scale = {"min": 0, "max": 2, "on": "queue", "target": 3, "idle": "1s"}
    spinning = {"spin": components.hostile()["spin"]}
    await deploy(client, "spinning", spinning, scale=scale, limits={"deadline": "60s"}, wait=False)
    await until_placed(client, "spinning", 0)
    jobs = [await client.jobs.submit("spinning", "run", []) for _ in range(12)]
    await until_placed(client, "spinning", 2)
    for job in jobs:
        await client.jobs.cancel(job.id)
    await until_placed(client, "spinning", 0)
    scaled = [
        event.data["replicas"]
        async for event in client.events(kinds=["deployment-scaled"], follow=False)
        if event.data["deployment"] == "spinning"
    ]
    assert (max(scaled), scaled[-1]) == (2, 0)


async def test_a_guests_call_of_what_has_no_replica_wakes_it(client: LatticeClient) -> None:
    await deploy(client, "hello", {"hello": components.hello()}, scale=AT_ZERO, wait=False)
    await deploy(client, "front", {"greeter": components.greeter()},
                 links=[{"import": "test:hello/greet", "to": "hello"}])  # fmt: skip
    await until_placed(client, "hello", 0)
    assert await client.call("front", "welcome", ["Ada"]) == "Hello, Ada!"


async def test_a_request_over_http_wakes_what_answers_it(
    up: Lattice, client: LatticeClient
) -> None:
    await deploy(client, "web", {"guest": web_guests.hello()}, scale=AT_ZERO, wait=False,
                 http=[{"path": "/woken"}])  # fmt: skip
    await until_placed(client, "web", 0)
    port = urlsplit(up.facts["http"]).port
    assert port is not None
    async with Client(port) as browser:
        answer = await browser.get("/woken")
    assert (answer.status, answer.body) == (200, b"Hello, world!\n")


async def test_what_has_no_replica_and_does_not_wake_is_no_route_at_once(
    client: LatticeClient,
) -> None:
    await deploy(client, "hello", {"hello": components.hello()}, replicas=0, wait=False)
    await deploy(client, "front", {"greeter": components.greeter()},
                 links=[{"import": "test:hello/greet", "to": "hello"}])  # fmt: skip
    began_s = time.monotonic()
    with pytest.raises(LatticeError) as caught:
        await client.call("front", "welcome", ["Ada"])
    assert caught.value.kind == NoRouteError.kind
    assert time.monotonic() - began_s < 5
