"""Deployments that ask each other over HTTP, between real processes."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Lattice
from tests.e2e.running import client_of, deploy, until_leading, until_placed
from tests.guests import web_guests

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.timeout(180)]

ASK = "test:web/asking#ask"


def on(zone: str) -> dict[str, object]:
    return {"require": {"labels": [f"zone={zone}"]}}


async def test_a_guest_asks_by_name_wherever_the_other_one_is(lattice: Lattice) -> None:
    suffix = f"{lattice.facts['lattice']}.lattice.internal"
    async with client_of(lattice) as client:
        await until_leading(client)
        for name, zone in (("near", "eu"), ("far", "us")):
            await deploy(client, name, {"guest": web_guests.hello()}, placement=on(zone))
            await until_placed(client, name, 1)
        image = await client.connection.artifacts.put(web_guests.asker())
        grants = {"http": [f"http://*.{suffix}"]}
        component = {"name": "asker", "image": image, "network": grants}
        document = {"lattice": "v1", "name": "shop", "components": [component]}
        await client.apply(document | {"placement": on("eu")}, wait=True, timeout_s=60)
        for name, leg in (("near", "local"), ("far", "remote")):
            result = await client.call("shop", ASK, [f"{name}.{suffix}", "/a?b=c"], detail=True)
            assert result.value == "200 Hello, world!\n"
            assert [(each.deployment, each.op, each.route) for each in result.legs] == [
                (name, "http GET /a", leg)
            ]
    said = lattice.ok("call", "shop", ASK, f'"near.{suffix}"', '"/x"', "--detail").out
    assert "http GET /x" in said
    assert "local" in said
