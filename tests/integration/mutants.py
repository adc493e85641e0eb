"""Loads and runs mutated components in this process: `python mutants.py DIRECTORY SEED COUNT`.

Whatever they are, each ends as a value or an error of ours. A process that dies has told otherwise.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.types import Function
from lattice.errors import LatticeError
from tests.contract.engine.building import part
from tests.guests import components

DEADLINE_S = 0.05
MEMORY_BYTES = 4 * 1024 * 1024


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


def some_arguments(function: Function) -> list[Any]:
    """Return arguments that fit numbers and texts, which is what most of the components take."""
    names = [type(wit).__name__ + getattr(wit, "name", "") for _, wit in function.params]
    return ["text" if "string" in name.lower() else 1 for name in names]


async def run(engine: WasmtimeEngine, body: bytes) -> str:
    """Load one, make an instance, call all it exports; return how that ended."""
    try:
        program = await engine.load([part("a", body)], [])
        instance = await program.instantiate({}, World(memory_bytes_max=MEMORY_BYTES))
    except LatticeError as error:
        return f"refused: {type(error).__name__}"
    outcome = "nothing to call"
    for name, interface in program.type.exports.items():
        for function, wit in interface.functions.items():
            try:
                await instance.call(name, function, some_arguments(wit), deadline_s=DEADLINE_S)
                outcome = "returned"
            except LatticeError as error:
                outcome = f"called: {type(error).__name__}"
            if instance.is_dead:
                return outcome
    instance.close()
    return outcome


async def main(directory: Path, seed: int, count: int) -> None:
    rng = random.Random(seed)
    hostile = components.hostile()
    bodies = [
        components.add(), components.divide(), components.echo(), components.root(),
        components.counter(), components.values(), hostile["bad-results"], hostile["grow-table"],
    ]  # fmt: skip
    engine = WasmtimeEngine(directory)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        outcomes[await run(engine, mutated(rng, rng.choice(bodies)))] += 1
    engine.close()
    sys.stdout.write("\n".join(f"{n:7} {name}" for name, n in outcomes.most_common()) + "\n")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
