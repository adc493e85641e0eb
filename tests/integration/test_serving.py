"""A component behind a `Site`: its instances, its limits, and what cannot be one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hosts.blackbox import BlackBox, BlackBoxReader
from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.guarded import Guard
from hosts.handlers import web_assembly
from hosts.quarantine import Quarantine, write_quarantine
from hosts.serving import Site, SiteOptions, site_of
from hosts.standalone import assemble
from lattice.errors import (
    DeadlineExceededError,
    DeniedError,
    GuestTrapError,
    InvalidError,
    OverloadedError,
)
from lattice.model.deployment import Limits
from tests.guests import components, web_guests
from tests.integration.recorded_exchange import RecordedExchange

pytestmark = [pytest.mark.wasm]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@asynccontextmanager
async def site(
    cache: Path, *bodies: bytes, options: SiteOptions | None = None, guard: Guard | None = None
) -> AsyncIterator[Site]:
    engine = WasmtimeEngine(cache)
    assembly = web_assembly(named(bodies))
    made = await site_of(engine, assembly, options or SiteOptions(), guard=guard)
    async with anyio.create_task_group() as group:
        group.start_soon(made.run)
        yield made
        group.cancel_scope.cancel()
    engine.close()


def named(bodies: Sequence[bytes]) -> list[tuple[str, bytes]]:
    return [(f"{number}.wasm", body) for number, body in enumerate(bodies)]


async def asked(site: Site, path: str) -> RecordedExchange:
    exchange = RecordedExchange(path)
    await site.handler(exchange)
    return exchange


@pytest.mark.parametrize(("mode", "last"), [("fresh", b"1"), ("reuse", b"5")])
async def test_instances_are_kept_as_the_mode_says(cache: Path, mode, last):
    options = SiteOptions(mode=mode, world=World(env={"A": "b"}))
    async with site(cache, web_guests.seer(), options=options) as served:
        answers = [(await asked(served, "/")).received for _ in range(5)]
    assert answers[0] == b"request=1\nA=b\n"
    assert answers[-1] == b"request=%b\nA=b\n" % last


async def test_an_instance_that_trapped_is_not_kept(cache: Path):
    async with site(cache, web_guests.paths(), options=SiteOptions(mode="reuse")) as served:
        for _ in range(3):
            with pytest.raises(GuestTrapError):
                await asked(served, "/trap")
            assert (await asked(served, "/none")).status == 204


async def test_an_instance_that_gave_no_answer_is_not_kept(cache: Path):
    async with site(cache, web_guests.faults(), options=SiteOptions(mode="reuse")) as served:
        with pytest.raises(GuestTrapError, match="never set response-outparam"):
            await asked(served, "/keep")
        with pytest.raises(GuestTrapError) as failure:
            await asked(served, "/late")  # answers the request before, if it knows of any
    assert "a request that is over" not in str(failure.value)


async def test_what_is_over_the_limits_is_refused_and_what_waits_too_long_ends(cache: Path):
    limits = Limits(concurrency=2, queue=1, deadline_s=0.5)
    ends: list[type[BaseException]] = []
    async with site(cache, web_guests.paths(), options=SiteOptions(limits=limits)) as served:

        async def ask() -> None:
            try:
                await asked(served, "/forever")
            except (DeadlineExceededError, OverloadedError) as error:
                ends.append(type(error))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(ask)
        assert sorted(ends, key=str) == [DeadlineExceededError] * 3 + [OverloadedError]
        assert (await asked(served, "/none")).status == 204


async def test_one_component_stands_behind_the_other_in_their_order(cache: Path):
    async with site(cache, web_guests.layer(), web_guests.hello()) as served:
        exchange = await asked(served, "/")
    assert exchange.received == b"Hello, world!\n"
    layer, hello = web_guests.layer(), web_guests.hello()
    chain = web_assembly([("a", layer), ("b", layer), ("c", hello)])
    handlers = [(link.part, link.to) for link in chain.links]
    assert handlers == [("a", "b"), ("b", "c")]


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ([components.add], "exports test:math/add@0.1.0, and not wasi:http/incoming-handler@0.2"),
        ([web_guests.courier], "it is a command: `lattice run` runs it"),
        ([web_guests.hello, web_guests.layer], "1.wasm: nothing that 0.wasm needs"),
        ([web_guests.asker, web_guests.hello], "0.wasm answers no HTTP requests"),
        ([web_guests.layer], "incoming-handler@0.2.0 is satisfied by nothing"),
    ],
)
def test_what_answers_no_requests_is_refused_with_advice(bodies, said):
    with pytest.raises(InvalidError) as refusal:
        web_assembly(named([body() for body in bodies]))
    assert said in refusal.value.message


async def test_a_component_that_answers_nothing_is_no_site(cache: Path):
    engine = WasmtimeEngine(cache)
    with pytest.raises(InvalidError, match="answers no HTTP requests"):
        await site_of(engine, assemble([("a", components.add())]), SiteOptions())
    engine.close()


async def test_requests_at_work_are_noted_and_the_quarantined_are_refused(
    cache: Path, tmp_path: Path
):
    reader = BlackBoxReader()
    listed = tmp_path / "quarantine.json"
    guard = Guard(Quarantine(listed), BlackBox(reader.descriptor))
    reader.descriptor = -1  # the box closed it
    digest = web_assembly([("a", web_guests.paths())]).parts[0].digest
    async with site(cache, web_guests.paths(), guard=guard) as served:
        assert reader.at_work() == frozenset()
        async with anyio.create_task_group() as group:
            group.start_soon(asked, served, "/forever")
            while not reader.at_work():
                await anyio.lowlevel.checkpoint()
            assert reader.at_work() == {digest}
            group.cancel_scope.cancel()
        assert reader.at_work() == frozenset()
    write_quarantine(listed, {digest: "it was at work"})
    with pytest.raises(DeniedError, match="quarantined"):
        async with site(cache, web_guests.paths(), guard=guard):
            pass
