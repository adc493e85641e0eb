"""Arguments, scratch and granted directories from the manifest to the guest."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from hosts.engine.base import Directory
from lattice.testing import eventually
from tests.integration.host_world import World
from tests.integration.observer import SEE, observer

pytestmark = pytest.mark.wasm


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def host(world, tmp_path, **options):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", tmp_path / "H1", **options))
        yield


async def until(world, name, state):
    await eventually(lambda: world.states("H1").get(name, ("", ""))[0] == state, timeout_s=30)


def running_of(world):
    report = world.reports.get("H1")
    return sum(each.state == "running" for each in report.replicas) if report else 0


def scratches(tmp_path):
    return sorted(path.name for path in (tmp_path / "H1" / "scratch").glob("*/*"))


async def test_arguments_follow_the_name_of_the_part(world, tmp_path):
    args = {"args": ["-v", "two words"]}
    await world.submit("one", {"see": observer()}, see=args)
    await world.submit("two", {"see-service": observer()}, **{"see-service": args})
    async with host(world, tmp_path):
        await world.assign("H1", ("one", 1, 1), ("two", 1, 1))
        await until(world, "one", "running")
        await until(world, "two", "running")
        assert await world.call("one", SEE, "arguments") == ["see", "-v", "two words"]
        assert await world.call("two", SEE, "arguments") == ["see-service", "-v", "two words"]


@pytest.mark.parametrize("fields", [{}, {"compose": "lazy"}])
async def test_scratch_is_shared_by_calls_bounded_and_gone_with_the_replica(
    world, tmp_path, fields
):
    await world.submit("one", {"see": observer()}, see={"scratch": "8Ki", **fields})
    async with host(world, tmp_path):
        await world.assign("H1", ("one", 1, 2))
        await eventually(lambda: running_of(world) == 2, timeout_s=30)
        assert len(scratches(tmp_path)) == 2, "each replica has its own"
        written = [await world.call("one", SEE, "write", [f"file-{n}"]) for n in range(8)]
        assert written == [True] * 4 + [False] * 4, "two files of a block each in each of them"
        await world.assign("H1")
        await eventually(lambda: not world.states("H1"))
        assert scratches(tmp_path) == []


async def test_a_host_that_stopped_badly_starts_with_empty_scratch(world, tmp_path):
    left = tmp_path / "H1" / "scratch" / "old_1_H1_1.0" / "see"
    left.mkdir(parents=True)
    async with host(world, tmp_path):
        await eventually(lambda: world.reports.get("H1"))
        assert not left.exists()


async def test_a_granted_directory_is_seen_as_the_manifest_says(world, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "corpus").write_text("hello")
    mount = {"grant": "corpus", "path": "/data"}
    await world.submit("reads", {"see": observer()}, see={"directories": [mount]})
    await world.submit(
        "writes", {"see": observer()}, see={"directories": [{**mount, "access": "rw"}]}
    )
    async with host(world, tmp_path, directories={"corpus": Directory(data, is_writable=True)}):
        await world.assign("H1", ("reads", 1, 1), ("writes", 1, 1))
        await until(world, "reads", "running")
        await until(world, "writes", "running")
        assert await world.call("reads", SEE, "read", ["corpus"]) == b"hello"
        assert await world.call("reads", SEE, "write", ["new"]) is False
        assert await world.call("writes", SEE, "write", ["new"]) is True
        assert (data / "new").exists()


async def test_a_replica_fails_with_the_reason_where_its_directory_is_not_granted(world, tmp_path):
    mount = {"grant": "corpus", "path": "/data", "access": "rw"}
    await world.submit("writes", {"see": observer()}, see={"directories": [mount]})
    async with host(world, tmp_path, directories={"corpus": Directory(tmp_path)}):
        await world.assign("H1", ("writes", 1, 1))
        await until(world, "writes", "failed")
        assert world.states("H1")["writes"][1] == (
            "see wants to write to the directory 'corpus', which this host grants for reading only"
        )
