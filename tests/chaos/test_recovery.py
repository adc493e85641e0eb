"""A lattice of several processes on three nats-servers, parts of which die, stand still or are cut
off: what was told is kept, what should run runs, and a strict singleton never works twice."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest

from lattice.client.session import LatticeClient
from lattice.errors import LatticeError
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation, Lease
from lattice.wire.subjects import LEADER, Names
from tests.chaos.fleet import LATTICE, Fleet, Member, fleet_up, until_ready
from tests.chaos.scale import IS_LONG, TIMEOUT_S, sized
from tests.guests import components

pytestmark = [
    pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow,
    pytest.mark.timeout(TIMEOUT_S),
]  # fmt: skip

LONG = pytest.mark.skipif(not IS_LONG, reason="takes a minute or more: `make chaos`")

PATIENCE_S = 60.0
"""Seconds after which a fact that should come counts as missing; machines of tests are busy."""

OP = "test:math/add@0.1.0#add"
ROUNDS = sized(2, 12)

PAUSE_S = 0.02
"""Seconds between two calls of one caller."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet_up(tmp_path) as fleet:
        yield fleet


async def deploy(client: LatticeClient, name: str, **fields: object) -> None:
    image = await client.connection.artifacts.put(components.add())
    part = {"name": "add", "image": image}
    await client.apply({"lattice": "v1", "name": name, "components": [part], **fields}, wait=True)


async def places(client: LatticeClient, name: str) -> dict[str, str] | None:
    """Return the hosts of the running replicas by replica id, None while others are listed too."""
    try:
        listed = (await client.replicas(name)).replicas
    except LatticeError:
        return None
    running = {each.replica: each.host_name for each in listed if each.state == "running"}
    return running if len(running) == len(listed) else None


async def until_placed(
    client: LatticeClient, name: str, count: int, *, but: str = ""
) -> dict[str, str]:
    """Return the places once so many replicas run, none of them on the host `but`."""

    async def are_placed() -> dict[str, str] | None:
        found = await places(client, name)
        return found if found and len(found) == count and but not in found.values() else None

    found = await eventually(are_placed, timeout_s=PATIENCE_S, what=f"{count} of {name} run")
    assert found is not None
    return found


async def answers(client: LatticeClient, host: str, deployment: str) -> bool:
    """Tell whether this very host has a replica that answers."""
    interface, _, function = OP.partition("#")
    subject = Names(LATTICE).call_at(host, deployment, 1, interface, function)
    question = encode(Invocation(op=OP, args=[40, 2], deadline_ms=20_000))
    try:
        packet = await client.connection.bus.request(subject, question, timeout_s=20)
    except LatticeError:
        return False
    return decode_as(CallReply, packet.body).ok == [42]


@dataclass(frozen=True)
class Answer:
    """A call that was answered; times by one clock."""

    asked_s: float
    answered_s: float
    host: str


@asynccontextmanager
async def asking(client: LatticeClient, fleet: Fleet, name: str) -> AsyncIterator[list[Answer]]:
    """Ask every host by itself all the time, and yield who answers; a call to a host that stands
    still waits there, as calls do."""
    found: list[Answer] = []

    async def ask(host: str, label: str) -> None:
        while True:
            asked_s = time.monotonic()
            if await answers(client, host, name):
                found.append(Answer(asked_s, time.monotonic(), label))
            with anyio.move_on_after(PAUSE_S):
                await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        for member in fleet.hosts.values():
            group.start_soon(ask, member.id, member.name)
            group.start_soon(ask, member.id, member.name)
        yield found
        group.cancel_scope.cancel()


def harm(member: Member, fault: str) -> None:
    match fault:
        case "kill":
            member.end()
        case "stop":
            member.send(signal.SIGSTOP)
        case "cut":
            member.proxy.cut()


def heal(member: Member, fault: str) -> None:
    match fault:
        case "kill":
            member.start()
        case "stop":
            member.send(signal.SIGCONT)
        case "cut":
            member.proxy.mend()


@pytest.mark.parametrize("fault", ["stop", "cut", pytest.param("kill", marks=LONG)])
async def test_strict_singleton_never_works_twice(fleet: Fleet, fault: str) -> None:
    async with fleet.client() as client:
        await deploy(client, "one", singleton=True)
        [victim] = (await until_placed(client, "one", 1)).values()
        async with asking(client, fleet, "one") as found:
            await eventually(lambda: len(found) > 5, timeout_s=PATIENCE_S)
            harm(fleet.hosts[victim], fault)
            harmed_s = time.monotonic()

            def others() -> list[Answer]:
                return [each for each in found if each.host != victim]

            await eventually(others, timeout_s=PATIENCE_S, what="it works elsewhere")
            heal(fleet.hosts[victim], fault)
            await until_ready(client, [*fleet.hosts])
            count = len(others())
            await eventually(lambda: len(others()) > count + 50, timeout_s=PATIENCE_S)
        first_s = min(each.answered_s for each in others())
        late = [e for e in found if e.host == victim and e.asked_s > harmed_s]
        assert [each for each in late if each.answered_s > first_s] == []
        assert len({each.host for each in others()}) == 1, "it moved once"


@pytest.mark.parametrize("fault", [pytest.param("stop", marks=LONG), "kill"])
async def test_standby_takes_over_and_nothing_moves(fleet: Fleet, fault: str) -> None:
    async with fleet.client() as client:
        await deploy(client, "math", replicas=3)
        before = await until_placed(client, "math", 3)
        leader = await leading(fleet, client)
        harm(fleet.schedulers[leader], fault)
        other = await eventually(
            partial(leading, fleet, client, but=leader), timeout_s=PATIENCE_S, what="another leads"
        )
        assert other != leader
        await deploy(client, "more", replicas=2)
        heal(fleet.schedulers[leader], fault)
        await deploy(client, "most")
        assert await until_placed(client, "math", 3) == before
        assert {each.name for each in await client.deployments()} == {"math", "more", "most"}


@LONG
async def test_server_that_is_killed_takes_nothing_with_it(fleet: Fleet) -> None:
    async with fleet.client() as client:
        await deploy(client, "math", replicas=3)
        await until_placed(client, "math", 3)
        for round_ in range(ROUNDS):
            number = round_ % len(fleet.servers)
            fleet.servers[number].kill()
            fleet.servers[number].wait()
            await deploy_in_time(client, f"late-{round_}")
            fleet.start_server(number)
            await until_ready(client, [*fleet.hosts])
            await until_placed(client, "math", 3)
        names = {each.name for each in await client.deployments()}
        assert names == {"math", *(f"late-{number}" for number in range(ROUNDS))}


async def test_host_that_was_cut_off_drops_what_others_took_over(fleet: Fleet) -> None:
    async with fleet.client() as client:
        await deploy(client, "math", replicas=2)
        before = await until_placed(client, "math", 2)
        victim = min(before.values())
        fleet.hosts[victim].proxy.cut()
        after = await until_placed(client, "math", 2, but=victim)
        assert before.items() & after.items(), "the replica that lived stays"
        fleet.hosts[victim].proxy.mend()
        await until_ready(client, [*fleet.hosts])

        async def has_dropped() -> bool:
            return not await answers(client, fleet.hosts[victim].id, "math")

        await eventually(has_dropped, timeout_s=PATIENCE_S, what="it dropped its replica")
        assert await until_placed(client, "math", 2) == after, "nothing is moved back"


@LONG
async def test_all_that_should_run_runs_after_any_misfortunes(fleet: Fleet, seed: int) -> None:
    rng = random.Random(seed)
    async with fleet.client() as client:
        await deploy(client, "math", replicas=3)
        await deploy(client, "one", singleton=True)
        for _ in range(ROUNDS):
            harmed = rng.sample([*fleet.hosts.values(), *fleet.schedulers.values()], 2)
            faults = [rng.choice(["stop", "cut", "kill"]) for _ in harmed]
            for member, fault in zip(harmed, faults, strict=True):
                harm(member, fault)
            with anyio.move_on_after(rng.uniform(0.5, 6.0)):
                await anyio.sleep_forever()  # faults of any length, also shorter than is noticed
            for member, fault in zip(harmed, faults, strict=True):
                heal(member, fault)
            await until_ready(client, [*fleet.hosts])
            await until_placed(client, "math", 3)
            await until_placed(client, "one", 1)


async def leading(fleet: Fleet, client: LatticeClient, *, but: str = "") -> str:
    """Return the name of the scheduler that leads, "" if none or the one `but` does."""
    entry = await client.connection.control.get(LEADER)
    holder = decode_as(Lease, entry.value).holder if entry and entry.value else ""
    found = [n for n, m in fleet.schedulers.items() if f"-{m.pid}-" in holder]
    return found[0] if found and found[0] != but else ""


async def deploy_in_time(client: LatticeClient, name: str) -> None:
    """Submit a deployment as soon as JetStream has a leader again."""
    faults: list[str] = []

    async def is_deployed() -> bool:
        try:
            await deploy(client, name)
        except LatticeError as exc:
            faults.append(f"{exc.kind}: {exc.message}")
            return False
        return True

    try:
        await eventually(is_deployed, timeout_s=PATIENCE_S)
    except AssertionError:
        pytest.fail(f"{name} is not taken: {faults[-3:]}")
