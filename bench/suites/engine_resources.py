"""Resources of the host in guests, against what wasmtime's Python package does itself."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wasmtime import Engine as PeerEngine
from wasmtime import Store, wat2wasm
from wasmtime.component import Component, Linker, ResourceHost, ResourceType

from bench.case import Case
from hosts.engine.base import Capability, Instance, Part, Resource, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = ("import_resource_method", "import_resource_life")

DEADLINE_S = 60.0
CALLS = 2000  # of the host, in one call of the guest

KEEPER = """
(component
  (import "host" (instance $host
    (export "thing" (type $thing (sub resource)))
    (export "[constructor]thing" (func (param "value" u32) (result (own $thing))))
    (export "[method]thing.get" (func (param "self" (borrow $thing)) (result u32)))))
  (alias export $host "thing" (type $thing))
  (core func $new (canon lower (func $host "[constructor]thing")))
  (core func $get (canon lower (func $host "[method]thing.get")))
  (core func $drop (canon resource.drop $thing))
  (core module $code
    (import "host" "new" (func $new (param i32) (result i32)))
    (import "host" "get" (func $get (param i32) (result i32)))
    (import "host" "drop" (func $drop (param i32)))
    (func (export "get-often") (param $n i32) (result i32) (local $handle i32) (local $sum i32)
      (local.set $handle (call $new (i32.const 1)))
      (loop $again
        (local.set $sum (i32.add (local.get $sum) (call $get (local.get $handle))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (call $drop (local.get $handle))
      (local.get $sum))
    (func (export "make-often") (param $n i32) (result i32) (local $handle i32) (local $sum i32)
      (loop $again
        (local.set $handle (call $new (i32.const 1)))
        (local.set $sum (i32.add (local.get $sum) (call $get (local.get $handle))))
        (call $drop (local.get $handle))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $sum)))
  (core instance $it (instantiate $code (with "host" (instance
    (export "new" (func $new)) (export "get" (func $get)) (export "drop" (func $drop))))))
  (func (export "get-often") (param "n" u32) (result u32)
    (canon lift (core func $it "get-often")))
  (func (export "make-often") (param "n" u32) (result u32)
    (canon lift (core func $it "make-often")))
)
"""
"""Calls a method of a resource of the host so often, or makes, uses and drops so many of them."""


class _Thing:
    """What the guest has a handle of."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        body = bytes(wat2wasm(KEEPER))
        digest = Digest(f"sha256:{hashlib.sha256(body).hexdigest()}")
        program = await engine.load([Part("guest", digest, body)], [])
        instance = await program.instantiate({"host": _capability()}, World())
        try:
            made = (
                _case(
                    "import_resource_method", "a guest calls a method of a resource of the host",
                    instance, "get-often", target=9.0,
                ),
                _case(
                    "import_resource_life", "a guest makes such a resource, uses and drops it",
                    instance, "make-often", target=None,
                ),
            )  # fmt: skip
            yield [case for case in made if case.name in wanted]
        finally:
            instance.close()
            engine.close()


def _capability() -> Capability:
    return Capability(
        {"[constructor]thing": _Thing, "[method]thing.get": lambda thing: thing.value},
        resources={"thing": Resource(_Thing)},
    )


def _case(name: str, what: str, instance: Instance, function: str, target: float | None) -> Case:
    peer, store = _peer(function)

    async def ours() -> None:
        assert await instance.call("", function, [CALLS], deadline_s=DEADLINE_S) == CALLS

    return Case(
        name=name,
        what=what,
        ours=ours,
        peer=lambda: peer(store, CALLS),
        peer_name="wasmtime-py's add_func and add_resource",
        operations=CALLS,
        warm_up=2,
        target=target,
    )


def _peer(function: str) -> tuple[Any, Store]:
    engine = PeerEngine()
    linker = Linker(engine)
    with linker.root() as root, root.add_instance("host") as host:
        host.add_resource("thing", ResourceType.host(1), lambda _store, _rep: None)
        host.add_func("[constructor]thing", lambda _store, value: ResourceHost.own(value, 1))
        host.add_func("[method]thing.get", lambda store, thing: thing.to_host(store).rep)
    store = Store(engine)
    found = linker.instantiate(store, Component(engine, bytes(wat2wasm(KEEPER))))
    called = found.get_func(store, function)
    assert called is not None, "the guest exports it"
    return called, store
