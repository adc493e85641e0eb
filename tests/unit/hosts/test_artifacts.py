"""The artifact cache of a host."""

from __future__ import annotations

import anyio
import pytest

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
