"""Services and components that call each other both ways, on a host with the real engine."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import anyio
import pytest

from hosts.artifacts import Artifacts
from hosts.callcontext import CALL_DEPTH_MAX, CallContext
from hosts.callees import ReadyReplicas
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.invoker import Invoker
from hosts.programs import Programs
from hosts.replica import Replica
from hosts.workload import Workloads
from lattice.clock import SystemClock
from lattice.errors import ConflictError, GuestTrapError, NoRouteError
from lattice.model.ids import ReplicaId
from lattice.testing import eventually
from tests.guests import components
from tests.integration.host_world import World
from tests.integration.service_guests import hooked, interface_of, notes, stepper

pytestmark = pytest.mark.wasm

INDEX, RANK = interface_of("index"), interface_of("rank")
LOG, HOOKS = "test:log/log@0.1.0", "test:hooked/hooks@0.1.0"
LAZY = {"compose": "lazy"}
CLOCK = SystemClock()


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world, tmp_path, *deployments, **options):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", tmp_path / "H1", **options))
        await world.assign("H1", *((name, 1, 1) for name in deployments))
        await eventually(
            lambda: all(world.states("H1").get(d, ("", ""))[0] == "running" for d in deployments),
            timeout_s=30,
        )
        yield


def pair(index="index", rank="rank"):
    """Two parts that call each other; under which names they run decides what they are."""
    return {index: stepper("index", "rank"), rank: stepper("rank", "index")}


async def test_a_call_that_comes_back_to_a_busy_service_is_a_conflict_with_its_chain(
    world, tmp_path
):
    await world.submit("docs", pair("index-service", "rank"), expose=[INDEX, RANK])
    async with running(world, tmp_path, "docs"):
        assert await world.call("docs", INDEX, "down", [1]) == 1, "a service calls a component"
        assert await world.call("docs", RANK, "down", [1]) == 1, "a component calls a service"
        with pytest.raises(ConflictError) as caught:
            await world.call("docs", INDEX, "down", [2])
        chain = "index-service#down -> rank#down -> index-service#down"
        assert caught.value.message.endswith(f"that this one comes from: {chain}")
        assert caught.value.details["chain"] == chain.split(" -> ")
        assert await world.call("docs", RANK, "down", [2]) == 2
        with pytest.raises(ConflictError, match="rank#down -> index-service#down -> rank#down -> "):
            await world.call("docs", RANK, "down", [3])


async def test_services_that_import_each_other_start_and_call_both_ways(world, tmp_path):
    await world.submit("docs", pair("index-service", "rank-service"), expose=[INDEX, RANK])
    async with running(world, tmp_path, "docs"):
        assert await world.call("docs", INDEX, "down", [1]) == 1
        assert await world.call("docs", RANK, "down", [1]) == 1
        assert await world.call("docs", RANK, "count") == 2, "each kept its state"
        with pytest.raises(ConflictError):
            await world.call("docs", INDEX, "down", [2])
        assert await world.call("docs", INDEX, "count") == 0, "a failed call ended the instance"


async def test_two_callers_of_a_service_queue_and_crossing_calls_never_wait_for_ever(
    world, tmp_path
):
    await world.submit("docs", pair("index-service", "rank-service"), expose=[INDEX, RANK])
    async with running(world, tmp_path, "docs"):
        answers, conflicts = [], []

        async def ask(interface):
            try:
                answers.append(await world.call("docs", interface, "down", [1], deadline_ms=20_000))
            except ConflictError as error:
                conflicts.append(error.message)

        with anyio.fail_after(15):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(ask, INDEX)
                    group.start_soon(ask, RANK)
        assert len(answers) + len(conflicts) == 20
        assert set(answers) == {1}
        assert all("for this one" in message for message in conflicts)
        assert await world.call("docs", INDEX, "down", [1]) == 1


async def test_recursion_through_fresh_instances_works_up_to_the_depth_limit(world, tmp_path):
    await world.submit("docs", pair(), rank=LAZY, expose=[INDEX, RANK])
    async with running(world, tmp_path, "docs"):
        deepest = CALL_DEPTH_MAX - 1
        assert await world.call("docs", INDEX, "down", [deepest]) == deepest
        with pytest.raises(ConflictError, match=f"at most {CALL_DEPTH_MAX}") as caught:
            await world.call("docs", INDEX, "down", [CALL_DEPTH_MAX])
        assert "index#down -> rank#down -> index#down" in caught.value.message
        assert await world.call("docs", INDEX, "down", [deepest]) == deepest


async def test_depth_is_counted_across_the_deployments_of_a_host(world, tmp_path):
    """Four programs in each of two deployments that call each other: depth ends it, not hops."""
    for name, other in (("p", "q"), ("q", "p")):
        parts = [f"{name}{index}" for index in range(4)]
        await world.submit(
            name,
            {each: stepper(each, after) for each, after in pairwise([*parts, f"{other}0"])},
            links=[{"import": interface_of(f"{other}0"), "to": other, "timeout": "30s"}],
            expose=[interface_of(parts[0])],
            **dict.fromkeys(parts, LAZY),
        )
    async with running(world, tmp_path, "p", "q"):
        first = interface_of("p0")
        assert await world.call("p", first, "down", [CALL_DEPTH_MAX - 1]) == CALL_DEPTH_MAX - 1
        with pytest.raises(ConflictError, match=f"at most {CALL_DEPTH_MAX}: p/p0#down -> p/p1"):
            await world.call("p", first, "down", [CALL_DEPTH_MAX])


async def test_lazy_components_give_the_same_results_as_eager_ones(world, tmp_path):
    parts = {"hello": components.hello(), "greeter": components.greeter()}
    for name, fields in {
        "eager": {},
        "callee": {"hello": LAZY},
        "caller": {"greeter": LAZY},
        "both": {"hello": LAZY, "greeter": LAZY},
    }.items():
        await world.submit(name, parts, **fields)
    async with running(world, tmp_path, "eager", "callee", "caller", "both"):
        for name in ("eager", "callee", "caller", "both"):
            answer = await world.call(name, "test:greeter/welcome@0.1.0", "welcome", ["Ada"])
            assert answer == "Hello, Ada!"


async def test_a_lazy_component_keeps_its_own_instances_and_limits(world, tmp_path):
    reuse = {"compose": "lazy", "instances": {"mode": "reuse", "maxInvocations": 2}}
    parts = {"ticket": components.ticket(), "counter": components.counter()}
    await world.submit("tickets", parts, counter=reuse)
    await world.submit(
        "spins", {"spin": components.hostile()["spin"], "hello": components.hello()},
        spin={"compose": "lazy", "limits": {"deadline": "100ms"}},
    )  # fmt: skip
    async with running(world, tmp_path, "tickets", "spins"):
        drawn = [await world.call("tickets", "test:ticket/ticket@0.1.0", "draw") for _ in range(4)]
        assert drawn == [2, 3, 2, 3], "the ticket is fresh each time, the counter used twice"
        with pytest.raises(Exception, match=r"did not return within 0\.\d") as caught:
            await world.call("spins", components.RUN, "run", deadline_ms=20_000)
        assert caught.value.kind == "deadline"
        greet = "test:hello/greet@0.1.0"
        assert await world.call("spins", greet, "greet", ["Ada"]) == "Hello, Ada!"


async def test_start_runs_before_the_service_is_ready_and_stop_before_it_ends(world, tmp_path):
    await world.submit("kept", {"log-service": notes()}, expose=[LOG])
    await world.submit(
        "hooked", {"hooked-service": hooked()}, links=[{"import": LOG, "to": "kept"}]
    )
    async with running(world, tmp_path, "kept"):
        await world.assign("H1", ("kept", 1, 1), ("hooked", 1, 1))
        await eventually(lambda: world.states("H1").get("hooked", ("", ""))[0] == "running")
        await world.call("hooked", HOOKS, "work")
        assert await world.call("kept", LOG, "told") == 12
        await world.assign("H1", ("kept", 1, 1))
        await eventually(lambda: "hooked" not in world.states("H1"))
        assert await world.call("kept", LOG, "told") == 123


async def test_a_service_that_is_never_restarted_tells_its_callers(world, tmp_path):
    await world.submit(
        "once", {"index-service": stepper("index", "rank"), "rank": stepper("rank", "index")},
        expose=[INDEX], **{"index-service": {"restart": {"policy": "never"}}},
    )  # fmt: skip
    async with running(world, tmp_path, "once"):
        with pytest.raises(GuestTrapError):
            await world.call("once", INDEX, "fail")
        with pytest.raises(Exception, match=r"not restarted \(restart.policy: never\)") as caught:
            await world.call("once", INDEX, "count")
        assert caught.value.kind == "no-route"
        await eventually(lambda: "is not restarted" in world.states("H1")["once"][1])


async def test_twenty_lazy_components_hold_next_to_nothing_until_they_are_called(world, tmp_path):
    names = [f"s{index}" for index in range(20)]
    parts = {each: stepper(each, after) for each, after in pairwise([*names, "out"])}
    links = [{"import": interface_of("out"), "to": "elsewhere"}]
    exposed = [interface_of("s0")]
    await world.submit("eager", parts, links=links, expose=exposed)
    await world.submit("lazy", parts, links=links, expose=exposed, **dict.fromkeys(names, LAZY))
    held, resident = {}, {}
    for name in ("eager", "lazy"):
        programs = Programs()
        engine = WasmtimeEngine(tmp_path / name)
        workloads = Workloads(
            control=world.connection.control,
            artifacts=Artifacts(world.connection.artifacts, tmp_path / "artifacts"),
            engine=engine,
            programs=programs,
        )
        async with kept_alive(world, await workloads.prepare(name, 1)) as replica:
            held[name], resident[name] = programs.resident_bytes, programs.resident
            context = CallContext(deadline_at_s=CLOCK.monotonic_s() + 20)
            assert await replica.call(interface_of("s0"), "down", [3], context) == 3
            if name == "lazy":
                assert programs.resident == 4, "those that the call went through"
        engine.close()
    assert resident == {"eager": 1, "lazy": 0}
    assert held["lazy"] * 5 <= held["eager"]


@asynccontextmanager
async def kept_alive(world, prepared):
    invoker = Invoker(
        host="H1", bus=world.connection.bus, names=world.names, clock=CLOCK,
        callees=ReadyReplicas(),
    )  # fmt: skip
    replica = Replica(
        ReplicaId("r"), prepared, invoker=invoker, clock=CLOCK, log=lambda _level, _line: None
    )
    async with anyio.create_task_group() as group:
        await group.start(replica.run)
        yield replica
        group.cancel_scope.cancel()


async def test_an_error_inside_a_service_reaches_its_caller_and_the_report(world, tmp_path):
    """A component calls a service, which fails because its link leads nowhere."""
    await world.submit(
        "docs", {"index": stepper("index", "rank"), "rank-service": stepper("rank", "out")},
        links=[{"import": interface_of("out"), "to": "gone"}],
    )  # fmt: skip
    async with running(world, tmp_path, "docs"):
        assert await world.call("docs", INDEX, "down", [1]) == 1
        for _ in range(2):
            with pytest.raises(NoRouteError, match="ready replica of gone"):
                await world.call("docs", INDEX, "down", [2])
        assert await world.call("docs", INDEX, "down", [1]) == 1
        await eventually(lambda: "ready replica of gone" in world.states("H1")["docs"][1])
        assert world.states("H1")["docs"][0] == "running"


async def test_a_lazy_component_bounds_how_many_of_its_calls_run_at_once(world, tmp_path):
    """Two hundred calls through a component at once: the lazy one behind it takes one at a time."""
    limits = {"limits": {"concurrency": 1, "queue": 1000}}
    await world.submit(
        "tickets", {"ticket": components.ticket(), "counter": components.counter()},
        counter={"compose": "lazy", "instances": {"mode": "reuse"}, **limits},
        ticket={"limits": {"concurrency": 50, "queue": 1000}},
    )  # fmt: skip
    drawn = []
    async with running(world, tmp_path, "tickets"), anyio.create_task_group() as group:

        async def draw():
            drawn.append(await world.call("tickets", "test:ticket/ticket@0.1.0", "draw"))

        for _ in range(200):
            group.start_soon(draw)
    assert sorted(drawn) == list(range(2, 202)), "one instance took all of them"


async def test_a_chain_over_links_that_comes_back_to_a_service_names_the_deployments(
    world, tmp_path
):
    await world.submit(
        "p", {"index-service": stepper("index", "rank")},
        links=[{"import": RANK, "to": "q", "timeout": "30s"}],
    )  # fmt: skip
    await world.submit(
        "q", {"rank": stepper("rank", "index")}, links=[{"import": INDEX, "to": "p"}]
    )
    async with running(world, tmp_path, "p", "q"):
        assert await world.call("p", INDEX, "down", [1]) == 1
        with pytest.raises(ConflictError) as caught:
            await world.call("p", INDEX, "down", [2])
        chain = "p/index-service#down -> q/rank#down -> p/index-service#down"
        assert caught.value.message.endswith(chain)
