"""Calls into guests and out of them, against what wasmtime's Python package does itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wasmtime import Engine as PeerEngine
from wasmtime import Store, wat2wasm
from wasmtime.component import Component, Linker, Record, Variant

from bench.case import Case
from bench.guests import CALLER, ECHO
from hosts.engine.base import Direct, Import, Instance, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest

CASES = (
    "call_add",
    "call_string_100",
    "call_record_nested",
    "call_list_record_1000",
    "import_add",
    "import_string",
    "suspend",
)

DEADLINE_S = 60.0
IMPORTED_CALLS = 2000  # in one call of the guest
HOPS = 100

POINT = {"x": 1, "y": 2.5, "s": "here"}
THING = {
    "id": 7,
    "name": "a name",
    "kind": ["c", "text"],
    "alt": ["b", 3],
    "note": "a note",
    "at": POINT,
    "ok": ["ok", 9],
    "tags": ["red", "green", "blue"],
    "flag": True,
}

Peer = Callable[..., Any]


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        engine = WasmtimeEngine(Path(folder))
        direct = Direct({"add": lambda a, b: a + b, "echo": lambda text: text})
        echo = await _instance(engine, ECHO, {})
        caller = await _instance(engine, CALLER, {"host": direct})
        waiting = await _instance(engine, CALLER, {"host": _suspend})
        try:
            made = (*_calls(echo), *_imports(caller), _suspending(waiting))
            yield [case for case in made if case.name in wanted]
        finally:
            for instance in (echo, caller, waiting):
                instance.close()
            engine.close()


def _calls(instance: Instance) -> Sequence[Case]:
    peer, store = _peer(ECHO)
    point = _record(POINT)
    # Where the cases of a variant differ in type, the peer wants the payload alone.
    known = {"kind": "text", "alt": Variant("some", 3), "at": point, "ok": 9}
    thing = _record({**THING, **known})
    points = [POINT] * 1000

    def case(name: str, what: str, function: str, ours: Any, peers: Any, **more: Any) -> Case:
        calls = more.pop("calls")
        called = peer(function)

        async def call() -> None:
            for _ in range(calls):
                await instance.call("", function, ours, deadline_s=DEADLINE_S)

        def call_peer() -> None:
            for _ in range(calls):
                called(store, *peers)

        return Case(
            name=name,
            what=what,
            ours=call,
            peer=call_peer,
            peer_name="wasmtime-py's call of the same function",
            operations=calls,
            warm_up=2,
            **more,
        )

    return (
        case("call_add", "two u32 in, one out", "add", [1, 2], [1, 2], calls=1000, target=8.0),
        case(
            "call_string_100", "a string of 100 bytes in and out", "echo-string",
            ["x" * 100], ["x" * 100], calls=1000, target=6.0,
        ),
        case(
            "call_record_nested", "a record of nine fields, some nested, in and out", "echo-thing",
            [THING], [thing], calls=50, target=25.0,
        ),
        case(
            "call_list_record_1000", "a thousand records of three fields in and out",
            "echo-points", [points], [[point] * 1000], calls=1, target=20.0,
        ),
    )  # fmt: skip


def _imports(instance: Instance) -> Sequence[Case]:
    peer, store = _peer(CALLER)

    def case(name: str, what: str, function: str, target: float) -> Case:
        called = peer(function)

        async def call() -> None:
            await instance.call("", function, [IMPORTED_CALLS], deadline_s=DEADLINE_S)

        return Case(
            name=name,
            what=what,
            ours=call,
            peer=lambda: called(store, IMPORTED_CALLS),
            peer_name="wasmtime-py's add_func",
            operations=IMPORTED_CALLS,
            warm_up=2,
            target=target,
        )

    return (
        case("import_add", "a guest calls the host's add of two u32", "add-often", 15.0),
        case("import_string", "a guest has the host echo 100 bytes", "echo-often", 8.0),
    )


def _suspending(instance: Instance) -> Case:
    async def call() -> None:
        await instance.call("", "add-often", [HOPS], deadline_s=DEADLINE_S)

    async def hop() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(HOPS):
            await loop.run_in_executor(None, int)

    return Case(
        name="suspend",
        what="a guest calls a host function that waits for one turn of the event loop",
        ours=call,
        peer=hop,
        peer_name="run_in_executor of a function that does nothing, one at a time",
        operations=HOPS,
        warm_up=2,
        target=5.0,
    )


async def _suspend(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    await asyncio.sleep(0)
    return args[0] + args[1]


async def _instance(engine: WasmtimeEngine, text: str, imports: Mapping[str, Import]) -> Instance:
    body = bytes(wat2wasm(text))
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    program = await engine.load([Part("guest", digest, body)], [])
    return await program.instantiate(imports, World())


def _peer(text: str) -> tuple[Callable[[str], Peer], Store]:
    """Return how the peer finds a function of the component, and its store."""
    engine = PeerEngine()
    linker, store = Linker(engine), Store(engine)
    if text is CALLER:
        with linker.root() as root, root.add_instance("host") as host:
            host.add_func("add", lambda _store, a, b: a + b)
            host.add_func("echo", lambda _store, text: text)
    instance = linker.instantiate(store, Component(engine, wat2wasm(text)))

    def find(name: str) -> Peer:
        function = instance.get_func(store, name)
        assert function is not None, f"the component exports {name}"
        return function

    return find, store


def _record(fields: Mapping[str, Any]) -> Record:
    record = Record()
    for name, value in fields.items():
        setattr(record, name, value)
    return record
