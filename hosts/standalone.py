"""Runs components alone: no lattice, no bus, no replica; one instance, which lives for one call.

Links the files, finds what is to be called, and calls it. Nothing is granted but what the world
names. Words of a command line and exit statuses are the caller's matter (`lattice.cli.verb_run`).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from hosts.bytestream import of_process, stream_imports
from hosts.engine.adapting import OUTGOING
from hosts.engine.base import Engine, Link, Part, World
from lattice.component.fingerprint import nearest
from lattice.component.programs import RUN_FUNCTION, RUN_KEY
from lattice.component.reader import callable_exports, read_component
from lattice.component.satisfying import ByPart, Import, Unsatisfied, source_of
from lattice.component.signature import function_type
from lattice.component.types import ComponentType, Function
from lattice.errors import InvalidError, NotFoundError
from lattice.model.deployment import Component, Deployment, Wire
from lattice.model.ids import DeploymentName, Digest
from lattice.model.wit import interface_fits, interface_key, split_operation
from lattice.wire.values import args_from_json

SHOWN_MAX = 50
"""Functions that an error lists."""

_ADVICE = "add a component that exports it"
_ADVICE_WASI = "of WASI there is version 0.2 here"


@dataclass(frozen=True, slots=True)
class Choice:
    """One exported function; `interface` is `""` at the root of the component."""

    interface: str
    function: str
    type: Function

    def __str__(self) -> str:
        return f"{self.interface}#{self.function}" if self.interface else self.function

    @property
    def signature(self) -> str:
        """Return its name and type as WIT writes them."""
        return f"{self}: {function_type(self.type)}"


@dataclass(frozen=True, slots=True)
class Assembly:
    """Components that fit together. The first part is the one whose exports are called."""

    parts: tuple[Part, ...]
    links: tuple[Link, ...]
    type: ComponentType  # of the first part
    sends_requests: bool = False  # over HTTP, be it by another part
    streams_bytes: bool = False  # by `lattice:streams/bytes`, likewise

    @property
    def command(self) -> Choice | None:
        """Return the `run` of `wasi:cli/run@0.2`; None when the component is no command."""
        for choice in self.functions:
            if interface_key(choice.interface) == RUN_KEY and choice.function == RUN_FUNCTION:
                return choice
        return None

    @property
    def functions(self) -> tuple[Choice, ...]:
        """Return what can be called, in the order of the binary."""
        return tuple(
            Choice(name, function, type_)
            for name, interface in callable_exports(self.type).items()
            for function, type_ in interface.functions.items()
        )

    @property
    def unused(self) -> tuple[str, ...]:
        """Return the parts that the first one does not need, not even by way of others."""
        needed = {self.parts[0].name}
        while more := {each.to for each in self.links if each.part in needed} - needed:
            needed |= more
        return tuple(part.name for part in self.parts if part.name not in needed)

    def choose(self, wanted: str) -> Choice:
        """Return the one function that `interface#function` or `function` names.

        Raises:
            NotFoundError: none fits; the nearest is named, and all are listed with their types.
            InvalidError: more than one fits; they are listed.
        """
        interface, function = split_operation(wanted.strip())
        found = [
            each
            for each in self.functions
            if each.function == function and interface_fits(interface, each.interface)
        ]
        if len(found) == 1:
            return found[0]
        name = self.parts[0].name
        if found:
            listed = [each.signature for each in found]
            raise InvalidError(f"{wanted!r} names {len(found)} functions of {name}", listed)
        short = {each.function: str(each) for each in self.functions}
        near = nearest(wanted, short.values()) or nearest(function, short)
        raise NotFoundError(f"{name} exports no function {wanted!r}{near}{self.listed()}")

    def listed(self) -> str:
        """Return what can be called as lines for the end of a message."""
        signatures = [each.signature for each in self.functions]
        if not signatures:
            return "; it exports no function"
        left = len(signatures) - SHOWN_MAX
        more = [f"and {left} more"] if left > 0 else []
        return "; it exports\n  " + "\n  ".join([*signatures[:SHOWN_MAX], *more])


def assemble(files: Sequence[tuple[str, bytes]], *, in_order: str = "") -> Assembly:
    """Return the components of (name, body) joined: what one imports and another one exports.

    The first is the one to call. The interface with the key `in_order` comes from the next part
    behind that exports it, however many do. Types are compared when the engine loads the parts.

    Raises:
        InvalidError: a body is no component, a name is given twice, or imports are satisfied by
            nothing or by more than one; all of these are listed.
    """
    types: dict[str, ComponentType] = {}
    for name, body in files:
        if name in types:
            raise InvalidError(f"{name} is given twice")
        try:
            types[name] = read_component(body)
        except InvalidError as error:
            raise InvalidError(f"{name}: {error.message}") from None
    parts = tuple(Part(name, _digest(body), body) for name, body in files)
    links = _links(types, in_order)
    key = interface_key(OUTGOING)
    is_sender = any(key in map(interface_key, each.imports) for each in types.values())
    streams = any(stream_imports(each.imports) for each in types.values())
    return Assembly(parts, tuple(links), types[parts[0].name], is_sender, streams)


def arguments(choice: Choice, values: Sequence[Any]) -> list[Any]:
    """Return parsed JSON as the arguments of a function.

    Raises:
        InvalidError: they do not fit; the message has the function's type and every fault.
    """
    try:
        return args_from_json(choice.type, values)
    except InvalidError as error:
        raise InvalidError(f"{choice}: {error.message}") from None


async def call(
    engine: Engine,
    assembly: Assembly,
    choice: Choice,
    args: Sequence[Any],
    world: World,
    *,
    deadline_s: float = float("inf"),
) -> Any:
    """Return what the function returns, by an instance of its own; it is gone afterwards.

    Cancelling ends the guest. The deadline is that of the call: compiling does not count.

    Raises:
        InvalidError: imports are missing, or the components cannot be joined or compiled.
        IncompatibleError: a type differs between an import and the export that satisfies it.
        GuestTrapError: the guest trapped (the message has the backtrace), or it exited:
            `details["exit_status"]` is there.
        DeadlineExceededError: it did not return in time.
        Exception: what `world.stdout` and `world.stderr` raise.
    """
    program = await engine.load(assembly.parts, assembly.links)
    async with _way_out(assembly, world) as reaching:
        streams = dict.fromkeys(stream_imports(program.type.imports), of_process(world))
        instance = await program.instantiate(streams, reaching)
        try:
            return await instance.call(
                choice.interface, choice.function, args, deadline_s=deadline_s
            )
        finally:
            instance.close()


@asynccontextmanager
async def _way_out(assembly: Assembly, world: World) -> AsyncIterator[World]:
    """Yield the world, with the requests that its network grants when any part sends some."""
    if not assembly.sends_requests:
        yield world
        return
    from hosts.http.egress import Egress  # not above: most commands need none of it
    from hosts.http.outlets import to_the_outside

    async with Egress() as egress:
        yield replace(world, outlet=to_the_outside(egress, world.network.http, world.log))


def _links(types: dict[str, ComponentType], in_order: str) -> Iterable[Link]:
    """Return what joins the parts; what the standard world satisfies is the engine's matter."""
    among = Deployment(
        name=DeploymentName("run"),
        components=tuple(Component(name=name, image=name) for name in types),
        wiring=tuple(_chain(types, in_order)),
    )
    exports = {name: callable_exports(component) for name, component in types.items()}
    links: list[Link] = []
    faults: list[str] = []
    for part, component in types.items():
        for name, interface in component.imports.items():
            advice = _ADVICE_WASI if interface.name.startswith("wasi:") else _ADVICE
            wanted = Import(part, name, interface)
            source = source_of(wanted, among, exports, advice=advice)
            match source:
                case ByPart(to, to_interface):
                    links.append(Link(part, name, to, to_interface))
                case Unsatisfied(fault):
                    faults.append(fault)
                case _:
                    pass
    if faults:
        raise InvalidError("imports are missing", faults)
    return links


def _chain(types: dict[str, ComponentType], key: str) -> Iterator[Wire]:
    """Yield for each part that imports the interface of a key that it comes from the next one."""
    behind: str | None = None
    for part, component in reversed(types.items()):
        for name, interface in component.imports.items():
            if behind is not None and interface_key(interface.name) == key:
                yield Wire(part=part, interface=name, to=behind)
        if key in map(interface_key, component.exports):
            behind = part


def _digest(body: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(body).hexdigest())
