"""A deployment's generation as this host runs it: its programs, and what holds for each of them.

Plain facts for the replicas of the generation; nothing here fetches, compiles or calls.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hosts.artifacts import Hold
from hosts.engine.base import World
from hosts.engine.pool import Policy
from hosts.programs import DroppableProgram
from lattice.component.resolution import Resolution
from lattice.component.types import Function
from lattice.errors import NotFoundError
from lattice.model.deployment import Component, Deployment, Instances, Limits, Service
from lattice.model.network import NOTHING
from lattice.model.wit import interface_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What every replica of one generation on this host uses."""

    deployment: Deployment
    generation: int
    resolution: Resolution
    programs: Mapping[str, DroppableProgram]  # by the name of the program
    files: Mapping[str, Path]  # by the name in the manifest
    hold: Hold  # keeps these files, and the parts of dropped programs, on the disk
    exporters: Mapping[tuple[str, str, str], str] = field(
        default_factory=dict[tuple[str, str, str], str]
    )  # program, interface, function -> the part that answers
    senders: frozenset[str] = frozenset()  # programs that send requests over HTTP

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
            f"{self.deployment.name} does not expose {key}#{function}, it exposes "
            f"{', '.join(exposed) or 'nothing'}"
        )

    def program_of(self, interface: str) -> str:
        """Return the program that answers for an exposed interface, by its exact name."""
        return self.resolution.exposed_by[interface]

    def part_of(self, program: str, interface: str, function: str) -> str:
        """Return the part of a program that exports a function, for people to read."""
        return self.exporters.get((program, interface, function), program)

    def parts_of(self, program: str) -> tuple[Component | Service, ...]:
        """Return the parts that a program consists of."""
        wanted = next(each for each in self.resolution.programs if each.name == program).parts
        return tuple(part for part in self.deployment.parts if part.name in wanted)

    def world_of(self, program: str) -> World:
        """Return what a program sees, but for its directories, which each replica has.

        Of composed components, no two want contrary things.
        """
        parts = self.parts_of(program)
        # As with any command, the first argument is a name.
        name = parts[0].name if len(parts) == 1 else str(self.deployment.name)
        return World(
            args=(name, *next((part.args for part in parts if part.args), ())),
            env={k: v for part in parts for k, v in part.env.items()},
            config={k: v for part in parts for k, v in part.config.items()},
            files={
                name: self.files[name]
                for part in parts
                if isinstance(part, Service)
                for name in part.files
            },
            memory_bytes_max=self.limits_of(program).memory_bytes,
            fuel_max=self.limits_of(program).fuel,
            network=functools.reduce(operator.or_, (part.network for part in parts), NOTHING),
        )

    def limits_of(self, program: str) -> Limits:
        """Return the limits of a program; composed components live and die together.

        Time and calls: the strictest. Memory: the largest, because the engine bounds each of
        their memories by it.
        """
        limits = [part.limits for part in self.parts_of(program)]
        return Limits(
            memory_bytes=max(each.memory_bytes for each in limits),
            deadline_s=min(each.deadline_s for each in limits),
            concurrency=min(each.concurrency for each in limits),
            queue=min(each.queue for each in limits),
            fuel=min((each.fuel for each in limits if each.fuel), default=0),
        )

    def policy_of(self, program: str) -> Policy:
        """Return how instances of a stateless program are kept: the strictest of its parts wins."""
        parts = self.parts_of(program)
        wanted = [each.instances if isinstance(each, Component) else Instances() for each in parts]
        return Policy(
            mode="reuse" if all(each.mode == "reuse" for each in wanted) else "fresh",
            invocations_max=min(each.invocations_max for each in wanted),
            idle_s=min(each.idle_s for each in wanted),
            ready=min(each.ready for each in wanted),
            concurrency=self.limits_of(program).concurrency,
        )

    @property
    def stateless(self) -> tuple[str, ...]:
        """Return the programs of components: what is composed, and each lazy one."""
        services = {service.name for service in self.deployment.services}
        return tuple(each.name for each in self.resolution.programs if each.name not in services)

    def reaches(self, program: str, other: str) -> bool:
        """Tell whether calls of a program may lead to the other one within the workload."""
        needs = self._needs()
        seen: set[str] = set()
        stack = [program]
        while stack:
            for needed in needs.get(stack.pop(), ()):
                if needed == other:
                    return True
                if needed not in seen:
                    seen.add(needed)
                    stack.append(needed)
        return False

    def start_order(self) -> tuple[str, ...]:
        """Return the services, those that others need first, else as in the manifest."""
        needs = self._needs()
        services = {service.name for service in self.deployment.services}
        order: list[str] = []
        seen: set[str] = set()

        def visit(program: str) -> None:
            if program in seen:
                return
            seen.add(program)
            for needed in needs.get(program, ()):
                visit(needed)
            if program in services:
                order.append(program)

        for service in self.deployment.services:
            visit(service.name)
        return tuple(order)

    def _needs(self) -> dict[str, list[str]]:
        needs: dict[str, list[str]] = {}
        for connection in self.resolution.connections:
            if connection.link is None:
                needs.setdefault(connection.program, []).append(connection.to)
        return needs
