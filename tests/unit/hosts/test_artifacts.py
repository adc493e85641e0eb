"""The artifact cache of a host."""

from __future__ import annotations

import os

import anyio
import pytest

from hosts import artifacts as cache
from hosts.artifacts import Artifacts
from lattice.bus.memory import MemoryObjects
from lattice.errors import NotFoundError
from lattice.model.ids import Digest, digest_hex


class CountingObjects(MemoryObjects):
    fetched = 0

    async def get(self, digest, *, progress=None):
        self.fetched += 1
        return await super().get(digest, progress=progress)


async def test_many_askers_cost_one_fetch(tmp_path):
    objects = CountingObjects()
    digest = await objects.put(b"component")
    artifacts = Artifacts(objects, tmp_path / "cache")
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(artifacts.get, digest)
    assert await artifacts.get(digest) == b"component"
    assert objects.fetched == 1


async def test_a_damaged_file_is_fetched_again(tmp_path):
    objects = CountingObjects()
    digest = await objects.put(b"component")
    artifacts = Artifacts(objects, tmp_path)
    path = await artifacts.path(digest)
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    assert await artifacts.get(digest) == b"component"
    assert objects.fetched == 2


async def test_what_nobody_has_is_not_found_and_leaves_nothing(tmp_path):
    missing = Digest("sha256:" + "0" * 64)
    with pytest.raises(NotFoundError):
        await Artifacts(MemoryObjects(), tmp_path).get(missing)
    assert not (tmp_path / digest_hex(missing)).exists()


async def test_held_files_stay_when_others_push_them_out_and_go_when_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CACHE_BYTES_MAX", 10)
    objects = MemoryObjects()
    digests = [await objects.put(bytes([n]) * 8) for n in range(4)]
    artifacts = Artifacts(objects, tmp_path)
    hold = artifacts.hold(digests[:2])
    for digest in digests:
        await artifacts.path(digest)

    def kept():
        return sorted(file.name for file in tmp_path.iterdir())

    assert kept() == sorted(map(digest_hex, (*digests[:2], digests[3])))
    del hold
    await artifacts.path(digests[2])
    assert kept() == [digest_hex(digests[2])]


async def test_what_vanishes_or_is_being_written_does_not_stop_the_making_of_room(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "CACHE_BYTES_MAX", 1)
    objects = MemoryObjects()
    digest = await objects.put(b"component")
    # A name that is listed, and whose file is not there any more.
    (tmp_path / "vanished").symlink_to(tmp_path / "nowhere")
    (tmp_path / "written.1.part").write_bytes(b"half of it")
    (tmp_path / "left.2.part").write_bytes(b"of a process that was killed")
    os.utime(tmp_path / "left.2.part", (0, 0))
    (tmp_path / "old").write_bytes(b"an artifact")
    os.utime(tmp_path / "old", (0, 0))
    await Artifacts(objects, tmp_path).path(digest)
    kept = {file.name for file in tmp_path.iterdir()}
    assert kept == {"vanished", "written.1.part", digest_hex(digest)}
