"""`lattice:invoke/dynamic`: a guest calls deployments whose names it learns at run time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hosts.dynamic import INTERFACE, OPEN_MAX, Grant, parse_grant
from lattice.errors import InvalidError
from tests.contract.calls.conftest import ROUTES, Calling
from tests.guests import components

PROXY = "test:proxy/proxy@0.1.0"
ECHO = "test:values/echo@0.1.0"

BYTES = {"base64": "AAH/"}
VALUES: dict[str, Any] = {
    "bool": True, "u64": 2**64 - 1, "string": "Åsa", "bytes": BYTES, "enum": "green",
    "record": {"x": -1, "y": 2.5, "name": "é"}, "variants": [["dot", None], ["label", "x"]],
    "option": None, "result": ["err", "no"], "tuples": [["a", 1]], "f64": "Infinity",
}  # fmt: skip


async def proxy_in(calling: Calling, **config: str) -> str:
    binding = {"interface": INTERFACE, "config": config}
    return await calling.deploy("proxy", components.proxy(), bindings=[binding])


async def asked(calling: Calling, proxy: str, function: str, *args: Any) -> Any:
    reply = await calling.ask(proxy, PROXY, function, *args)
    assert reply.err is None, reply.err
    return (reply.ok or [None])[0]


@pytest.mark.wasm
async def test_a_target_opened_by_name_answers_the_same_by_every_route(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    proxy = await proxy_in(calling, allow=to)
    for function, value in VALUES.items():
        for how in ("auto", *ROUTES):
            answer = await asked(
                calling, proxy, "ask", to, ECHO, how, function, json.dumps([value])
            )
            assert answer[0] == "ok", answer
            assert json.loads(answer[1]) == value
    reply = await calling.ask(proxy, PROXY, "ask", to, ECHO, "remote", "u8", "[7]")
    assert [(leg.deployment, leg.route) for leg in reply.legs] == [(to, "remote")]


@pytest.mark.wasm
async def test_what_does_not_fit_is_told_the_same_by_every_route(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    proxy = await proxy_in(calling, allow=f"{to}, none-*")
    wrong = {
        ("u8", "[300]"): "invalid",
        ("u8", "[1, 2]"): "invalid",
        ("u8", "{"): "invalid",
        ("u8", "7"): "invalid",
        ("u8", '{"value": 7}'): "invalid",
        ("nothing", "[]"): "not-found",
    }
    for (function, args), kind in wrong.items():
        told = set()
        for how in ROUTES:
            asking = (to, ECHO, how, function, args)
            assert await asked(calling, proxy, "kind", *asking) == ["err", kind]
            told.add((await asked(calling, proxy, "ask", *asking))[1])
        assert len(told) == 1, told
    for how in ("auto", "local", "remote"):  # a durable one waits for somebody to come
        asking = ("none-here", ECHO, how, "u8", "[1]")
        assert await asked(calling, proxy, "kind", *asking) == ["err", "no-route"]


@pytest.mark.wasm
async def test_nothing_is_opened_that_was_not_granted(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    proxy = await proxy_in(calling)
    for name, kind in ((to, "denied"), ("No Name", "invalid")):
        asking = (name, ECHO, "auto", "u8", "[1]")
        assert await asked(calling, proxy, "kind", *asking) == ["err", kind]


@pytest.mark.wasm
async def test_an_instance_holds_a_bounded_number_of_targets_open(calling: Calling) -> None:
    proxy = await proxy_in(calling, allow="*")
    assert await asked(calling, proxy, "open-many", "anybody", 5000) == OPEN_MAX
    assert await asked(calling, proxy, "open-many", "anybody", 5000) == OPEN_MAX, "each on its own"


def test_grants_are_names_and_beginnings_of_names() -> None:
    grant = parse_grant({"allow": "dictionary, tenant-*"})
    assert grant == Grant(names=frozenset({"dictionary"}), beginnings=("tenant-",))
    assert all(map(grant.covers, ("dictionary", "tenant-7")))
    assert not any(map(grant.covers, ("dictionary-2", "tenant", "tenants")))
    assert parse_grant({"allow": "*"}).covers("anybody")
    assert not parse_grant({}).covers("anybody")
    for config in ({"allow": "No Name"}, {"alow": "x"}):
        with pytest.raises(InvalidError, match="binding of lattice:invoke"):
            parse_grant(config)
