"""Loads and runs mutated components in this process: `python -m ... DIRECTORY SEED FIRST LAST`.

Whatever they are, each ends as a value or an error of ours. A process that dies has told otherwise.
Each mutant follows from the seed and its number alone.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
from wasmtime import wat2wasm

from hosts.engine.base import Direct, Import, Link, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.types import Function
from lattice.errors import LatticeError
from tests.contract.engine.building import COUNTER, HELLO, part
from tests.guests import components, relays

DEADLINE_S = 0.05
MEMORY_BYTES = 4 * 1024 * 1024
BATCH = 500
"""Mutants that share an engine and its cache directory, which then is emptied."""

RELAYED = "test:relay/stage1@0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is mutated: some parts and the links between them; chosen `weight` times in all."""

    weight: int
    bodies: tuple[bytes, ...]
    links: tuple[Link, ...] = ()
    is_padded: bool = False  # so large that it starts with baseline code


@cache
def kinds() -> tuple[Kind, ...]:
    """Return what is mutated; rarely what takes long to compile, or ends the compiler."""
    hostile = components.hostile()
    single = [
        components.add(), components.divide(), components.echo(), components.root(),
        components.counter(), components.values(), components.waiter(), components.greeter(),
        hostile["bad-results"], hostile["grow-table"], hostile["trap-at-birth"], _relay(1, 2),
    ]  # fmt: skip
    greeting = (components.greeter(), components.hello()), (Link("a", HELLO, "b"),)
    drawing = (components.ticket(), components.counter()), (Link("a", COUNTER, "b"),)
    relaying = (_relay(0, 1), _relay(1, 2)), (Link("a", RELAYED, "b"),)
    return (
        *(Kind(weight=60, bodies=(body,)) for body in single),
        *(Kind(weight=100, bodies=bodies, links=links) for bodies, links in (greeting, drawing)),
        Kind(weight=70, bodies=relaying[0], links=relaying[1]),
        # One instance type for two imports: nested, it would end the compiler.
        Kind(weight=30, bodies=(_labelled(), components.hello())),
        Kind(weight=10, bodies=(components.talker(),)),
        Kind(weight=10, bodies=(components.echo(),), is_padded=True),
        Kind(weight=2, bodies=(components.ends_the_validator(),)),
    )


def mutant(seed: int, number: int) -> tuple[list[Part], tuple[Link, ...]]:
    """Return the parts of a mutant, all or some of them changed, and its links."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choices(kinds(), [each.weight for each in kinds()])[0]
    chosen = rng.randrange(len(kind.bodies) + 1)  # one of them, or all
    bodies = [
        mutated(rng, body) if chosen in (index, len(kind.bodies)) else body
        for index, body in enumerate(kind.bodies)
    ]
    if kind.is_padded:
        bodies = [components.padded(body) for body in bodies]
    return [part("ab"[index], body) for index, body in enumerate(bodies)], kind.links


def mutated(rng: random.Random, body: bytes) -> bytes:
    """Return the component with some bytes changed, rarely put in or left out.

    Few changes, because what is valid still goes deeper than what is refused at once.
    """
    content = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        at = rng.randrange(8, len(content))
        match rng.randrange(12):
            case 0:
                content.insert(at, rng.randrange(256))
            case 1:
                del content[at]
            case 2 | 3 | 4:
                content[at] = rng.randrange(256)
            case 5 | 6 | 7:
                content[at] = (content[at] + rng.choice((-1, 1))) % 256
            case _:
                content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


async def attempt(engine: WasmtimeEngine, parts: Sequence[Part], links: Sequence[Link]) -> str:
    """Load a mutant, make an instance, call all it exports; return how that ended."""
    try:
        program = await engine.load(parts, links)
        imports: dict[str, Import] = dict.fromkeys(program.type.imports, _answer)
        for name in list(imports)[::2]:
            functions = program.type.imports[name].functions
            imports[name] = Direct(dict.fromkeys(functions, _answer_at_once))
        instance = await program.instantiate(imports, World(memory_bytes_max=MEMORY_BYTES))
    except LatticeError as error:
        return f"refused: {type(error).__name__}"
    outcome = "nothing to call"
    for name, interface in program.type.exports.items():
        for function, wit in interface.functions.items():
            try:
                await instance.call(name, function, _arguments(wit), deadline_s=DEADLINE_S)
                outcome = "returned"
            except LatticeError as error:
                outcome = f"called: {type(error).__name__}"
            if instance.is_dead:
                return outcome
    instance.close()
    return outcome


async def main(directory: Path, seed: int, first: int, last: int, *, is_host: bool) -> None:
    """Try mutants, and write a line for each of them, how it ended, as soon as it has.

    This process compiles itself, which is fifty times faster than a child for each: what ends it is
    then to be tried as a host does, which compiles in children.
    """
    in_process_bytes_max = 0 if is_host else 1 << 20
    for start in range(first, last, BATCH):
        cache_directory = directory / f"cache-{start}"
        engine = WasmtimeEngine(cache_directory, in_process_bytes_max=in_process_bytes_max)
        for number in range(start, min(start + BATCH, last)):
            outcome = await attempt(engine, *mutant(seed, number))
            os.write(sys.stdout.fileno(), f"{outcome}\n".encode())
        engine.close()
        # Code that was compiled in the background may still be on its way into it.
        shutil.rmtree(cache_directory, ignore_errors=True)


async def _answer(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0] if args else 1


def _answer_at_once(*args: Any) -> Any:
    return args[0] if args else 1


def _arguments(function: Function) -> list[Any]:
    """Return arguments that fit numbers and texts, which is what most of the components take."""
    names = [type(wit).__name__ + getattr(wit, "name", "") for _, wit in function.params]
    return ["text" if "string" in name.lower() else 1 for name in names]


def _relay(stage: int, imported: int) -> bytes:
    """Return a component that passes on values of random types, bytes among them."""
    types = relays.Types(f"test:relay/stage{imported}@0.1.0", seed=7)
    functions = {"f": types.make(3), "g": relays.BYTES}
    return relays.relay(types, functions, exports=f"test:relay/stage{stage}@0.1.0")


def _labelled() -> bytes:
    """Return a component with two labelled imports, of types that are alike but not the same.

    A changed byte makes them one type, which ends the compiler when the component is nested.
    """
    store = """(instance
        (type $item' (record (field "data" (list u8))))
        (export "item" (type $item (eq $item')))
        (export "get" (func (param "keys" (list u8)) (result (list u8)))))"""
    text = f"""(component
      (type $first {store})
      (type $second {store})
      (import "primary" (implements "lib:kv/store@0.1.0") (instance (type $first)))
      (import "secondary" (implements "lib:kv/store@0.1.0") (instance (type $second))))"""
    return bytes(wat2wasm(text))


if __name__ == "__main__":
    folder, *numbers = sys.argv[1:5]
    anyio.run(partial(main, Path(folder), *map(int, numbers), is_host=sys.argv[5:] == ["host"]))
