"""A whole lattice of one host: typed calls against bare nats-py, from manifest to ready, and from
no replica at all to an answer."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import wasmtime

from bench.case import Case
from bench.running import ECHO_SUBJECT, bare_echo, lattice_up
from lattice.client import connect
from lattice.wire import codec
from lattice.wire.messages import Invocation

CASES = ("call_remote", "call_local", "deploy_to_ready", "wake_from_zero")

LOCAL_CALLS = 50  # in one call from outside, which reports the time of each of them

POLL_S = 0.05

ASLEEP_S = 30.0
"""Seconds until a deployment without calls must have no replica."""

ECHO = """(component
  (core module $code (func (export "echo") (param i32) (result i32) local.get 0))
  (core instance $core (instantiate $code))
  (func $echo (param "value" u32) (result u32) (canon lift (core func $core "echo")))
  (instance $calls (export "echo" (func $echo)))
  (export "bench:calls/echo@1.0.0" (instance $calls)))"""

REPEAT = """(component
  (import "bench:calls/echo@1.0.0"
    (instance $echo (export "echo" (func (param "value" u32) (result u32)))))
  (core func $lowered (canon lower (func $echo "echo")))
  (core module $code
    (import "echo" "echo" (func $echo (param i32) (result i32)))
    (func (export "repeat") (param $left i32) (result i32)
      (loop $again
        (drop (call $echo (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $again (local.get $left)))
      (local.get $left)))
  (core instance $core
    (instantiate $code (with "echo" (instance (export "echo" (func $lowered))))))
  (func $repeat (param "times" u32) (result u32) (canon lift (core func $core "repeat")))
  (instance $calls (export "repeat" (func $repeat)))
  (export "bench:calls/repeat@1.0.0" (instance $calls)))"""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases; a lattice and the peer's server run meanwhile."""
    async with (
        lattice_up(hosts=1) as running,
        connect(running.settings) as client,
        bare_echo() as (bare, bare_pids),
    ):
        images = {}
        for name, text in (("echo", ECHO), ("repeat", REPEAT)):
            images[name] = str(running.folder / f"{name}.wasm")
            (running.folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
        link = {"import": "bench:calls/echo@1.0.0", "to": "echo"}
        await client.apply(_deployment("echo", images["echo"]), wait=True)
        await client.apply(_deployment("repeat", images["repeat"], links=[link]), wait=True)
        body = codec.encode(Invocation(op="bench:calls/echo@1.0.0#echo", args=[7], id="0" * 22))
        names = (f"deploy-{number}" for number in itertools.count())

        async def call_remote() -> None:
            assert await client.call("echo", "echo", [7]) == 7, "the echo answers"

        async def echo_bare() -> None:
            await bare.request(ECHO_SUBJECT, body)

        async def call_local() -> float:
            result = await client.call("repeat", "repeat", [LOCAL_CALLS], detail=True)
            assert [leg.route for leg in result.legs] == ["local"] * LOCAL_CALLS, "all were local"
            return sum(leg.took_us for leg in result.legs) / 1e6

        async def echo_bare_often() -> float:
            started = time.perf_counter()
            for _ in range(LOCAL_CALLS):
                await echo_bare()
            return time.perf_counter() - started

        async def deploy() -> float:
            name = next(names)
            started = time.perf_counter()
            await client.apply(_deployment(name, images["echo"]), wait=True)
            took_s = time.perf_counter() - started
            await client.delete(name)
            return took_s

        bare_name = "a request to a bare nats-py echo, same bytes"

        async def wake() -> float:
            with anyio.fail_after(ASLEEP_S):
                while True:
                    if not (await client.replicas("sleeper")).replicas:
                        break
                    await anyio.sleep(POLL_S)
            started = time.perf_counter()
            assert await client.call("sleeper", "echo", [7]) == 7, "it wakes"
            return time.perf_counter() - started

        scale = {"min": 0, "max": 1, "idle": "100ms"}
        await client.apply(_deployment("sleeper", images["echo"], scale=scale))
        made = (
            Case(
                name="call_remote",
                what="a typed call from a client to a fresh instance on a host, over NATS",
                ours=call_remote,
                peer=echo_bare,
                peer_name=bare_name,
                warm_up=50,
                servers=running.pids,
                peer_servers=bare_pids,
            ),
            Case(
                name="call_local",
                what="a typed call from one deployment to another on the same host, by its report",
                ours=call_local,
                peer=echo_bare_often,
                peer_name=bare_name,
                operations=LOCAL_CALLS,
                is_clocked=True,
                servers=running.pids,
                peer_servers=bare_pids,
            ),
            Case(
                name="deploy_to_ready",
                what="from a submitted manifest to a replica that runs, its image compiled already",
                ours=deploy,
                peer_name="none that does the same",
                unit="ms",
                is_clocked=True,
                warm_up=1,
                servers=running.pids,
            ),
            Case(
                name="wake_from_zero",
                what="from a call of a deployment without a replica to its answer; it was compiled",
                ours=wake,
                peer_name="none that does the same",
                unit="ms",
                is_clocked=True,
                warm_up=1,
                servers=running.pids,
            ),
        )
        yield [case for case in made if case.name in wanted]


def _deployment(name: str, image: str, **fields: Any) -> dict[str, Any]:
    return {"lattice": "v1", "name": name, "components": [{"name": name, "image": image}], **fields}
