"""A deployment's generation made ready to run on this host: fetched, resolved, composed, compiled.

Replicas of one generation share it. The host trusts nobody with types: it reads the components
that it runs, resolves them again, and refuses a record that says something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread

from hosts.artifacts import Artifacts
from hosts.engine.adapting import SERVER
from hosts.engine.base import Engine, Link, Part, Program
from hosts.http.outlets import sends_requests
from hosts.once import OncePerKey
from hosts.prepared import Prepared
from hosts.programs import DroppableProgram, Programs
from lattice.bus.base import Store
from lattice.component.reader import read_component
from lattice.component.resolution import Program as ProgramParts
from lattice.component.resolution import Resolution
from lattice.component.types import ComponentType
from lattice.component.wiring import resolve
from lattice.errors import IncompatibleError, LatticeError, NotFoundError, first_cause
from lattice.model.ids import Digest
from lattice.model.manifest import parse_deployment
from lattice.wire.codec import decode_as
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import history

PREPARED_MAX = 64
"""Generations that are kept ready; one that is needed again comes from the disk in milliseconds."""

S = TypeVar("S")
T = TypeVar("T")


class Workloads:
    """Prepares generations, each once, and keeps the last ones used."""

    def __init__(
        self,
        *,
        control: Store,
        artifacts: Artifacts,
        engine: Engine,
        programs: Programs | None = None,
    ) -> None:
        self._control = control
        self._artifacts = artifacts
        self._engine = engine
        self._programs = programs or Programs()
        self._prepared: dict[tuple[str, int], Prepared] = {}
        self._once = OncePerKey[tuple[str, int]]()

    async def prepare(self, deployment: str, generation: int) -> Prepared:
        """Return a generation ready to run. Replicas that ask together share the work.

        Raises:
            NotFoundError: the generation, or an artifact that it names, is not in the lattice.
            InvalidError: a component is malformed, or the parts do not fit together.
            IncompatibleError: what it exposes is not what the record promises.
        """
        key = (deployment, generation)
        async with self._once.turn(key):
            found = self._prepared.pop(key, None) or await self._prepare(deployment, generation)
            self._prepared[key] = found
        for old in tuple(self._prepared)[:-PREPARED_MAX]:
            del self._prepared[old]
        return found

    async def _prepare(self, name: str, generation: int) -> Prepared:
        entry = await self._control.get(history(name, generation))
        if entry is None or entry.value is None:
            raise NotFoundError(
                f"generation {generation} of {name} is not in the lattice; apply it again"
            )
        record = decode_as(DeploymentRecord, entry.value)
        deployment = parse_deployment(record.manifest)
        images = {part.name: Digest(part.image) for part in deployment.parts}
        sources = {file.name: Digest(file.source) for file in deployment.files}
        hold = self._artifacts.hold((*images.values(), *sources.values()))
        bodies = await _gather(images, self._artifacts.get)
        files = await _gather(sources, self._artifacts.path)
        types = await _gather(bodies, _read)
        resolution = resolve(deployment, types)
        _require_promised(record, resolution)
        lazy = {each.name for each in deployment.components if each.compose == "lazy"}
        metered = {part.name for part in deployment.parts if part.limits.fuel}
        programs = {
            program.name: self._cold(program, images, types[program.name], metered)
            if program.name in lazy
            else await self._load(program, images, bodies, metered)
            for program in _handler_first(resolution)
        }
        return Prepared(
            deployment=deployment,
            generation=generation,
            resolution=resolution,
            programs=programs,
            files=files,
            hold=hold,
            exporters=_exporters(resolution, types),
            senders=frozenset(
                program.name
                for program in resolution.programs
                if any(sends_requests(types[part]) for part in program.parts)
            ),
        )

    async def _load(
        self,
        program: ProgramParts,
        images: Mapping[str, Digest],
        bodies: Mapping[str, bytes],
        metered: Collection[str],
    ) -> DroppableProgram:
        """Return a program; when it left memory, its parts come from the disk again.

        The fuel of a program is counted when one of its parts is among `metered`.
        """
        loaded = await self._engine.load(
            *_composition(program, images, bodies),
            is_metered=not set(program.parts).isdisjoint(metered),
        )
        return self._programs.add(loaded, partial(self._load_again, program, images, metered))

    def _cold(
        self,
        program: ProgramParts,
        images: Mapping[str, Digest],
        component: ComponentType,
        metered: Collection[str],
    ) -> DroppableProgram:
        """Return a program of one part that is compiled and loaded when it is first called."""
        load = partial(self._load_again, program, images, metered)
        return self._programs.add_cold(component, load)

    async def _load_again(
        self, program: ProgramParts, images: Mapping[str, Digest], metered: Collection[str]
    ) -> Program:
        own = {name: images[name] for name in program.parts}
        bodies = await _gather(own, self._artifacts.get)
        return await self._engine.load(
            *_composition(program, images, bodies),
            is_metered=not set(program.parts).isdisjoint(metered),
        )


def _handler_first(resolution: Resolution) -> list[ProgramParts]:
    """Return the programs; the part that answers HTTP is the first of its program.

    The engine takes the first part that can answer for the one that does.
    """
    answers = resolution.http.part if resolution.http else ""
    return [
        replace(each, parts=tuple(sorted(each.parts, key=lambda part: part != answers)))
        for each in resolution.programs
    ]


def _composition(
    program: ProgramParts, images: Mapping[str, Digest], bodies: Mapping[str, bytes]
) -> tuple[list[Part], list[Link]]:
    parts = [Part(name, images[name], bodies[name]) for name in program.parts]
    links = [Link(wire.part, wire.interface, wire.to, wire.to_interface) for wire in program.wires]
    return parts, links


def _exporters(
    resolution: Resolution, types: Mapping[str, ComponentType]
) -> dict[tuple[str, str, str], str]:
    """Return which part of a program answers for a function: the first that exports it."""
    found: dict[tuple[str, str, str], str] = {}
    for program in resolution.programs:
        for part in program.parts:
            for interface, exported in types[part].exports.items():
                for function in exported.functions:
                    found.setdefault((program.name, interface, function), part)
    if resolution.http is not None:
        found[resolution.http.program, SERVER, "handle"] = resolution.http.part
    return found


def _require_promised(record: DeploymentRecord, resolution: Resolution) -> None:
    found = {name: dict(functions) for name, functions in resolution.exposed.items()}
    if found != record.exposed:
        raise IncompatibleError(
            f"{record.name} generation {record.generation} exposes {_listed(found)}, its record "
            f"promises {_listed(record.exposed)}; apply it again with this release",
            expected=record.exposed,
            found=found,
        )


def _listed(exposed: Mapping[str, Collection[str]]) -> str:
    return ", ".join(f"{name}#{f}" for name, functions in exposed.items() for f in functions)


async def _read(body: bytes) -> ComponentType:
    # On a thread, because a hostile binary may take a second to be refused.
    return await to_thread.run_sync(read_component, body)


async def _gather(wanted: Mapping[str, S], get: Callable[[S], Awaitable[T]]) -> dict[str, T]:
    """Return what `get` gives for each value, by name, side by side; the first error ends all."""
    found: dict[str, T] = {}

    async def one(name: str, value: S) -> None:
        found[name] = await get(value)

    try:
        async with anyio.create_task_group() as group:
            for name, value in wanted.items():
                group.start_soon(one, name, value)
    except* LatticeError as failures:
        raise first_cause(failures) from None
    return found
