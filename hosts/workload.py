"""A deployment's generation made ready to run on this host: fetched, resolved, composed, compiled.

Replicas of one generation share it. The host trusts nobody with types: it reads the components
that it runs, resolves them again, and refuses a record that says something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from hosts.artifacts import Artifacts, Hold
from hosts.engine.base import Engine, Link, Part, Program, World
from hosts.engine.pool import Policy
from hosts.once import OncePerKey
from hosts.programs import DroppableProgram, Programs
from lattice.bus.base import Store
from lattice.component.reader import read_component
from lattice.component.resolution import COMPOSED, Resolution
from lattice.component.resolution import Program as ProgramParts
from lattice.component.types import ComponentType, Function
from lattice.component.wiring import resolve
from lattice.errors import IncompatibleError, LatticeError, NotFoundError, first_cause
from lattice.model.deployment import Deployment, Instances, Limits, Service
from lattice.model.ids import Digest
from lattice.model.manifest import parse_deployment
from lattice.model.wit import interface_key
from lattice.wire.codec import decode_as
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import history

PREPARED_MAX = 64
"""Generations that are kept ready; one that is needed again comes from the disk in milliseconds."""

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What every replica of one generation on this host uses."""

    deployment: Deployment
    generation: int
    resolution: Resolution
    programs: Mapping[str, DroppableProgram]  # by the name of the program
    files: Mapping[str, Path]  # by the name in the manifest
    hold: Hold  # keeps these files, and the parts of dropped programs, on the disk

    def lookup(self, interface: str, function: str) -> tuple[str, Function, str]:
        """Return the exact name of an exposed interface, the type of a function in it, and the
        fingerprint of that type.

        Raises:
            NotFoundError: it is not exposed; what is, is listed.
        """
        key = interface_key(interface)
        for name, functions in self.resolution.exposed.items():
            if interface_key(name) == key and function in functions:
                program = self.programs[self.resolution.exposed_by[name]]
                found = program.type.exports[name].functions[function]
                return name, found, functions[function]
        exposed = [
            f"{name}#{each}"
            for name, each_of in self.resolution.exposed.items()
            for each in each_of
        ]
        raise NotFoundError(
            f"{self.deployment.name} does not expose {interface}#{function}, it exposes "
            f"{', '.join(exposed) or 'nothing'}"
        )

    def program_of(self, interface: str) -> str:
        """Return the program that answers for an exposed interface, by its exact name."""
        return self.resolution.exposed_by[interface]

    def world_of(self, service: Service) -> World:
        """Return what a service sees."""
        return World(
            env=service.env,
            config=service.config,
            files={name: self.files[name] for name in service.files},
            memory_bytes_max=service.limits.memory_bytes,
        )

    @property
    def composed_world(self) -> World:
        """Return what the composed components see: the manifest has no two that contradict."""
        components = self.deployment.components
        return World(
            env={k: v for component in components for k, v in component.env.items()},
            config={k: v for component in components for k, v in component.config.items()},
            memory_bytes_max=self.composed_limits.memory_bytes,
        )

    @property
    def composed_limits(self) -> Limits:
        """Return the limits of the composed components, which live and die together.

        Time and calls: the strictest. Memory: the largest, because the engine bounds each of
        their memories by it.
        """
        limits = [component.limits for component in self.deployment.components] or [Limits()]
        return Limits(
            memory_bytes=max(each.memory_bytes for each in limits),
            deadline_s=min(each.deadline_s for each in limits),
            concurrency=min(each.concurrency for each in limits),
            queue=min(each.queue for each in limits),
        )

    @property
    def composed_policy(self) -> Policy:
        """Return how instances of the composed components are kept: the strictest of them wins."""
        wanted = [component.instances for component in self.deployment.components] or [Instances()]
        return Policy(
            mode="reuse" if all(each.mode == "reuse" for each in wanted) else "fresh",
            invocations_max=min(each.invocations_max for each in wanted),
            idle_s=min(each.idle_s for each in wanted),
            ready=min(each.ready for each in wanted),
            concurrency=self.composed_limits.concurrency,
        )

    def start_order(self) -> tuple[str, ...]:
        """Return the services, those that others need first, else as in the manifest."""
        needs: dict[str, list[str]] = {}
        for connection in self.resolution.connections:
            if connection.link is None:
                needs.setdefault(connection.program, []).append(connection.to)
        order: list[str] = []
        seen: set[str] = set()

        def visit(program: str) -> None:
            if program in seen:
                return
            seen.add(program)
            for needed in needs.get(program, ()):
                visit(needed)
            if program != COMPOSED:
                order.append(program)

        for service in self.deployment.services:
            visit(service.name)
        return tuple(order)


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
        programs = {
            program.name: await self._load(program, images, bodies)
            for program in resolution.programs
        }
        return Prepared(
            deployment=deployment,
            generation=generation,
            resolution=resolution,
            programs=programs,
            files=files,
            hold=hold,
        )

    async def _load(
        self, program: ProgramParts, images: Mapping[str, Digest], bodies: Mapping[str, bytes]
    ) -> DroppableProgram:
        """Return a program; when it left memory, its parts come from the disk again."""
        own = {name: images[name] for name in program.parts}

        async def load(bodies: Mapping[str, bytes] | None = None) -> Program:
            if bodies is None:
                bodies = await _gather(own, self._artifacts.get)
            return await self._engine.load(
                [Part(name, own[name], bodies[name]) for name in program.parts],
                [
                    Link(wire.part, wire.interface, wire.to, wire.to_interface)
                    for wire in program.wires
                ],
            )

        return self._programs.add(await load(bodies), load)


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
