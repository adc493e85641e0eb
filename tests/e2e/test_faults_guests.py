"""Hostile guests and floods in a lattice of real processes: every request is answered, and the
neighbours on the same host go on answering."""

from __future__ import annotations

import random
import time
from collections import Counter

import anyio
import pytest

from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    GuestTrapError,
    InvalidError,
    LatticeError,
    OverloadedError,
)
from lattice.testing import eventually
from lattice.wire.codec import decode, encode
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    connection_as,
    deploy,
    is_alive,
    places,
    until_placed,
)
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm]

ON_EU = {"require": {"labels": ["zone = eu"]}}
"""Keeps a guest on host-1, beside the neighbour that is asked meanwhile."""

PROMPT_S = 3.0
"""A neighbour's answer must come far below every deadline here; a busy machine takes some of it."""


@pytest.fixture
async def client(lattice):
    async with client_of(lattice) as client:
        if not await places_or_none(client, "neighbour"):
            await deploy(client, "neighbour", {"add": components.add()}, placement=ON_EU)
        yield client
    assert all(is_alive(p["pid"]) for p in lattice.facts["processes"]), "no process died"


async def places_or_none(client, name):
    try:
        return await places(client, name)
    except LatticeError:
        return {}


async def assert_neighbour_answers(client):
    began_s = time.monotonic()
    assert await client.call("neighbour", "add", [40, 2], deadline_s=PROMPT_S) == 42
    assert time.monotonic() - began_s < PROMPT_S


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trap", GuestTrapError),
        ("divide-by-zero", GuestTrapError),
        ("out-of-bounds", GuestTrapError),
        ("recurse", GuestTrapError),
        ("grow-trap", GuestTrapError),
        ("spin", DeadlineExceededError),
    ],
)
async def test_hostile_guest_gives_a_typed_error_and_its_neighbour_answers(client, name, expected):
    await deploy(client, name, {"guest": components.hostile()[name]}, placement=ON_EU)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(expect_error, client, name, expected)
        for _ in range(5):
            await assert_neighbour_answers(client)
    await client.delete(name)


async def expect_error(client, name, expected):
    with pytest.raises(expected):
        await client.call(name, f"{components.RUN}#run", deadline_s=1.0 if name == "spin" else 10.0)


async def test_greedy_guest_gets_no_more_memory_than_its_limit(client):
    await deploy(client, "grow", {"guest": components.hostile()["grow"]}, placement=ON_EU,
                 limits={"memory": "16Mi"})  # fmt: skip
    assert 0 < await client.call("grow", "run") <= 16
    await assert_neighbour_answers(client)
    await client.delete("grow")


@pytest.mark.parametrize("name", ["huge-memory", "trap-at-birth"])
async def test_guest_that_cannot_be_instantiated_ends_the_wait_with_the_reason(client, name):
    with pytest.raises(InvalidError) as caught:
        await deploy(client, name, {"guest": components.hostile()[name]}, placement=ON_EU)
    assert caught.value.faults
    with pytest.raises(LatticeError):
        await client.call(name, "run", deadline_s=0.5)
    await assert_neighbour_answers(client)
    await client.delete(name)


async def test_results_that_break_the_canonical_abi_are_traps(client):
    await deploy(client, "liar", {"guest": components.hostile()["bad-results"]}, placement=ON_EU)
    for function in ("invalid-utf8", "out-of-bounds", "bad-char", "bad-case"):
        with pytest.raises(GuestTrapError):
            await client.call("liar", function, deadline_s=10)
    await assert_neighbour_answers(client)
    await client.delete("liar")


async def test_start_that_spins_holds_up_no_neighbour_and_can_be_deleted(client):
    await deploy(client, "sleepy", {"aservice": components.hostile()["start-spins"]},
                 wait=False, placement=ON_EU)  # fmt: skip

    async def is_starting():
        listed = await client.replicas("sleepy")
        return [r for r in listed.replicas if r.state == "starting"]

    await eventually(is_starting, timeout_s=PATIENCE_S)
    for _ in range(5):
        await assert_neighbour_answers(client)
    with pytest.raises(LatticeError) as caught:
        await client.call("sleepy", "next", deadline_s=0.5)
    assert caught.value.kind in ("no-route", "deadline")
    await client.delete("sleepy")
    await until_placed(client, "sleepy", 0)


async def test_deployments_that_call_each_other_without_end_are_told_the_chain(client):
    for name, other in (("chicken", "egg"), ("egg", "chicken")):
        await deploy(
            client, name, {"guest": components.hostile()["calls-itself"]}, placement=ON_EU,
            links=[{"import": components.RUN, "to": other}],
        )  # fmt: skip
    with pytest.raises(ConflictError, match="chicken -> egg -> chicken"):
        await client.call("chicken", "run", deadline_s=20)
    await assert_neighbour_answers(client)
    await client.delete("chicken")
    await client.delete("egg")


async def test_flood_of_calls_is_answered_overloaded_at_once_and_none_hangs(client):
    await deploy(client, "narrow", {"guest": components.hostile()["spin"]}, placement=ON_EU,
                 limits={"concurrency": 2, "queue": 5, "deadline": "500ms"})  # fmt: skip
    ends: Counter[str] = Counter()
    overloaded_s: list[float] = []
    began_s = time.monotonic()

    async def one():
        try:
            await client.call("narrow", "run", deadline_s=20)
        except OverloadedError as exc:
            overloaded_s.append(time.monotonic() - began_s)
            ends["overloaded" if exc.details["retry_after_ms"] else "without advice"] += 1
        except DeadlineExceededError:
            ends["deadline"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(500):
            group.start_soon(one)
    assert ends == {"deadline": 7, "overloaded": 493}
    assert max(overloaded_s) < 5 * PROMPT_S
    await assert_neighbour_answers(client)
    await client.delete("narrow")


async def test_arguments_and_results_over_a_message_pass_and_over_the_limit_are_invalid(client):
    await deploy(client, "echo", {"echo": components.values()}, placement=ON_EU)
    await deploy(client, "big", {"big": components.hostile()["big-result"]}, placement=ON_EU)
    body = random.Random(7).randbytes(4_000_000)
    assert await client.call("echo", "bytes", [body]) == body
    assert await client.call("echo", "bytes", [body], key="again") == body
    assert len(await client.call("big", "big")) > 2_000_000
    with pytest.raises(InvalidError, match="67108864 fit in one call"):
        await client.call("echo", "bytes", [bytes(64 * 1024 * 1024)])
    text = "é" * 400_000
    assert await client.call("echo", "string", [text]) == text
    await client.delete("echo")
    await client.delete("big")


async def test_ten_thousand_log_lines_hold_up_nobody_and_the_last_ones_are_kept(client):
    await deploy(client, "talker", {"talker": components.talker()}, placement=ON_EU)
    async with anyio.create_task_group() as group:
        for number in range(10):
            text = f"{number:03}\n" * 1000
            group.start_soon(client.call, "talker", "say", [text])
        for _ in range(3):
            await assert_neighbour_answers(client)
    lines = [line async for line in client.logs(deployment="talker", lines=2000)]
    assert len(lines) == 2000
    await client.delete("talker")


async def test_manifest_of_900_kilobytes_runs_and_one_over_a_message_is_refused_whole(client):
    env = {f"VARIABLE_{n}": "x" * 3600 for n in range(250)}
    image = await client.connection.artifacts.put(components.add())
    document = {
        "lattice": "v1",
        "name": "wide",
        "components": [{"name": "add", "image": image, "env": env}],
    }
    await client.apply(document, wait=True)
    assert await client.call("wide", "add", [1, 2]) == 3
    await assert_neighbour_answers(client)
    document["components"][0]["env"] = {f"VARIABLE_{n}": "x" * 4400 for n in range(250)}
    with pytest.raises(InvalidError, match="bytes"):
        await client.apply(document)
    assert await client.call("wide", "add", [1, 2]) == 3, "what stood before stands"
    await client.delete("wide")
    await assert_neighbour_answers(client)


async def test_three_hundred_replicas_run_on_two_hosts_and_all_stop_again(client):
    small = {"require": {"cpu": "1m", "memory": "1Mi"}}
    await deploy(client, "many", {"add": components.add()}, replicas=300, placement=small)
    running = await until_placed(client, "many", 300)
    assert set(Counter(running.values())) == {"host-1", "host-2"} or len(running) == 300
    assert await client.call("many", "add", [1, 2]) == 3
    await assert_neighbour_answers(client)
    await client.delete("many")
    await until_placed(client, "many", 0)


async def test_garbage_on_every_subject_is_answered_and_harms_nothing(lattice, client, rng):
    bus, names = client.connection.bus, client._asker.names
    host = lattice.host_id("host-1")
    subjects = [
        *(names.api(verb) for verb in ("put", "get", "list", "delete", "nonsense")),
        *(names.lead(verb) for verb in ("hosts", "replicas", "status", "plan", "nonsense")),
        *(names.host_control(host, v) for v in ("inventory", "labels", "logs", "nonsense")),
        names.ping(),
        names.call("neighbour", "test:math/add@0.1.0", "add"),
        names.call("neighbour", "nobody:home/thing", "no"),
        names.call_at(host, "neighbour", 1, "test:math/add@0.1.0", "add"),
        names.call_at(host, "nobody", 9, "", "x"),
        f"{names.prefix}.at.{host}.what",
        f"{names.prefix}.inv.neighbour.x",
    ]
    bodies = [
        b"", b"\xc1", b"null", b"[]", b'{"', b"\x81\xa4name\xc0", encode([1]), encode(7),
        encode({"name": 7}), encode({"op": 1, "args": {}}), encode({"manifest": []}),
        encode({"set": {"a": 1}, "lines": -5}), encode({"args": [["x"] * 50] * 50, "op": ""}),
        b"\x91" * 5000, b"[" * 5000, rng.randbytes(200), b'{"args": [1e400], "op": "x"}',
    ]  # fmt: skip
    for subject in subjects:
        for body in bodies:
            for headers in ({}, {"Content-Type": "application/json"}):
                packet = await bus.request(subject, body, timeout_s=10, headers=headers)
                reply = decode(packet.body, as_json=bool(headers))
                assert isinstance(reply, dict), (subject, body, packet)
                assert "ok" in reply or "kind" in reply["err"], (subject, body, reply)
                assert reply.get("err", {}).get("kind") != "internal", (subject, body, reply)
    await assert_neighbour_answers(client)


async def test_garbage_heartbeats_are_answered_and_a_host_reports_for_itself_alone(lattice, client):
    names, host, other = client._asker.names, lattice.host_id("host-1"), lattice.host_id("host-2")
    async with connection_as(lattice, "host-1") as connection:
        for body in (b"", b"\xc1", encode({}), encode([]), encode({"host": other, "boot": "b"}),
                     encode({"host": other, "boot": "b", "sequence": 1})):  # fmt: skip
            packet = await connection.bus.request(names.heartbeat(host), body, timeout_s=5)
            assert decode(packet.body)["err"]["kind"] in ("invalid", "denied")
        with pytest.raises(LatticeError, match="may not publish") as caught:
            await connection.bus.request(names.heartbeat(other), b"", timeout_s=5)
        assert caught.value.kind == "denied"
    assert {h.state for h in await client.hosts()} == {"ready"}
