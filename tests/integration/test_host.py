"""A host with the real engine over an in-memory lattice."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from hosts.agent import HostOptions, run_host
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import (
    ConflictError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
    LatticeError,
    NotFoundError,
)
from lattice.testing import eventually
from lattice.wire.codec import decode, encode
from lattice.wire.events import from_packet
from tests.guests import components
from tests.integration.host_world import World

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"
GREET = "test:hello/greet@0.1.0"
WELCOME = "test:greeter/welcome@0.1.0"
COUNTER = "test:counter/counter@0.1.0"
TICKET = "test:ticket/ticket@0.1.0"


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world, tmp_path, *hosts):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        for host in hosts or ("H1",):
            await stack.enter_async_context(world.host(host, tmp_path / host))
        yield


async def until_running(world, *deployments, host="H1"):
    await eventually(
        lambda: all(world.states(host).get(d, ("", ""))[0] == "running" for d in deployments),
        timeout_s=20,
    )


async def test_a_target_is_adopted_and_the_replica_answers(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        revision = await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        assert await world.call("math", ADD, "add", [40, 2]) == 42
        assert world.reports["H1"].adopted.sequence == revision
        await world.assign("H1")
        await eventually(lambda: not world.states("H1"))
        with pytest.raises(LatticeError, match="no"):
            await world.call("math", ADD, "add", [1, 1])


async def test_components_are_composed_and_only_the_outer_one_is_exposed(world, tmp_path):
    await world.submit("hi", {"hello": components.hello(), "greeter": components.greeter()})
    async with running(world, tmp_path):
        await world.assign("H1", ("hi", 1, 2))
        await until_running(world, "hi")
        assert await world.call("hi", WELCOME, "welcome", ["Ada"]) == "Hello, Ada!"
        with pytest.raises(NotFoundError, match="it exposes test:greeter/welcome"):
            await world.call("hi", GREET, "greet", ["Ada"])


async def test_a_service_keeps_state_and_serves_the_composed_part(world, tmp_path):
    await world.submit(
        "tickets",
        {"ticket": components.ticket(), "counterservice": components.counter()},
        expose=[TICKET, COUNTER],
    )
    async with running(world, tmp_path):
        await world.assign("H1", ("tickets", 1, 1))
        await until_running(world, "tickets")
        assert await world.call("tickets", COUNTER, "starts") == 1, "start ran before ready"
        drawn = [await world.call("tickets", TICKET, "draw") for _ in range(3)]
        assert drawn == [drawn[0], drawn[0] + 1, drawn[0] + 2]


async def test_a_service_that_traps_comes_back_without_its_state(world, tmp_path):
    await world.submit("tickets", {"counterservice": components.counter()})
    async with running(world, tmp_path):
        await world.assign("H1", ("tickets", 1, 1))
        await until_running(world, "tickets")
        assert await world.call("tickets", COUNTER, "next") == 1
        assert await world.call("tickets", COUNTER, "next") == 2
        with pytest.raises(GuestTrapError):
            await world.call("tickets", COUNTER, "fail")
        assert await world.call("tickets", COUNTER, "next") == 1
        assert world.states("H1")["tickets"][0] == "running"


async def test_a_link_goes_in_memory_on_one_host_and_over_the_bus_between_two(world, tmp_path):
    await world.submit("hello", {"hello": components.hello()})
    await world.submit(
        "front",
        {"greeter": components.greeter()},
        links=[{"import": "test:hello/greet", "to": "hello"}],
    )
    async with running(world, tmp_path, "H1", "H2"):
        await world.assign("H1", ("hello", 1, 1), ("front", 1, 1))
        await until_running(world, "hello", "front")
        reply = await world.reply("front", WELCOME, "welcome", ["Ada"])
        assert reply.ok == ["Hello, Ada!"]
        assert [(leg.route, leg.host) for leg in reply.legs] == [("local", "H1")]

        await world.assign("H2", ("hello", 1, 1))
        await until_running(world, "hello", host="H2")
        await world.assign("H1", ("front", 1, 1))
        await eventually(lambda: set(world.states("H1")) == {"front"})
        reply = await world.reply("front", WELCOME, "welcome", ["Ada"])
        assert reply.ok == ["Hello, Ada!"]
        assert [(leg.route, leg.host) for leg in reply.legs] == [("remote", "H2")]


async def test_a_link_to_nobody_tells_the_caller_at_once(world, tmp_path):
    await world.submit(
        "front",
        {"greeter": components.greeter()},
        links=[{"import": "test:hello/greet", "to": "hello"}],
    )
    async with running(world, tmp_path):
        await world.assign("H1", ("front", 1, 1))
        await until_running(world, "front")
        with pytest.raises(LatticeError, match="no host has a ready replica of hello") as caught:
            await world.call("front", WELCOME, "welcome", ["Ada"])
        assert caught.value.kind == "no-route"


async def test_errors_reach_the_caller_typed(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    await world.submit("trap", {"trap": components.hostile()["trap"]})
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1), ("trap", 1, 1))
        await until_running(world, "math", "trap")
        with pytest.raises(InvalidError) as caught:
            await world.call("math", ADD, "add", ["x", -1])
        assert len(caught.value.faults) == 2
        with pytest.raises(GuestTrapError, match="unreachable"):
            await world.call("trap", components.RUN, "run")
        with pytest.raises(IncompatibleError, match="apply the caller again"):
            await world.call("math", ADD, "add", [1, 2], type="0123456789abcdef")
        with pytest.raises(NotFoundError, match="does not expose"):
            await world.call("math", ADD, "subtract", [1, 2])
        assert await world.call("math", ADD, "add", [1, 2]) == 3, "the host goes on"


async def test_a_spinning_guest_ends_at_its_deadline_and_its_neighbour_answers(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    await world.submit("spin", {"spin": components.hostile()["spin"]})
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1), ("spin", 1, 1))
        await until_running(world, "math", "spin")
        with pytest.raises(LatticeError) as caught:
            await world.call("spin", components.RUN, "run", deadline_ms=200)
        assert caught.value.kind == "deadline"
        assert await world.call("math", ADD, "add", [1, 2]) == 3


@pytest.mark.parametrize("name", ["missing-import", "start-traps"])
async def test_a_replica_that_cannot_start_is_reported_with_the_reason(world, tmp_path, name):
    guest = components.hostile()[name]
    part = "service" if name == "start-traps" else "part"
    fields = (
        {"links": [{"import": "nobody:home/thing", "to": "nowhere"}]}
        if name == "missing-import"
        else {}
    )
    await world.submit("bad", {part: guest}, **fields)
    async with running(world, tmp_path):
        await world.assign("H1", ("bad", 1, 1))
        if name == "missing-import":
            await until_running(world, "bad")
            return
        await eventually(lambda: world.states("H1").get("bad", ("", ""))[0] == "failed")
        assert "unreachable" in world.states("H1")["bad"][1]


async def test_bytes_that_are_no_component_fail_with_a_clear_reason(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        await world.assign("H1", ("ghost", 3, 1))
        await eventually(lambda: world.states("H1").get("ghost", ("", ""))[0] == "failed")
        assert "generation 3 of ghost is not in the lattice" in world.states("H1")["ghost"][1]


async def test_a_second_process_with_the_same_key_ends_with_a_clear_error(world, tmp_path):
    refusal = ConflictError("two hosts with one key")

    async def refuse(_packet):
        raise refusal

    options = HostOptions(host="H1", directory=tmp_path, heartbeat_s=0.1)
    engine = WasmtimeEngine(tmp_path / "compiled")
    async with world.connection.bus.serve(world.names.heartbeat("*"), refuse):
        with pytest.raises(ConflictError, match="two hosts with one key"):
            await run_host(world.connection, options, engine)
    engine.close()


async def test_a_clean_stop_withdraws_the_inventory_and_says_so(world, tmp_path):
    async with running(world, tmp_path):
        assert await world.connection.hosts.get("H1") is not None
    assert await world.connection.hosts.get("H1") is None
    async with world.connection.events.read() as records:
        kinds = [from_packet(r.body, r.headers).kind async for r in records]
    assert kinds[0] == "host-started"
    assert kinds[-1] == "host-stopped"


async def test_a_plain_client_calls_and_asks_in_json(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    headers = {"Content-Type": "application/json"}
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        packet = await world.connection.bus.request(
            world.names.call("math", ADD, "add"),
            b'{"op": "test:math/add@0.1.0#add", "args": [40, 2]}',
            timeout_s=5,
            headers=headers,
        )
        assert decode(packet.body, as_json=True)["ok"] == [42]
        for verb, body, expected in (
            ("labels", b'{"set": {"zone": "eu"}}', "zone"),
            ("inventory", b"{}", "interfaces"),
            ("nonsense", b"{}", "does not exist"),
            ("logs", b"not json", "are not JSON"),
        ):
            packet = await world.connection.bus.request(
                world.names.host_control("H1", verb), body, timeout_s=5, headers=headers
            )
            assert expected in packet.body.decode()


async def test_a_target_that_needs_more_than_the_host_knows_is_refused_and_told(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        await world.assign("H1", needs=["teleport@1"])

        async def refused():
            async with world.connection.events.read() as records:
                return [
                    e.data["reason"]
                    async for r in records
                    if (e := from_packet(r.body, r.headers)).kind == "target-refused"
                ]

        await eventually(refused, timeout_s=10)
        assert "teleport@1" in (await refused())[0]
        assert await world.call("math", ADD, "add", [1, 2]) == 3


async def test_a_target_that_cannot_be_read_is_refused_and_told_once_a_revision(world, tmp_path):
    await world.submit("math", {"add": components.add()})

    async def refusals():
        async with world.connection.events.read() as records:
            events = [from_packet(r.body, r.headers) async for r in records]
        return [e.data["reason"] for e in events if e.kind == "target-refused"]

    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        for count in (1, 2):
            revision = await world.connection.control.put("target.H1", encode({"epoch": "no"}))

            async def are_told(count=count):
                return len(await refusals()) == count

            await eventually(are_told)
            assert f"revision {revision} is malformed" in (await refusals())[-1]
            assert "epoch" in (await refusals())[-1]
        assert await world.call("math", ADD, "add", [1, 2]) == 3
        await world.assign("H1")
        await eventually(lambda: not world.states("H1"))
        assert len(await refusals()) == 2


async def test_the_log_of_a_host_tells_what_became_of_it_and_of_its_replicas(
    world, tmp_path, caplog
):
    caplog.set_level("INFO", logger="hosts")
    await world.submit("math", {"add": components.add()})
    await world.submit("bad", {"service": components.hostile()["start-traps"]})
    async with running(world, tmp_path, "H1", "H2"):
        await world.assign("H1", ("math", 1, 1), ("bad", 1, 1))
        await until_running(world, "math")
        await eventually(lambda: world.states("H1").get("bad", ("", ""))[0] == "failed")
        lines = await own_log(world, "H1")
        for expected in (
            "(H1) started", "target at revision", "replicas: 2", "starts", "replica-running math",
            "replica-failed bad",
        ):  # fmt: skip
            assert any(expected in line for line in lines), (expected, lines)
        assert not any("\n" in line for line in lines)
        assert not any("replica" in line for line in await own_log(world, "H2"))


async def own_log(world, host):
    body = encode({"deployment": "", "lines": 100})
    subject = world.names.host_control(host, "logs")
    packet = await world.connection.bus.request(subject, body, timeout_s=5)
    return [line["line"] for line in decode(packet.body)["ok"]["lines"]]


async def test_a_host_with_labels_that_it_must_not_have_does_not_start(world, tmp_path):
    labels = {"lattice.os": "beos", "bad key": "x", "zone": "eu"}
    options = HostOptions(host="H1", directory=tmp_path, labels=labels)
    engine = WasmtimeEngine(tmp_path / "compiled")
    with pytest.raises(InvalidError) as caught:
        await run_host(world.connection, options, engine)
    engine.close()
    assert len(caught.value.faults) == 2
    assert await world.connection.hosts.get("H1") is None


async def test_a_host_reports_the_processor_time_that_it_takes(world, tmp_path):
    async with running(world, tmp_path):
        await eventually(lambda: world.reports.get("H1"))
        assert world.reports["H1"].load.cpu_milli > 0


async def test_garbage_on_every_subject_is_answered_and_harms_nothing(world, tmp_path, rng):
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        for _ in range(100):
            body = rng.randbytes(rng.randrange(60))
            for subject in (
                world.names.call("math", ADD, "add"),
                world.names.call_at("H1", "math", 1, ADD, "add"),
                world.names.host_control("H1", "logs"),
            ):
                packet = await world.connection.bus.request(subject, body, timeout_s=5)
                assert isinstance(decode(packet.body), dict)
        await world.connection.control.put("target.H1", encode({"epoch": "no"}))
        assert await world.call("math", ADD, "add", [1, 2]) == 3
