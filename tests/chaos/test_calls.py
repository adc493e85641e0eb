"""No call is lost: hosts restarted one after the other under load, applies, kills and freezes.

Real processes and real signals; what was called is counted. Short in `make test`.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from lattice.client.session import LatticeClient
from lattice.testing import eventually
from tests.chaos.load import load
from tests.chaos.scale import TIMEOUT_S, sized
from tests.e2e.conftest import lattice_up
from tests.e2e.hosts import Hosts
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    deploy,
    is_alive,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.timeout(TIMEOUT_S)]

NAMES = ("host-1", "host-2", "host-3")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with lattice_up(tmp_path_factory.mktemp("calls"), "--hosts", "3") as running:
        found = Hosts(running)
        try:
            yield found
        finally:
            found.end()


@pytest.fixture
async def client(hosts: Hosts) -> AsyncIterator[LatticeClient]:
    async with client_of(hosts.lattice) as client:
        await until_leading(client)
        for name in NAMES:
            await until_host(client, name, "ready")
        yield client
        for deployment in await client.deployments():
            await client.delete(deployment.name)


async def ended(pid: int) -> None:
    await eventually(lambda: not is_alive(pid), timeout_s=PATIENCE_S, what=f"{pid} ends")


async def test_a_rolling_restart_of_every_host_under_load_loses_no_call(
    hosts: Hosts, client: LatticeClient
) -> None:
    """Calls have no key: each runs at most once, and none may end without its answer."""
    await deploy(client, "math", {"add": components.add()}, replicas=3)
    await deploy(client, "hello", {"hello": components.hello()}, replicas=3)
    await deploy(client, "front", {"greeter": components.greeter()}, replicas=3,
                 links=[{"import": "test:hello/greet", "to": "hello"}])  # fmt: skip
    for name in ("math", "hello", "front"):
        await until_placed(client, name, 3)
    async with (
        load(client, "math", callers=6) as calls,
        load(client, "front", callers=4, is_linked=True) as linked,
    ):
        for _ in range(sized(1, 5)):
            for name in NAMES:
                before = calls.answered
                hosts.send(name, signal.SIGTERM)
                await ended(hosts.pids[name])
                hosts.start(name)
                await until_host(client, name, "ready")
                for deployment in ("math", "hello", "front"):
                    await until_placed(client, deployment, 3)
                await eventually(lambda before=before: calls.answered > before + 100)
    print(f"rolling restart: {calls}; through links: {linked}")  # noqa: T201 - figures with -s
    assert not calls.failures, calls
    assert not linked.failures, linked


async def test_applies_under_load_lose_no_call(client: LatticeClient) -> None:
    async def apply(number: int) -> None:
        await deploy(client, "math", {"add": components.add()}, replicas=3,
                     labels={"number": str(number)})  # fmt: skip

    await apply(0)
    async with load(client, "math", callers=8) as calls:
        for number in range(1, 1 + sized(10, 100)):
            await apply(number)
    print(f"applies: {calls}")  # noqa: T201 - figures of a run with -s
    assert not calls.failures, calls
    assert calls.answered > 100, calls


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda each: each.name)
async def test_no_keyed_call_fails_when_a_host_of_two_is_lost(
    hosts: Hosts, client: LatticeClient, how: signal.Signals
) -> None:
    await deploy(client, "math", {"add": components.add()}, replicas=2)
    places = await until_placed(client, "math", 2)
    victim = next(iter(places.values()))
    async with load(client, "math", callers=16, is_keyed=True) as calls:
        await eventually(lambda: calls.answered > sized(200, 2_000))
        hosts.send(victim, how)
        await eventually(lambda: calls.answered > sized(2_000, 10_000), timeout_s=PATIENCE_S)
        await until_host(client, victim, "lost")
    print(f"{how.name}: {calls}")  # noqa: T201 - figures of a run with -s
    if how == signal.SIGSTOP:
        hosts.send(victim, signal.SIGCONT)
    else:
        await ended(hosts.pids[victim])
        hosts.start(victim)
    await until_host(client, victim, "ready")
    assert not calls.failures, calls


async def test_of_a_thousand_calls_a_canary_of_a_tenth_gets_a_hundred(
    client: LatticeClient,
) -> None:
    update = {"strategy": "canary", "canary": {"weight": 10, "hold": "10m"}}
    parts = {"add": components.add()}
    await deploy(client, "math", parts, replicas=3, update=update)
    canary = await deploy(client, "math", parts, replicas=3, update=update, wait=False,
                          labels={"number": "2"})  # fmt: skip
    generations: Counter[int] = Counter()

    async def is_called() -> bool:  # then every host is told soon, if it is not yet
        result = await client.call("math", "add", [40, 2], detail=True)
        return bool(result.generation == canary)

    await eventually(is_called, timeout_s=PATIENCE_S)
    for number in range(1_000):
        result = await client.call("math", "add", [number, 2], detail=True)
        generations[result.generation] += 1
    assert abs(generations[canary] - 100) <= 5, generations
