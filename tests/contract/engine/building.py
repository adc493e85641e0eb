"""The components of the engine's contract: their bodies, and what stands in for them in Python."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from hosts.engine.base import Engine, Import, Instance, Link, Part, World
from hosts.engine.fake import FakeComponent, FakeFunction, FakeGuest
from lattice.model.ids import Digest
from tests.guests import components

ADD = "test:math/add@0.1.0"
DIVIDE = "test:math/divide@0.1.0"
ECHO = "test:text/echo@0.1.0"
HELLO = "test:hello/greet@0.1.0"
WELCOME = "test:greeter/welcome@0.1.0"
COUNTER = "test:counter/counter@0.1.0"
TICKET = "test:ticket/ticket@0.1.0"
GATE = "test:host/gate@0.1.0"
VALUES = "test:values/echo@0.1.0"
RUN = components.RUN

NO_IMPORTS: Mapping[str, Import] = {}


def part(name: str, body: bytes) -> Part:
    return Part(name, Digest("sha256:" + hashlib.sha256(body).hexdigest()), body)


async def start(
    engine: Engine,
    *bodies: bytes,
    links: Sequence[Link] = (),
    imports: Mapping[str, Import] = NO_IMPORTS,
    world: World | None = None,
) -> Instance:
    """Return an instance of the bodies, which are named `a`, `b` and so on."""
    parts = [part(chr(ord("a") + index), body) for index, body in enumerate(bodies)]
    program = await engine.load(parts, links)
    return await program.instantiate(imports, world or World())


def _echo(_guest: FakeGuest, value: Any) -> Any:
    return value


def _divide(_guest: FakeGuest, a: int, b: int) -> Any:
    return ["ok", int(a / b)] if b else ["err", "division by zero"]


async def _welcome(guest: FakeGuest, name: str) -> Any:
    return await guest.call_import(HELLO, "greet", name)


def _next(guest: FakeGuest) -> int:
    guest.state["count"] = guest.state.get("count", 0) + 1
    return int(guest.state["count"])


def _starts(guest: FakeGuest) -> int:
    return int(guest.state.get("starts", 0))


def _start(guest: FakeGuest) -> None:
    guest.state["starts"] = guest.state.get("starts", 0) + 1


async def _draw(guest: FakeGuest) -> int:
    return int(await guest.call_import(COUNTER, "next")) + 1


async def _wait(guest: FakeGuest) -> int:
    return sum([int(await guest.call_import(GATE, "wait", ticket)) for ticket in (1, 2, 3)])


async def _ask_next(guest: FakeGuest) -> int:
    return int(await guest.call_import(RUN, "run")) + 1


async def _spin(_guest: FakeGuest) -> int:
    await anyio.sleep_forever()
    return 0


def _trap(_guest: FakeGuest, *_args: object) -> Any:
    raise RuntimeError("wasm `unreachable` instruction executed")


def fakes() -> dict[bytes, FakeComponent]:
    """Return what stands in for each component of the contract."""
    hostile = components.hostile()
    functions: Mapping[bytes, Mapping[tuple[str, str], FakeFunction]] = {
        components.add(): {(ADD, "add"): lambda _, a, b: (a + b) % 2**32},
        components.divide(): {(DIVIDE, "divide"): _divide},
        components.echo(): {(ECHO, "echo"): _echo},
        components.root(): {("", "add"): lambda _, a, b: a + b, ("", "answer"): lambda _: 42},
        components.hello(): {(HELLO, "greet"): lambda _, name: f"Hello, {name}!"},
        components.greeter(): {(WELCOME, "welcome"): _welcome},
        components.counter(): {
            (COUNTER, "start"): _start,
            (COUNTER, "next"): _next,
            (COUNTER, "starts"): _starts,
            (COUNTER, "fail"): _trap,
        },
        components.ticket(): {(TICKET, "draw"): _draw},
        components.waiter(): {(RUN, "run"): _wait},
        components.values(): {
            (VALUES, name): _echo
            for name in ("bool", "u8", "char", "string", "bytes", "record", "variant", "enum",
                         "flags", "option", "options", "result", "tuple", "numbers", "nested")
        },
        hostile["calls-itself"]: {(RUN, "run"): _ask_next},
        hostile["spin"]: {(RUN, "run"): _spin},
        hostile["trap"]: {(RUN, "run"): _trap},
        hostile["wrong-type"]: {(HELLO, "greet"): _trap},
        hostile["missing-import"]: {(RUN, "run"): _trap},
    }  # fmt: skip
    known = {body: FakeComponent(functions=each) for body, each in functions.items()}
    known[hostile["trap-at-birth"]] = FakeComponent(functions={}, on_start=_trap)
    return known
