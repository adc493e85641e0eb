"""What of the network the programs of a workload are granted."""

from __future__ import annotations

from pathlib import Path

from hosts.artifacts import Artifacts
from hosts.engine.fake import FakeComponent, FakeEngine
from hosts.workload import Workloads
from lattice.component.resolution import COMPOSED
from lattice.model.network import Network, parse_endpoint
from tests.guests import components
from tests.integration.host_world import World


async def test_composed_components_share_their_grants_and_a_service_has_its_own(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    await world.submit(
        "mixed",
        {
            "add": components.add(),
            "echo": components.echo(),
            "helloservice": components.hello(),
            "divideservice": components.divide(),
        },
        add={"network": {"connect": ["a.org:1"]}},
        echo={"network": {"connect": ["b.org:2"]}},
        helloservice={"network": {"listen": ["0.0.0.0:80"]}},
    )
    bodies = (components.add(), components.echo(), components.hello(), components.divide())
    workloads = Workloads(
        control=world.connection.control,
        artifacts=Artifacts(world.connection.artifacts, tmp_path / "artifacts"),
        engine=FakeEngine({body: FakeComponent(functions={}) for body in bodies}),
    )
    prepared = await workloads.prepare("mixed", 1)
    assert prepared.world_of(COMPOSED).network == Network(
        connect=(parse_endpoint("a.org:1"), parse_endpoint("b.org:2"))
    )
    assert prepared.world_of("helloservice").network == Network(
        listen=(parse_endpoint("0.0.0.0:80"),)
    )
    assert prepared.world_of("divideservice").network == Network()
