"""Calls from guest to guest: composed into one component, or between two programs of one host."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wasmtime import wat2wasm

from bench.case import Case
from bench.guests import CALLER, ECHO
from bench.suites.engine_calls import THING
from hosts.engine.base import Forward, HostImport, Import, Instance, Link, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = ("passthrough_call", "passthrough_call_late", "composed_call_string")

DEADLINE_S = 60.0
CALLS = 1000  # from guest to guest, in one call of the host

_LIBRARY = """
  (core module $library
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    (func (export "mark") (result i32) (global.get $next))
    (func (export "reset") (param i32) (global.set $next (local.get 0))))
  (core instance $lib (instantiate $library))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
"""

_TYPES = """
  (type $kind' (variant (case "a") (case "b" u32) (case "c" string)))
  (export "kind" (type $kind (eq $kind')))
  (type $point' (record (field "x" u32) (field "y" f64) (field "s" string)))
  (export "point" (type $point (eq $point')))
  (type $thing' (record (field "id" u64) (field "name" string) (field "kind" $kind)
    (field "alt" (option $kind)) (field "note" (option string)) (field "at" $point)
    (field "ok" (result u32 (error string))) (field "tags" (list string)) (field "flag" bool)))
  (export "thing" (type $thing (eq $thing')))
"""

PASSER = f"""
(component
  (import "host" (instance $host
    {_TYPES}
    (export "echo-thing" (func (param "t" $thing) (result $thing)))))
  {_LIBRARY}
  (alias export $host "thing" (type $thing))
  (alias export $host "echo-thing" (func $echo))
  (core func $lowered (canon lower (func $echo) (memory $memory) (realloc $realloc)))
  (core module $code
    (import "lib" "mark" (func $mark (result i32)))
    (import "lib" "reset" (func $reset (param i32)))
    (import "lib" "memory" (memory 1))
    (import "host" "echo-thing" (func $echo (param i32 i32)))
    ;; At the address lie a thing and, 104 bytes on, how often to pass it on.
    (func (export "pass-often") (param $at i32) (result i32) (local $n i32) (local $kept i32)
      (local.set $n (i32.load offset=104 (local.get $at)))
      (local.set $kept (call $mark))
      (loop $again
        (call $reset (local.get $kept))
        (call $echo (local.get $at) (i32.const 1024))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n)))
      (call $reset (i32.const 4096))
      (i32.const 1024)))
  (core instance $it (instantiate $code (with "lib" (instance $lib))
    (with "host" (instance (export "echo-thing" (func $lowered))))))
  (export $thing' "thing" (type $thing))
  (func (export "pass-often") (param "t" $thing') (param "n" u32) (result $thing')
    (canon lift (core func $it "pass-often") (memory $memory) (realloc $realloc))))
"""
"""Has the host's `echo-thing` return a record so many times."""

HOST = f"""
(component
  {_LIBRARY}
  (core module $code
    (import "lib" "memory" (memory 1))
    (func (export "pair") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "start") (result i32) (i32.const 4096)))
  (core instance $it (instantiate $code (with "lib" (instance $lib))))
  (core module $after
    (import "lib" "reset" (func $reset (param i32)))
    (func (export "done") (param i32) (call $reset (i32.const 4096))))
  (core instance $end (instantiate $after (with "lib" (instance $lib))))
  (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $it "add")))
  (func $echo (param "s" string) (result string)
    (canon lift (core func $it "pair") (memory $memory) (realloc $realloc)
      (post-return (core func $end "done"))))
  (instance $host (export "add" (func $add)) (export "echo" (func $echo)))
  (export "host" (instance $host)))
"""
"""Is to `CALLER` what it imports: returns the string that it is given."""


@dataclass(slots=True)
class _Lease:
    """A claim on an instance that is always there."""

    instance: Instance
    interface: str
    function: str
    deadline_s: float = DEADLINE_S

    def release(self) -> None:
        """Do nothing: the instance has one caller."""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        instances: list[Instance] = []

        async def start(
            *texts: str, links: Sequence[Link] = (), provider: Import | None = None
        ) -> Instance:
            parts = [_part(name, text) for name, text in zip("abc", texts, strict=False)]
            program = await engine.load(parts, links)
            imports = {} if provider is None else {"host": provider}
            instances.append(await program.instantiate(imports, World()))
            return instances[-1]

        echo = await start(ECHO)
        lease = _Lease(echo, "", "echo-thing")
        passing = await start(PASSER, provider=Forward(_to(echo, ""), lambda *_: lease))
        converting = await start(PASSER, provider=_to(echo, ""))
        late = await start(PASSER, provider=Forward(_to(echo, "")))
        composed = await start(CALLER, HOST, links=[Link("a", "host", "b")])
        linked = await start(CALLER, provider=_to(await start(HOST), "host"))
        try:
            made = (
                _passthrough("passthrough_call", passing, converting, target=3.0),
                _passthrough("passthrough_call_late", late, converting, target=None),
                _composed(composed, linked),
            )
            yield [case for case in made if case.name in wanted]
        finally:
            for instance in instances:
                instance.close()
            engine.close()


def _to(instance: Instance, interface: str) -> HostImport:
    """Return a host function that calls the function of the same name of another guest."""

    async def call(_interface: str, function: str, args: Sequence[Any]) -> Any:
        return await instance.call(interface, function, args, deadline_s=DEADLINE_S)

    return call


def _passthrough(
    name: str, passing: Instance, converting: Instance, *, target: float | None
) -> Case:
    """Compare calls that pass values on, at once or `late`, when the callee has been waited for."""
    args = [THING, CALLS]

    async def ours() -> None:
        assert await passing.call("", "pass-often", args, deadline_s=DEADLINE_S) == THING

    async def peer() -> None:
        assert await converting.call("", "pass-often", args, deadline_s=DEADLINE_S) == THING

    return Case(
        name=name,
        what="a guest calls one of another program with a record of nine fields, and gets it back",
        ours=ours,
        peer=peer,
        peer_name="the same through values of Python",
        operations=CALLS,
        warm_up=2,
        target=target,
    )


def _composed(composed: Instance, linked: Instance) -> Case:
    async def ours() -> None:
        await composed.call("", "echo-often", [CALLS], deadline_s=DEADLINE_S)

    async def peer() -> None:
        await linked.call("", "echo-often", [CALLS], deadline_s=DEADLINE_S)

    return Case(
        name="composed_call_string",
        what="a guest calls one that it is composed with: a string of 100 bytes in and out",
        ours=ours,
        peer=peer,
        peer_name="the same two linked by a host function",
        operations=CALLS,
        warm_up=2,
        target=60.0,
    )


def _part(name: str, text: str) -> Part:
    body = bytes(wat2wasm(text))
    return Part(name, Digest(f"sha256:{hashlib.sha256(body).hexdigest()}"), body)
