"""A lattice whose memory is lost: what runs goes on, and a backup brings the rest back.

Real processes and real streams. The caller of the tests calls without keys, once each: any call
that is cut off or refused counts as failed.
"""

from __future__ import annotations

import json
import tarfile
import time
from contextlib import asynccontextmanager

import anyio
import pytest

from lattice.errors import LatticeError
from lattice.testing import eventually
from lattice.wire.subjects import Names
from tests.e2e.conftest import lattice_up
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    connection_as,
    deploy,
    places,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow]

ADOPTED_S = 10.0
"""The promise: every host adopts the next deployment within this time after a restore."""

WRITES = 100
CALLERS = 2


@pytest.fixture
async def lattice(tmp_path):
    with lattice_up(tmp_path, "--hosts", "2", "--profile", "fast") as running:
        yield running


@asynccontextmanager
async def calling(client, name):
    """Call a deployment all the time, and yield what goes wrong."""
    failures: list[str] = []
    counts = [0]

    async def call():
        while True:
            try:
                assert await client.call(name, "add", [40, 2], deadline_s=5) == 42
            except LatticeError as exc:
                failures.append(f"{exc.kind}: {exc.message}")
            counts[0] += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(call)
        yield failures
        before = counts[0]
        await eventually(lambda: counts[0] > before + 20, timeout_s=PATIENCE_S)
        group.cancel_scope.cancel()


async def wipe(lattice):
    """Remove all that the lattice keeps in NATS, as a lost disk does."""
    names = Names(lattice.facts["lattice"])
    streams = (
        f"KV_{names.control_bucket}", f"KV_{names.hosts_bucket}",
        f"OBJ_{names.artifacts_bucket}", names.events_stream,
    )  # fmt: skip
    async with connection_as(lattice, "scheduler") as connection:
        for stream in streams:
            packet = await connection.bus.request(f"$JS.API.STREAM.DELETE.{stream}", timeout_s=5)
            assert json.loads(packet.body)["success"]


async def said(lattice, *words):
    """Return how a command ended; meanwhile our connection goes on answering NATS."""
    return await anyio.to_thread.run_sync(lambda: lattice.run(*words))


async def done(lattice, *words):
    """Carry out a command that must succeed."""
    await anyio.to_thread.run_sync(lambda: lattice.ok(*words))


async def until_forgotten(client):
    """Return when a scheduler leads that knows of no deployment."""

    async def is_forgotten():
        try:
            return await client.deployments() == [] and bool(await client.hosts())
        except LatticeError:
            return False

    await eventually(is_forgotten, timeout_s=PATIENCE_S, what="the lattice has forgotten")


async def test_lost_lattice_is_restored_while_every_call_is_answered(lattice, tmp_path):
    file = tmp_path / "lattice.backup"
    async with client_of(lattice) as client:
        await until_leading(client)
        await deploy(client, "math", {"add": components.add()}, replicas=2)
        await deploy(client, "other", {"add": components.add()}, replicas=2)
        saved = (await said(lattice, "backup", str(file), "--output", "json")).json["saved"]
        assert (saved["deployments"], saved["generations"]) == (2, 2)
        async with calling(client, "math") as failures:
            for number in range(WRITES - 2):
                await deploy(client, f"late-{number % 10}", {"add": components.add()},
                             wait=False, replicas=number % 2)  # fmt: skip
            await deploy(client, "math", {"add": components.add()}, replicas=2, labels={"a": "b"})
            await deploy(client, "math", {"add": components.add()}, replicas=2, labels={"a": "c"})
            await until_placed(client, "math", 2)
            await wipe(lattice)
            await until_forgotten(client)
            assert failures == [], "what runs goes on although nobody remembers it"
            await done(lattice, "restore", str(file))
            began_s = time.monotonic()
            generation = await deploy(client, "next", {"add": components.add()}, replicas=2)
            assert set((await until_placed(client, "next", 2)).values()) == {"host-1", "host-2"}
            assert time.monotonic() - began_s < ADOPTED_S

            async def is_as_saved():
                math = await until_placed(client, "math", 2)
                return {replica.split("/")[1] for replica in math} == {"1"}

            await eventually(is_as_saved, timeout_s=PATIENCE_S, what="math is as the backup has it")
            await until_placed(client, "other", 2)
        assert failures == []
        assert generation > 10_000, "numbers that the lost bucket gave away are not used again"
        assert {each.name for each in await client.deployments()} == {"math", "other", "next"}


async def test_restore_changes_nothing_unless_file_and_lattice_allow_it(lattice, tmp_path):
    file = tmp_path / "lattice.backup"
    async with client_of(lattice) as client:
        await until_leading(client)
        await deploy(client, "math", {"add": components.add()})
        running = await until_placed(client, "math", 1)
        await done(lattice, "backup", str(file))
        assert file.stat().st_mode & 0o077 == 0, "settings are in it"
        again = await said(lattice, "backup", str(file))
        assert again.status != 0
        assert "is there already" in again.err

        refused = await said(lattice, "restore", str(file))
        assert refused.status != 0
        assert "--replace" in refused.err
        body = file.read_bytes()
        for name, damaged in (
            ("cut", body[: body.index(b"checksums.json")]),
            ("changed", _changed(body)),
        ):
            path = tmp_path / name
            path.write_bytes(damaged)
            outcome = await said(lattice, "restore", str(path), "--replace")
            assert outcome.status != 0
            assert str(path) in outcome.err
        assert await places(client, "math") == running

        await deploy(client, "more", {"add": components.add()})
        await done(lattice, "restore", str(file), "--replace")
        await until_placed(client, "more", 0)
        assert [each.name for each in await client.deployments()] == ["math"]
        assert await until_placed(client, "math", 1) == running, "nothing moved"
    with tarfile.open(file) as tar:
        assert tar.getnames()[0] == "backup.json"


def _changed(body: bytes) -> bytes:
    """Change one byte of a component within the archive."""
    place = body.index(b"\0asm") + 60
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
