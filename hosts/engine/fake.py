"""An engine whose components are plain Python functions, for tests of what drives an engine.

Bodies are real component binaries: types, composition and missing imports are treated as by the
real engine. Only what happens inside is Python: `FakeEngine` looks a part's behaviour up by its
body. No wasm runs, nothing is compiled or cached, and memory is not limited.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio

from hosts.engine import standard
from hosts.engine.base import Capability, Direct, Forward, Import, Link, Part, World
from hosts.engine.compose import compose
from hosts.engine.hostfn import Imported
from hosts.engine.linking import Provision, bind_imports
from hosts.engine.values import Codec
from lattice.component.reader import read_component
from lattice.component.types import ComponentType
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
    LatticeError,
    NotFoundError,
)
from lattice.model.wit import interface_key

FAKE_PROGRAM_BYTES = 64 * 1024
"""What a fake program says to hold in memory: as much as a small real one."""

FakeFunction: TypeAlias = Callable[..., Any]
"""Called with the `FakeGuest` and the arguments; returns the result or an awaitable of it.

An exception that is no `LatticeError` is a trap.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeComponent:
    """What stands in for the code of a component: a function for each export."""

    functions: Mapping[tuple[str, str], FakeFunction]  # by interface and function name
    on_start: FakeFunction | None = None  # runs when an instance is made, as a start section does


@dataclass(slots=True)
class FakeGuest:
    """One part of one instance, as its functions see it."""

    world: World
    call_import: Callable[..., Any]  # await guest.call_import(interface, function, *args)
    state: dict[str, Any] = field(default_factory=dict[str, Any])


class FakeEngine:
    """An `Engine` of fake components, by the bodies that they stand in for."""

    def __init__(self, components: Mapping[bytes, FakeComponent]) -> None:
        self._components = components

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return what the real engine offers."""
        return standard.INTERFACES

    async def load(
        self, parts: Sequence[Part], links: Sequence[Link], *, is_metered: bool = False
    ) -> FakeProgram:
        """Return a program; see `hosts.engine.base.Engine.load`. It counts no fuel in any case."""
        composed = read_component(compose(parts, links))
        for part in parts:
            if part.body not in self._components:
                raise InvalidError(f"part {part.name!r} is no component that this fake knows")
        fakes = {part.name: self._components[part.body] for part in parts}
        types = {part.name: read_component(part.body) for part in parts}
        return FakeProgram(composed, fakes, types, links)

    def close(self) -> None:
        """Do nothing: a fake engine holds nothing."""


class FakeProgram:
    """Fake components joined along links; see `hosts.engine.base.Program`."""

    def __init__(
        self,
        composed: ComponentType,
        fakes: Mapping[str, FakeComponent],
        types: Mapping[str, ComponentType],
        links: Sequence[Link],
    ) -> None:
        self._composed = composed
        self.fakes = fakes
        self._types = types
        self.links = {(link.part, interface_key(link.interface)): link.to for link in links}

    @property
    def type(self) -> ComponentType:
        """Return what remains imported and what is exported after composition."""
        return self._composed

    @property
    def footprint_bytes(self) -> int:
        """Return a size: a fake program holds next to nothing."""
        return FAKE_PROGRAM_BYTES

    async def instantiate(self, imports: Mapping[str, Import], world: World) -> FakeInstance:
        """Return a new instance; see `hosts.engine.base.Program.instantiate`."""
        bound = bind_imports(
            self._composed, {name: Provision.of(each) for name, each in imports.items()}
        )
        own = {
            (interface_key(each.interface), each.function): each
            for interface in bound.values()
            for each in interface
        }
        instance = FakeInstance(self, imports, own, world)
        await instance.start()
        return instance

    def exporter(self, interface: str) -> str:
        """Return the part whose export of an interface is seen; the first one's is."""
        key = interface_key(interface)
        for name, wit in self._types.items():
            if any(interface_key(each) == key for each in wit.exports):
                return name
        raise NotFoundError(f"the component does not export {interface or 'a root function'}")

    def codec(self, part: str, interface: str, function: str) -> Codec:
        """Return how a function of a part converts values.

        Raises:
            NotFoundError: the part does not export it.
        """
        key = interface_key(interface)
        for name, wit in self._types[part].exports.items():
            if interface_key(name) == key and function in wit.functions:
                label = f"{name}#{function}" if name else function
                return Codec(label, wit.functions[function])
        raise NotFoundError(f"{interface or 'the component'} has no function {function}")


class FakeInstance:
    """Fake guests that share one life; see `hosts.engine.base.Instance`."""

    def __init__(
        self,
        program: FakeProgram,
        imports: Mapping[str, Import],
        bound: Mapping[tuple[str, str], Imported],
        world: World,
    ) -> None:
        self._program = program
        self._imports = imports
        self._bound = bound
        self._world = world
        self._guests = {name: self._guest(name) for name in program.fakes}
        self._is_busy = False
        self._is_dead = False

    async def start(self) -> None:
        """Run what the parts do when they are instantiated."""
        for name, fake in self._program.fakes.items():
            if fake.on_start is not None:
                await self._run(fake.on_start, name, [], "the start of the component")

    async def call(
        self, interface: str, function: str, args: Sequence[Any], *, deadline_s: float
    ) -> Any:
        """Return the function's result; see `hosts.engine.base.Instance.call`."""
        if self._is_dead:
            raise ConflictError("the instance takes no call: it is dead")
        if self._is_busy:
            raise ConflictError("a call is running in this instance: it takes one at a time")
        part = self._program.exporter(interface)
        codec = self._program.codec(part, interface, function)
        codec.lower_args(args)
        if deadline_s <= 0:
            raise DeadlineExceededError(f"{codec.name} was not started: no time is left")
        self._is_busy = True
        is_over = False
        try:
            with anyio.move_on_after(deadline_s):
                result = await self._enter(part, interface, function, args)
                is_over = True
                return result
            raise DeadlineExceededError(f"{codec.name} did not return within {deadline_s:g} s")
        finally:
            self._is_busy = False
            if not is_over:
                self._is_dead = True

    @property
    def is_dead(self) -> bool:
        """Tell whether the instance can take no further call."""
        return self._is_dead

    def close(self) -> None:
        """Let the guests and their state go. Idempotent."""
        self._is_dead = True

    def _guest(self, part: str) -> FakeGuest:
        async def call_import(interface: str, function: str, *args: Any) -> Any:
            return await self._call_import(part, interface, function, args)

        return FakeGuest(self._world, call_import)

    async def _enter(self, part: str, interface: str, function: str, args: Sequence[Any]) -> Any:
        """Call a function of a part and check that its result fits the type."""
        codec = self._program.codec(part, interface, function)
        codec.lower_args(args)
        key = interface_key(interface)
        functions = self._program.fakes[part].functions
        found = next(
            (
                each
                for (name, known), each in functions.items()
                if interface_key(name) == key and known == function
            ),
            None,
        )
        if found is None:
            raise NotFoundError(f"the fake part {part!r} has no {codec.name}")
        result = await self._run(found, part, args, codec.name)
        codec.lower_result(result)
        return result

    async def _run(self, run: FakeFunction, part: str, args: Sequence[Any], what: str) -> Any:
        try:
            result = run(self._guests[part], *args)
            return await result if inspect.isawaitable(result) else result
        except LatticeError:
            raise
        except Exception as error:
            # Whatever a guest in Python raises is its trap, as any fault in wasm is.
            raise GuestTrapError(f"{what} trapped: {error!r}") from error

    async def _call_import(
        self, part: str, interface: str, function: str, args: Sequence[Any]
    ) -> Any:
        key = interface_key(interface)
        provider = self._program.links.get((part, key))
        if provider is not None:
            return await self._enter(provider, interface, function, args)
        imported = self._bound.get((key, function))
        if imported is None:
            raise NotFoundError(f"part {part!r} does not import {interface}#{function}")
        if imported.own is not None:
            return imported.own(self._world, args)
        imported.codec.lower_args(args)
        host = self._imports[imported.interface]
        if isinstance(host, Direct):
            result = host.functions[function](*args)
        elif isinstance(host, Capability):
            answer = {**host.direct, **host.waiting}[function](*args)
            result = await answer if inspect.isawaitable(answer) else answer
        elif isinstance(host, Forward):
            result = await _forward(host, imported, args)
        else:
            result = await host(imported.interface, function, args)
        try:
            imported.codec.lower_result(result)
        except InvalidError as error:
            raise IncompatibleError(f"an import was answered wrongly: {error.message}") from None
        return result


async def _forward(host: Forward, imported: Imported, args: Sequence[Any]) -> Any:
    """Call what another instance exports; between fake guests, values are passed as they are."""
    lease = host.claim and host.claim(imported.interface, imported.function)
    if lease is None:
        return await host.call(imported.interface, imported.function, args)
    try:
        return await lease.instance.call(
            lease.interface, lease.function, args, deadline_s=lease.deadline_s
        )
    finally:
        lease.release()
