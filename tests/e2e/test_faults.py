"""Hosts killed, stopped and brought back; deployments changed, scaled and deleted meanwhile.

Real processes and real signals. The hosts of the shared lattice are not started again when they
die: each test brings back what it killed.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from lattice.errors import DeniedError, LatticeError, NotFoundError
from lattice.testing import eventually
from lattice.wire.subjects import desired, target
from tests.e2e.conftest import lattice_up
from tests.e2e.hosts import Hosts
from tests.e2e.running import (
    PATIENCE_S,
    answers_itself,
    client_of,
    connection_as,
    deploy,
    is_alive,
    send,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow]

RECOVERY_S = 10.0
"""The promise: a call is answered again within this time after a host was killed."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with lattice_up(tmp_path_factory.mktemp("hosts"), "--hosts", "2") as running:
        found = Hosts(running)
        try:
            yield found
        finally:
            found.end()


@pytest.fixture
async def client(hosts):
    async with client_of(hosts.lattice) as client:
        await until_leading(client)
        for name in hosts.pids:
            await until_host(client, name, "ready")
        yield client
        for deployment in await client.deployments():
            await client.delete(deployment.name)


async def until_answered(client, name="math"):
    """Return the seconds until a call is answered."""
    began_s = time.monotonic()

    async def is_answered():
        try:
            return await client.call(name, "add", [40, 2], deadline_s=1) == 42
        except LatticeError:
            return False

    await eventually(is_answered, timeout_s=PATIENCE_S)
    return time.monotonic() - began_s


async def all_answered(client):
    """Tell whether ten calls in a row are answered: the servers route them at random."""
    try:
        for _ in range(10):
            await client.call("math", "add", [40, 2], deadline_s=1)
    except LatticeError:
        return False
    return True


async def test_replicas_of_a_killed_host_come_back_elsewhere_and_it_takes_its_place_again(
    hosts, client
):
    await deploy(client, "math", {"add": components.add()})
    await deploy(client, "twice", {"add": components.add()}, replicas=2)
    [(single, victim)] = (await until_placed(client, "math", 1)).items()
    before = await until_placed(client, "twice", 2)
    assert set(before.values()) == {"host-1", "host-2"}, "they are spread"
    hosts.send(victim, signal.SIGKILL)
    began_s = time.monotonic()
    ends: Counter[str] = Counter()
    for _ in range(20):
        try:
            assert await client.call("twice", "add", [40, 2], deadline_s=5) == 42
            ends["ok"] += 1
        except LatticeError as exc:
            ends[exc.kind] += 1
    assert ends["ok"] >= 19, "at most the call that was on its way to the victim is lost"
    await until_answered(client)
    took_s = time.monotonic() - began_s
    assert took_s < RECOVERY_S
    [(moved, place)] = (await until_placed(client, "math", 1)).items()
    assert moved != single
    assert place != victim
    twice = await until_placed(client, "twice", 2)
    assert set(twice.values()) == {place}
    assert before.items() & twice.items(), "the replica that lived stays"

    hosts.start(victim)
    await until_host(client, victim, "ready")
    await deploy(client, "again", {"add": components.add()}, replicas=2)
    assert set((await until_placed(client, "again", 2)).values()) == {"host-1", "host-2"}
    assert await until_placed(client, "twice", 2) == twice, "nothing is moved back"


async def test_host_that_was_stopped_for_long_drops_what_was_given_to_another(hosts, client):
    await deploy(client, "math", {"add": components.add()}, replicas=2)
    await deploy(client, "gone", {"add": components.add()}, replicas=2)
    before = await until_placed(client, "math", 2)
    host_id = hosts.lattice.host_id("host-2")
    hosts.send("host-2", signal.SIGSTOP)
    began_s = time.monotonic()
    try:
        await until_host(client, "host-2", "lost")
        await client.delete("gone")
        moved = await until_placed(client, "math", 2)
        assert set(moved.values()) == {"host-1"}
        assert await until_answered(client) < RECOVERY_S
        await eventually(partial(all_answered, client), timeout_s=PATIENCE_S)
        took_s = time.monotonic() - began_s
        assert took_s < 2 * RECOVERY_S
    finally:
        hosts.send("host-2", signal.SIGCONT)
    await until_host(client, "host-2", "ready")

    async def has_dropped():
        return not (
            await answers_itself(client, host_id, "math")
            or (await client.inventory(host_id)).get("replicas")
        )

    await eventually(has_dropped, timeout_s=PATIENCE_S)
    assert await until_placed(client, "math", 2) == moved
    assert before.items() & moved.items(), "the replica that lived stays"
    with pytest.raises(NotFoundError, match="gone"):
        await client.call("gone", "add", [1, 2], deadline_s=2)


async def test_deployment_deleted_and_made_again_while_a_host_is_away_runs_the_new_one(
    hosts, client
):
    """The host keeps its old generation on disk and in memory; it must never answer for it."""
    await deploy(client, "name", {"part": components.echo()}, replicas=2)
    host_id = hosts.lattice.host_id("host-1")
    hosts.send("host-1", signal.SIGKILL)
    await client.delete("name")
    # One for each host, so that the one that comes back runs the new one too.
    spread = {"maxPerHost": 1}
    await deploy(
        client, "name", {"part": components.add()}, replicas=2, wait=False, placement=spread
    )
    hosts.start("host-1")

    async def is_back():
        return await answers_itself(client, host_id, "name")

    await eventually(is_back, timeout_s=PATIENCE_S)
    await until_placed(client, "name", 2)
    assert await client.call("name", "add", [1, 2]) == 3
    with pytest.raises(NotFoundError):
        await client.call("name", "echo", ["x"])


async def test_scaling_up_down_to_nothing_and_up_again_ends_with_the_right_number(client):
    for count in (1, 5, 0, 2):
        await deploy(client, "math", {"add": components.add()}, replicas=count, wait=False)
    assert len(await until_placed(client, "math", 2)) == 2
    assert await client.call("math", "add", [1, 2]) == 3
    await deploy(client, "math", {"add": components.add()}, replicas=0, wait=False)
    await until_placed(client, "math", 0)
    with pytest.raises(LatticeError) as caught:
        await client.call("math", "add", [1, 2], deadline_s=0.5)
    assert caught.value.kind == "no-route"


async def test_updates_lose_no_call_and_two_in_a_row_end_with_the_newest(client):
    await deploy(client, "math", {"add": components.add()}, replicas=2)
    await client.call("math", "add", [1, 2])
    answered: Counter[int] = Counter()

    async def calls():
        while True:
            result = await client.call("math", "add", [40, 2], deadline_s=10, detail=True)
            assert result.value == 42
            answered[result.generation] += 1

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(calls)
        for number in range(3):
            await deploy(client, "math", {"add": components.add()}, replicas=2,
                         wait=number == 2, labels={"number": str(number)})  # fmt: skip
        await until_placed(client, "math", 2)
        record, _ = await client.record("math")

        async def is_newest_only():
            listed = await client.replicas("math")
            return {r.generation for r in listed.replicas} == {record.generation}

        await eventually(is_newest_only, timeout_s=PATIENCE_S)
        await eventually(lambda: answered[record.generation] > 20, timeout_s=PATIENCE_S)
        group.cancel_scope.cancel()
    assert len(answered) > 1, "calls were answered before, during and after the updates"


async def test_call_in_flight_during_an_update_finishes_on_the_old_generation(client):
    parts = {"guest": components.hostile()["spin"]}
    limits = {"deadline": "3s"}
    await deploy(client, "slow", parts, limits=limits)
    ends: list[tuple[str, float]] = []
    began_s = time.monotonic()

    async def call():
        try:
            await client.call("slow", "run", deadline_s=20)
        except LatticeError as exc:
            ends.append((exc.message, time.monotonic() - began_s))

    async with anyio.create_task_group() as group:
        group.start_soon(call)

        async def is_running():
            listed = await client.replicas("slow")
            return any(r.calls for r in listed.replicas)

        await eventually(is_running, timeout_s=PATIENCE_S)
        await deploy(client, "slow", parts, limits=limits | {"queue": 7}, wait=False)
    [(message, took_s)] = ends
    assert "stopped" not in message
    assert "closed" not in message
    assert took_s > 2.5, "it ran until its own deadline"


async def test_links_lose_no_call_while_their_callee_is_updated(client):
    await deploy(client, "hello", {"hello": components.hello()}, replicas=2)
    await deploy(client, "front", {"greeter": components.greeter()}, replicas=2,
                 links=[{"import": "test:hello/greet", "to": "hello"}])  # fmt: skip
    count = 0

    async def calls():
        nonlocal count
        while True:
            assert await client.call("front", "welcome", ["Ada"], deadline_s=10) == "Hello, Ada!"
            count += 1

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(calls)
        for number in range(3):
            await deploy(client, "hello", {"hello": components.hello()}, replicas=2,
                         labels={"number": str(number)})  # fmt: skip
            reached = count + 20
            await eventually(lambda reached=reached: count > reached, timeout_s=PATIENCE_S)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("role", ["client", "host-1"])
async def test_who_may_not_write_is_denied_by_name(hosts, role):
    other = hosts.lattice.host_id("host-2")
    async with connection_as(hosts.lattice, role) as connection:
        names = connection.lattice
        for key in ("leader", "term", target(other), desired("x")):
            with pytest.raises(DeniedError, match="may not publish"):
                await connection.control.put(key, b"x")
        with pytest.raises(DeniedError, match="may not publish"):
            await connection.hosts.put(other, b"x")
        with pytest.raises(DeniedError, match="may not publish"):
            await connection.bus.request(f"lat.{names}.api.put", b"{}", timeout_s=5)
        with pytest.raises(DeniedError, match="may not publish"):
            await connection.bus.request(f"lat.{names}.ctl.host.{other}.stop", b"", timeout_s=5)
        with pytest.raises(DeniedError, match="may not subscribe"):
            async with connection.bus.subscribe(f"lat.{names}.hb.*"):
                pass


@asynccontextmanager
async def running_call(client, name):
    """Hold a call of a guest that spins while the block runs; yields how it ended."""
    ends: list[LatticeError] = []

    async def call():
        try:
            await client.call(name, "run", deadline_s=30)
        except LatticeError as exc:
            ends.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(call)

        async def is_running():
            listed = await client.replicas(name)
            return any(r.calls for r in listed.replicas)

        await eventually(is_running, timeout_s=PATIENCE_S)
        yield ends


async def test_host_told_to_end_finishes_its_calls_and_leaves_nothing_behind(hosts, client):
    """The call needs a second; the host waits for it although it was told to end."""
    await deploy(client, "slow", {"guest": components.hostile()["spin"]},
                 limits={"deadline": "2s"})  # fmt: skip
    [place] = (await until_placed(client, "slow", 1)).values()
    async with running_call(client, "slow") as ends:
        hosts.send(place, signal.SIGTERM)
        await until_host(client, place, "")
    assert "stopped" not in ends[0].message
    assert "closed" not in ends[0].message
    assert hosts.lattice.host_id(place) not in await client.connection.hosts.keys()
    await eventually(lambda: not is_alive(hosts.pids[place]), timeout_s=PATIENCE_S)
    hosts.start(place)
    await until_host(client, place, "ready")


@contextmanager
def timed(what, limit_s):
    began_s = time.monotonic()
    yield
    took_s = time.monotonic() - began_s
    assert took_s < limit_s, f"{what} took {took_s:.1f} s, at most {limit_s:g}"


async def test_ctrl_c_ends_everything_within_ten_seconds_while_a_guest_spins(tmp_path):
    with lattice_up(tmp_path, "--hosts", "1") as running:
        async with client_of(running) as client:
            await deploy(client, "spin", {"guest": components.hostile()["spin"]},
                         limits={"deadline": "60s"})  # fmt: skip
            async with running_call(client, "spin") as ends:
                up = int((Path(running.facts["directory"]) / "nats" / "owner.lock").read_text())
                with timed("Ctrl-C", 10):
                    send(up, signal.SIGINT)
                    pids = [up, *(p["pid"] for p in running.facts["processes"])]
                    await eventually(lambda: not any(map(is_alive, pids)), timeout_s=30)
    assert ends[0].kind in ("deadline", "unavailable", "outcome-unknown")
