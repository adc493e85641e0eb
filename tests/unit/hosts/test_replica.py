"""A replica over the fake engine: the calls between its programs, and the places they take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from hosts.artifacts import Artifacts
from hosts.callcontext import CallContext
from hosts.callees import ReadyReplicas
from hosts.engine.exchanges import Serving, serving, traceparent
from hosts.engine.fake import FakeComponent, FakeEngine, FakeGuest
from hosts.engine.webvalues import Headers
from hosts.fencing import Fence, Singleton
from hosts.invoker import Invoker
from hosts.prepared import Prepared
from hosts.replica import Replica, Surroundings
from hosts.workload import Workloads
from lattice.clock import SystemClock
from lattice.component.fingerprint import function_fingerprint
from lattice.errors import NoRouteError, OverloadedError
from lattice.model.ids import ReplicaId
from tests.guests import components
from tests.integration.host_world import World

CLOCK = SystemClock()
GREET = "test:hello/greet@0.1.0"
WELCOME = "test:greeter/welcome@0.1.0"


class Guests:
    """A composed component that may wait for the service, and a service that imports it."""

    def __init__(self) -> None:
        self.is_welcomed = anyio.Event()
        self.traces: list[str] = []

    async def greet(self, _guest: FakeGuest, name: str) -> str:
        if name == "waits":
            await self.is_welcomed.wait()
        self.traces.append(traceparent())
        return f"Hello, {name}!"

    async def welcome(self, guest: FakeGuest, name: str) -> str:
        greeting = str(await guest.call_import(GREET, "greet", name))
        self.is_welcomed.set()
        return greeting

    async def prepared(self, directory: Path) -> Prepared:
        world = World(directory)
        await world.submit(
            "hi",
            {"hello": components.hello(), "greeterservice": components.greeter()},
            hello={"limits": {"concurrency": 1, "queue": 1}},
            expose=[GREET, WELCOME],
        )
        workloads = Workloads(
            control=world.connection.control,
            artifacts=Artifacts(world.connection.artifacts, directory / "artifacts"),
            engine=FakeEngine(
                {
                    components.hello(): FakeComponent(functions={(GREET, "greet"): self.greet}),
                    components.greeter(): FakeComponent(
                        functions={(WELCOME, "welcome"): self.welcome}
                    ),
                }
            ),
        )
        return await workloads.prepare("hi", 1)


def context() -> CallContext:
    return CallContext(deadline_at_s=CLOCK.monotonic_s() + 5.0)


@asynccontextmanager
async def running(
    prepared: Prepared, surroundings: Surroundings | None = None
) -> AsyncIterator[Replica]:
    world = World(Path())
    invoker = Invoker(
        host="H1", bus=world.connection.bus, names=world.names, clock=CLOCK,
        callees=ReadyReplicas(),
    )  # fmt: skip
    replica = Replica(
        ReplicaId("r"), prepared, invoker=invoker, clock=CLOCK, log=lambda _level, _line: None,
        surroundings=surroundings,
    )  # fmt: skip
    async with anyio.create_task_group() as group:
        await group.start(replica.run)
        yield replica
        group.cancel_scope.cancel()


class Answering(Serving):
    """The request that a caller answers."""

    traceparent = "of the caller's request"

    def fetch_body(self) -> None:
        raise NotImplementedError

    def begin(self, status: int, headers: Headers) -> None:
        raise NotImplementedError

    def inform(self, status: int, headers: Headers) -> None:
        raise NotImplementedError


async def test_a_callee_sees_nothing_of_the_request_that_its_caller_answers(tmp_path: Path) -> None:
    guests = Guests()
    request = Answering()
    async with running(await guests.prepared(tmp_path)) as replica:
        outer = serving.set(request)
        try:
            told = replace(context(), trace="of the call")
            await replica.call(GREET, "greet", ["Ada"], told)
            assert serving.get() is request
        finally:
            serving.reset(outer)
    assert guests.traces == ["of the call"]


async def test_service_calls_back_though_every_place_is_taken_by_calls_that_wait_for_it(
    tmp_path: Path,
) -> None:
    guests = Guests()
    async with running(await guests.prepared(tmp_path)) as replica:
        ended: list[str] = []

        async def wait_for_the_service() -> None:
            ended.append(await replica.call(GREET, "greet", ["waits"], context()))

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_the_service)
            await anyio.wait_all_tasks_blocked()
            assert replica.in_flight == 1
            welcomed = await replica.call(WELCOME, "welcome", ["Ada"], context())
            assert welcomed == "Hello, Ada!"
        assert ended == ["Hello, waits!"]
        await replica.drained()
        assert replica.in_flight == 0


async def test_calls_from_outside_still_take_places_and_the_excess_is_refused(
    tmp_path: Path,
) -> None:
    guests = Guests()
    async with running(await guests.prepared(tmp_path)) as replica:

        async def wait_for_the_service() -> None:
            await replica.call(GREET, "greet", ["waits"], context())

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(wait_for_the_service)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(OverloadedError):
                await replica.call(GREET, "greet", ["Ada"], context())
            guests.is_welcomed.set()


async def test_lookup_tells_the_fingerprint_of_the_type_that_it_returns(tmp_path: Path) -> None:
    prepared = await Guests().prepared(tmp_path)
    for interface in (GREET, WELCOME):
        function = "greet" if interface == GREET else "welcome"
        name, found, fingerprint = prepared.lookup(interface, function)
        assert (name, fingerprint) == (interface, function_fingerprint(found))


async def test_a_strict_singleton_refuses_calls_beyond_its_fence_and_none_is_begun(
    tmp_path: Path,
) -> None:
    fence = Fence(CLOCK)
    singleton = Singleton(fence=fence, epoch=3, revision=7)
    guests = Guests()
    async with running(
        await guests.prepared(tmp_path), Surroundings(singleton=singleton)
    ) as replica:
        for _ in range(2):
            with pytest.raises(NoRouteError, match="no lease") as caught:
                await replica.call(GREET, "greet", ["Ada"], context())
            assert caught.value.retryable
            with pytest.raises(NoRouteError):
                replica.require_open()
            assert replica.figures().calls == 0
            fence.until_s = CLOCK.monotonic_s() + 60
            await replica.call(GREET, "greet", ["Ada"], context())
            assert replica.figures().calls == 1
            replica.calls, fence.until_s = 0, CLOCK.monotonic_s()
    assert guests.traces == ["", ""]


async def test_a_replica_tells_what_works_waits_failed_and_how_long_calls_took(
    tmp_path: Path,
) -> None:
    guests = Guests()
    prepared = await guests.prepared(tmp_path)
    async with running(prepared) as replica, anyio.create_task_group() as group:
        began_s = CLOCK.monotonic_s()

        async def greet(name: str) -> None:
            await replica.call(GREET, "greet", [name], context())

        group.start_soon(greet, "waits")
        group.start_soon(greet, "waits")
        await anyio.wait_all_tasks_blocked()
        told = replica.figures()
        assert (told.calls, told.in_flight, told.waiting, told.errors) == (2, 1, 1, 0)
        with pytest.raises(OverloadedError):
            await greet("Ada")
        guests.is_welcomed.set()
        await replica.drained()
        told = replica.figures()
        took_ms = (CLOCK.monotonic_s() - began_s) * 1000
        assert (told.calls, told.in_flight, told.waiting, told.errors) == (3, 0, 0, 1)
        assert 0 <= told.busy_ms <= 3 * took_ms
