"""Generations made ready: what they hold on the disk, and what they share."""

from __future__ import annotations

import gc
from pathlib import Path

import anyio
import pytest

from hosts import artifacts, workload
from hosts.artifacts import Artifacts
from hosts.engine.fake import FakeComponent, FakeEngine
from hosts.workload import Workloads
from tests.guests import components
from tests.integration.host_world import World

COUNTER = "test:counter/counter@0.1.0"


class Prepares:
    """A lattice with generations of one service, each with a file of its own, and who prepares."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory)
        self.files = directory / "artifacts"
        functions = {
            (COUNTER, name): lambda _guest: 0 for name in ("start", "next", "starts", "fail")
        }
        self.workloads = Workloads(
            control=self.world.connection.control,
            artifacts=Artifacts(self.world.connection.artifacts, self.files),
            engine=FakeEngine({components.counter(): FakeComponent(functions=functions)}),
        )

    async def submit(self, generation: int) -> None:
        corpus = await self.world.connection.artifacts.put(b"corpus %d" % generation)
        await self.world.submit(
            "count",
            {"counterservice": components.counter()},
            generation=generation,
            counterservice={"files": ["corpus"]},
            files=[{"name": "corpus", "source": corpus}],
        )


async def test_what_a_prepared_generation_names_stays_on_the_disk_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "CACHE_BYTES_MAX", 1)
    monkeypatch.setattr(workload, "PREPARED_MAX", 1)
    prepares = Prepares(tmp_path)
    for generation in (1, 2, 3):
        await prepares.submit(generation)
    first = await prepares.workloads.prepare("count", 1)
    corpus = first.files["corpus"]
    await prepares.workloads.prepare("count", 2)
    assert corpus.read_bytes() == b"corpus 1", "its replicas may run yet"
    del first
    gc.collect()
    await prepares.workloads.prepare("count", 3)
    assert not corpus.exists()


async def test_replicas_that_ask_together_share_one_generation(
    tmp_path: Path,
) -> None:
    prepares = Prepares(tmp_path)
    await prepares.submit(1)
    found: set[int] = set()

    async def prepare() -> None:
        found.add(id(await prepares.workloads.prepare("count", 1)))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(prepare)
    assert len(found) == 1
