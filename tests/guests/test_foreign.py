"""Components that others built, from a folder that `LATTICE_FOREIGN_GUESTS` names: all that is
claimed for languages whose compilers these tests do not have.

Each file is read, bound, instantiated, and run if it is a command, or asked if it answers HTTP, as
far as its imports allow. A table of what came out is written to `.build/tests/foreign-guests.md`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from hosts.engine.adapting import SERVER
from hosts.engine.base import Instance, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.http.guest import GuestHandler, of_instance
from hosts.standalone import Assembly
from lattice.component.reader import read_component
from lattice.component.satisfying import is_standard
from lattice.errors import GuestTrapError, IncompatibleError, InvalidError, NotFoundError
from lattice.model.ids import Digest
from tests.guests.languages.building import BUILD
from tests.integration.recorded_exchange import RecordedExchange

VARIABLE = "LATTICE_FOREIGN_GUESTS"
FOLDER = os.environ.get(VARIABLE)
FILES = sorted(Path(FOLDER).rglob("*.wasm")) if FOLDER else []

REPORT = BUILD / "foreign-guests.md"

RUN_S = 60.0

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not FOLDER, reason=f"{VARIABLE} names no folder of components"),
]


@pytest.fixture(scope="module")
def report() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    head = "| file | KB | read | load | instantiate | outcome |\n|---|---|---|---|---|---|\n"
    REPORT.write_text(head + "".join(f"{row}\n" for row in rows))


@pytest.fixture
def engine() -> Iterator[WasmtimeEngine]:
    # Compiled in children: a component that brings the compiler to abort ends only a child.
    engine = WasmtimeEngine(BUILD / "code", in_process_bytes_max=0, optimises_later=False)
    yield engine
    engine.close()


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(FOLDER or ".")))
async def test_foreign_component_runs_or_is_refused_with_the_reason(
    file: Path, engine: WasmtimeEngine, report: list[str]
) -> None:
    body = await anyio.Path(file).read_bytes()
    steps: dict[str, str] = {}
    try:
        outcome = await _through(file.name, body, engine, steps)
    except (InvalidError, IncompatibleError) as error:
        outcome = f"refused: {error.message.splitlines()[0]}"
        if isinstance(error, InvalidError) and error.faults:
            outcome += f" ({len(error.faults)}: {error.faults[0]})"
    times = " | ".join(steps.get(name, "") for name in ("read", "load", "instantiate"))
    report.append(f"| {file.name} | {len(body) // 1000} | {times} | {outcome} |")


async def _through(name: str, body: bytes, engine: WasmtimeEngine, steps: dict[str, str]) -> str:
    """Take a component as far as it goes; note what each step took, and return how it ended."""

    def note(step: str, began: float) -> None:
        steps[step] = f"{(time.perf_counter() - began) * 1000:.1f} ms"

    began = time.perf_counter()
    component = read_component(body)
    note("read", began)
    part = Part(name, Digest("sha256:" + hashlib.sha256(body).hexdigest()), body)
    began = time.perf_counter()
    program = await engine.load([part], [])
    note("load", began)
    lines: list[str] = []
    world = World(args=(name,), log=lambda _level, line: lines.append(line))
    began = time.perf_counter()
    absent = [
        import_name
        for import_name, interface in component.imports.items()
        if not is_standard(interface.name) and (interface.functions or import_name)
    ]
    instance = await program.instantiate(dict.fromkeys(absent, _nobody), world)
    note("instantiate", began)
    try:
        if SERVER in program.type.exports:
            outcome = await _ask(instance)
        else:
            outcome = await _run(Assembly((part,), (), component), instance, lines)
    finally:
        instance.close()
    return outcome + (f"; nobody answers for {', '.join(absent)}" if absent else "")


async def _nobody(interface: str, function: str, _args: Sequence[Any]) -> Any:
    raise NotFoundError(f"nobody answers for {interface}#{function}")


async def _ask(instance: Instance) -> str:
    """Ask for the front page, and return what came of it."""
    exchange = RecordedExchange("/", headers=((b"accept", b"*/*"),))
    try:
        await GuestHandler(of_instance(instance), deadline_s=RUN_S)(exchange)
    except GuestTrapError as error:
        return f"asked: {error.message.splitlines()[-1]}"
    return f"answered: {exchange.status}, {exchange.received_bytes} bytes"


async def _run(assembly: Assembly, instance: Instance, lines: list[str]) -> str:
    command = assembly.command
    if command is None:
        return f"instantiated; exports {len(assembly.functions)} functions"
    try:
        value = await instance.call(command.interface, command.function, [], deadline_s=RUN_S)
    except NotFoundError as error:
        ended = error.message
    except GuestTrapError as error:
        status = error.details.get("exit_status")
        ended = error.message.splitlines()[-1] if status is None else f"exit {status}"
    else:
        ended = str(value[0])
    return f"ran: {ended}; {len(lines)} lines of output"
