"""Values that no message holds, between guests: through links by every route, and by name."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from hosts.dynamic import INTERFACE
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.clock import SystemClock
from lattice.wire.codec import encode
from lattice.wire.messages import CallReply, Invocation
from tests.contract.calls.conftest import Calling
from tests.contract.calls.test_routes import ECHO, RELAYED, relay_of_values
from tests.guests import components

pytestmark = pytest.mark.wasm

CLOCK = SystemClock()
PROXY = "test:proxy/proxy@0.1.0"
TWO_MB = bytes(range(256)) * 8000


async def sent(calling: Calling, to: str, interface: str, function: str, *args: Any) -> CallReply:
    """Return the reply of a call as clients make it: large values travel in parts."""
    bus, subject = calling.client.bus, calling.names.call(to, interface, function)
    order = Order(
        deployment=to, what=function, subject=subject, subject_at=lambda _host, _number: subject,
        body=lambda _attempt, ms: encode(
            Invocation(op=f"{interface}#{function}", args=list(args), deadline_ms=ms)
        ),
        nobody="nobody is there", give_up_s=CLOCK.monotonic_s() + 30,
    )  # fmt: skip
    sender = Sender(bus, CLOCK, holder=Holder(leader_of(bus, calling.names), CLOCK))
    return (await sender.send(order))[0]


async def test_large_values_pass_through_links_by_every_route(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    fronts = await calling.deploy_in_front(relay_of_values(), ECHO, to, ["local", "remote"])
    for route, front in fronts.items():
        reply = await sent(calling, front, RELAYED, "bytes", TWO_MB)
        assert reply.err is None, reply.err
        assert reply.ok == [TWO_MB], route
        assert [leg.route for leg in reply.legs] == [route]


async def test_a_durable_job_says_how_much_it_takes(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    [front] = (await calling.deploy_in_front(relay_of_values(), ECHO, to, ["durable"])).values()
    reply = await sent(calling, front, RELAYED, "bytes", TWO_MB)
    assert reply.err is not None
    assert reply.err["kind"] == "invalid"
    assert re.search(r"takes 20\d{5} bytes, at most \d+ are stored", reply.err["message"])


async def test_large_values_pass_to_targets_by_name(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    binding = {"interface": INTERFACE, "config": {"allow": to}}
    proxy = await calling.deploy("proxy", components.proxy(), bindings=[binding])
    args = json.dumps([{"base64": base64.b64encode(TWO_MB).decode()}])
    for route in ("local", "remote"):
        reply = await sent(calling, proxy, PROXY, "ask", to, ECHO, route, "bytes", args)
        assert reply.err is None, reply.err
        [[kind, text]] = reply.ok or []
        assert (kind, json.loads(text)) == ("ok", json.loads(args)[0]), route
