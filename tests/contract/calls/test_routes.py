"""The same call by every route: the same values and the same errors, byte for byte."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest
from wasmtime import wat2wasm

from lattice.component.reader import read_component
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.messages import HOPS_MAX, CallReply
from tests.contract.calls.conftest import ATTENDED, ROUTES, Calling
from tests.guests import components, relays

pytestmark = pytest.mark.wasm

ECHO, RELAYED = "test:values/echo@0.1.0", "test:values/relayed@0.1.0"
RUN, ASK = "test:guest/run@0.1.0", "test:guest/ask@0.1.0"

VALUES: dict[str, list[Any]] = {
    "bool": [True], "u8": [0, 255], "s8": [-128], "u64": [2**64 - 1], "s64": [-(2**63)],
    "f32": [0.5], "f64": [1e300, float("inf")], "char": ["😀"], "enum": ["green"],
    "flags": [[], ["read", "run"]], "string": ["", "Åsa\n\0"],
    "bytes": [b"", bytes(range(256)) * 40],
    "numbers": [[], [1, 2**32 - 1]], "record": [{"x": -1, "y": 2.5, "name": "é"}],
    "nested": [[[], ["a", ""]]], "variant": [["dot", None], ["circle", 1.5], ["label", "x"]],
    "option": [None, 7], "options": [[None, [None], ["a"]]], "result": [["ok", 1], ["err", "no"]],
    "tuple": [[1, "a"]], "tuples": [[["a", 1], ["b", 2]]],
}  # fmt: skip

ASKS = f"""
(component
  (import "{RUN}" (instance $next (export "run" (func (result u32)))))
  (core func $next-core (canon lower (func $next "run")))
  (core module $code
    (import "next" "run" (func $next (result i32)))
    (func (export "ask") (result i32) (call $next)))
  (core instance $main
    (instantiate $code (with "next" (instance (export "run" (func $next-core))))))
  (func $ask (result u32) (canon lift (core func $main "ask")))
  (instance $out (export "ask" (func $ask)))
  (export "{ASK}" (instance $out)))
"""

BOUNCES = f"""
(component
  (import "{RUN}" (instance $next (export "run" (func (result u32)))))
  (core func $next-core (canon lower (func $next "run")))
  (core module $code
    (import "next" "run" (func $next (result i32)))
    (func (export "run") (result i32) (call $next)))
  (core instance $main
    (instantiate $code (with "next" (instance (export "run" (func $next-core))))))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $out (export "run" (func $run)))
  (export "{RUN}" (instance $out)))
"""


WIDE = f"""
(component
  (core module $code (func (export "run") (result i64) (i64.const 42)))
  (core instance $main (instantiate $code))
  (func $run (result u64) (canon lift (core func $main "run")))
  (instance $out (export "run" (func $run)))
  (export "{RUN}" (instance $out)))
"""


def outcome(reply: CallReply) -> bytes:
    """Return value and error of a reply as bytes, without who ran it and how long that took."""
    return encode({"ok": reply.ok, "err": reply.err})


def relay_of_values() -> bytes:
    echo = read_component(components.values()).exports[ECHO]
    types = relays.Types(ECHO, 0)
    types.named = dict(echo.types)
    functions = {name: each.result for name, each in echo.functions.items() if each.result}
    return relays.relay(types, functions, exports=RELAYED)


async def test_every_value_comes_back_the_same_by_every_route(calling: Calling) -> None:
    to = await calling.deploy("values", components.values())
    fronts = await calling.deploy_in_front(relay_of_values(), ECHO, to)
    for function, values in VALUES.items():
        for value in values:
            replies = {
                route: await calling.ask(front, RELAYED, function, value)
                for route, front in fronts.items()
            }
            assert {outcome(each) for each in replies.values()} == {
                outcome(CallReply(ok=[value]))
            }, function
            assert {route: [leg.route for leg in each.legs] for route, each in replies.items()} == {
                route: [route] for route in ROUTES
            }


@pytest.mark.parametrize("guest", ["trap", "divide-by-zero", "out-of-bounds"])
async def test_a_trap_is_the_same_by_every_route(calling: Calling, guest: str) -> None:
    to = await calling.deploy("callee", components.hostile()[guest])
    # A durable call is tried again for a while, so it is not made with each of them.
    routes = ROUTES if guest == "trap" else ATTENDED
    fronts = await calling.deploy_in_front(bytes(wat2wasm(ASKS)), RUN, to, routes)
    replies = [await calling.ask(front, ASK, "ask") for front in fronts.values()]
    assert len({outcome(each) for each in replies}) == 1
    assert all((each.err or {})["kind"] == "trap" for each in replies)


async def test_the_time_of_a_link_ends_a_call_in_the_same_way_by_every_route(
    calling: Calling,
) -> None:
    to = await calling.deploy("callee", components.hostile()["spin"])
    body = bytes(wat2wasm(ASKS))
    fronts = await calling.deploy_in_front(body, RUN, to, ATTENDED, timeout="300ms")
    told = set()
    for front in fronts.values():
        err = (await calling.ask(front, ASK, "ask")).err or {}
        assert err["kind"] == "deadline"
        told.add(re.sub(r"\d+\.\d+ s", "N s", str(err["message"])))
    assert len(told) == 1, told


async def test_deployments_that_call_each_other_end_at_the_hop_limit_with_the_chain(
    calling: Calling,
) -> None:
    for route in ROUTES:
        ping, pong = calling.name(f"ping-{route}"), calling.name(f"pong-{route}")
        body = bytes(wat2wasm(BOUNCES))
        for name, other in ((ping, pong), (pong, ping)):
            link = {"import": RUN, "to": other, "route": route, "timeout": "20s"}
            await calling.deploy(name.rpartition("-")[0], body, links=[link])
        reply = await calling.ask(ping, RUN, "run")
        err = reply.err or {}
        assert err["kind"] == "conflict"
        assert err["details"]["chain"] == [ping, pong] * (HOPS_MAX // 2) + [ping]
        assert f"at most {HOPS_MAX}" in err["message"]


async def test_a_caller_that_leaves_ends_the_guest_by_every_route(calling: Calling) -> None:
    to = await calling.deploy("callee", components.hostile()["spin"])
    body = bytes(wat2wasm(ASKS))
    fronts = await calling.deploy_in_front(body, RUN, to, ATTENDED, timeout="20s")

    def at_work() -> int:
        report = calling.reports[calling.host_id]
        return sum(each.in_flight for each in report.replicas)

    for front in fronts.values():
        async with anyio.create_task_group() as group:
            group.start_soon(calling.ask_as_client, front, ASK, "ask")
            await eventually(lambda: at_work() == 2, timeout_s=30)
            group.cancel_scope.cancel()
        await eventually(lambda: at_work() == 0, timeout_s=10)


async def test_another_type_than_the_link_was_made_for_is_refused_by_every_route(
    calling: Calling,
) -> None:
    """As after an update of the callee that was forced past the check at submission."""
    to = await calling.deploy("callee", bytes(wat2wasm(WIDE)))
    fronts = await calling.deploy_in_front(bytes(wat2wasm(ASKS)), RUN, to)
    replies = [await calling.ask(front, ASK, "ask") for front in fronts.values()]
    assert len({outcome(each) for each in replies}) == 1
    assert all((each.err or {})["kind"] == "incompatible" for each in replies)
