"""Splits a workload into programs, and finds what keeps its parts from living so.

Eager components are composed into one program; a lazy component and a service are programs of
their own. Calls inside a program are calls inside wasm; calls between programs pass values
through the host, which can carry everything but resources, streams and futures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from lattice.component.reader import callable_exports
from lattice.component.resolution import COMPOSED, InternalWire, Program
from lattice.component.satisfying import ByLink, ByPart, Import, Source
from lattice.component.shapes import parts
from lattice.component.types import (
    BorrowType,
    ComponentType,
    Function,
    FutureType,
    Interface,
    OwnType,
    ResourceType,
    StreamType,
    WitType,
)
from lattice.model.deployment import Component, Deployment
from lattice.model.wit import interface_key

RUN_KEY = "wasi:cli/run@0.2"
"""What a process exports: this interface in any version of its track."""

RUN_FUNCTION = "run"
"""Its only function, which lasts as long as the process."""

START = "start"
"""A function of a service without parameters that the host calls before the service is ready."""

STOP = "stop"
"""A function of a service without parameters that the host calls before the service ends."""

_NAMES_SHOWN_MAX = 5
"""Names that a fault lists: an interface may have hundreds of functions."""

Satisfied = list[tuple[Import, Source]]


def program_names(deployment: Deployment) -> dict[str, str]:
    """Return the program of each part."""
    return {
        part.name: COMPOSED
        if isinstance(part, Component) and part.compose == "eager"
        else part.name
        for part in deployment.parts
    }


def programs_of(deployment: Deployment, satisfied: Satisfied) -> tuple[Program, ...]:
    """Return the programs of a workload: what is composed, lazy components, services."""
    eager = tuple(each.name for each in deployment.components if each.compose == "eager")
    lazy = tuple(each.name for each in deployment.components if each.compose == "lazy")
    wires = tuple(
        InternalWire(
            part=wanted.part,
            interface=wanted.name,
            to=source.part,
            to_interface=source.interface,
        )
        for wanted, source in satisfied
        if isinstance(source, ByPart) and {wanted.part, source.part} <= set(eager)
    )
    services = tuple(each.name for each in deployment.services)
    alone = tuple(Program(name=name, parts=(name,)) for name in (*lazy, *services))
    if not eager:
        return alone
    return (Program(name=COMPOSED, parts=eager, wires=wires), *alone)


def run_interface(component: ComponentType) -> str:
    """Return the name of the interface by which a service runs as a process, "" for an actor.

    A service that exports `start` as well is an actor: whoever wrote it wants it to be called.
    """
    if any(_is_hook(each, START) for each in component.exports.values()):
        return ""
    runs = (name for name in component.exports if interface_key(name) == RUN_KEY)
    return next((name for name in runs if "run" in component.exports[name].functions), "")


def program_faults(
    deployment: Deployment,
    types: Mapping[str, ComponentType],
    satisfied: Satisfied,
    programs: Iterable[Program],
) -> Iterable[str]:
    """Yield why the parts cannot live in these programs, one line each."""
    yield from _circles(programs)
    yield from _crossings(deployment, satisfied)
    yield from _contradictions(deployment)
    for service in deployment.services:
        if run := run_interface(types[service.name]):
            yield from _process_faults(service.name, types[service.name], run)


def _is_hook(interface: Interface, name: str) -> bool:
    function = interface.functions.get(name)
    return function is not None and not function.params


def _process_faults(name: str, component: ComponentType, run: str) -> Iterable[str]:
    others = [
        each or "functions at its root" for each in callable_exports(component) if each != run
    ]
    if others:
        yield (
            f"{name}: exports {run}, so it is a process, and {_listed(others)}; its one instance "
            "is busy as long as `run` runs and answers no calls: export one or the other, or a "
            f"function `{START}` to be called instead of `run`"
        )


# --- what is inside one program ----------------------------------------------------------------


def _circles(programs: Iterable[Program]) -> Iterable[str]:
    """Yield a circle of components that import each other: they cannot be instantiated."""
    for program in programs:
        needs = {
            part: sorted({wire.to for wire in program.wires if wire.part == part})
            for part in program.parts
        }
        done: set[str] = set()
        for part in program.parts:
            circle = _circle(part, needs, done)
            if circle:
                yield (
                    f"components import each other in a circle: {' -> '.join(circle)}; "
                    "make one of them a service or `compose: lazy`, or split it"
                )


def _circle(start: str, needs: Mapping[str, list[str]], done: set[str]) -> list[str]:
    """Return the first circle that can be reached from a part, each part of it named once more."""
    path: list[str] = []
    stack = [(start, False)]
    while stack:
        part, is_left = stack.pop()
        if is_left:
            done.add(path.pop())
        elif part in path:
            done.update(path)
            return [*path[path.index(part) :], part]
        elif part not in done:
            path.append(part)
            stack.append((part, True))
            stack += [(each, False) for each in needs.get(part, [])]
    return []


def _contradictions(deployment: Deployment) -> Iterable[str]:
    """Yield what composed components, which see one world, want differently of it.

    Scratch is no such thing: they share one of the largest size, as they share their memory.
    """
    first: dict[str, tuple[str, object]] = {}
    for component in deployment.components:
        if component.compose == "lazy":
            continue
        for wish, value in _wishes(component):
            known = first.setdefault(wish, (component.name, value))
            if known[1] != value:
                yield (
                    f"{known[0]} and {component.name} are composed and share what they see, but "
                    f"want different values of {wish}; make one of them `compose: lazy`"
                )


def _wishes(component: Component) -> Iterable[tuple[str, object]]:
    for name, text in component.env.items():
        yield f"env {name}", text
    for name, text in component.config.items():
        yield f"config {name}", text
    if component.args:
        yield "args", component.args
    for mount in component.directories:
        yield f"directories {mount.path}", mount


# --- what goes from one program to another -----------------------------------------------------


def _crossings(deployment: Deployment, satisfied: Satisfied) -> Iterable[str]:
    """Yield imports that another program satisfies, of types that cannot leave a program."""
    names = program_names(deployment)
    lazy = {each.name for each in deployment.components if each.compose == "lazy"}
    for wanted, source in satisfied:
        match source:
            case ByPart(part=part) if names[part] == names[wanted.part]:
                continue
            case ByPart(part=part):
                where, ends = f"part {part}", [each for each in (part, wanted.part) if each in lazy]
            case ByLink(link):
                where, ends = f"deployment {link.to}", []
            case _:
                continue
        what = _what_stays(wanted.interface)
        if not what:
            continue
        advice = (
            f"give {' and '.join(ends)} `compose: eager`"
            if ends
            else "only components that are composed share those"
        )
        yield (
            f"{wanted} is satisfied by {where} in another program, where {what} cannot go; {advice}"
        )


def _what_stays(interface: Interface) -> str:
    """Return what of an interface cannot pass between programs, "" when all of it can."""
    resources = [
        name
        for name, wit in interface.types.items()
        if isinstance(wit, ResourceType) and wit.interface == interface.name
    ]
    if resources:
        return f"its resource{'s' if len(resources) > 1 else ''} {_listed(resources)}"
    using = [name for name, each in interface.functions.items() if _holds_handles(each)]
    return f"resources, streams and futures of {_listed(using)}" if using else ""


def _holds_handles(function: Function) -> bool:
    stack: list[WitType | None] = [function.result, *(wit for _, wit in function.params)]
    seen: set[WitType] = set()
    while stack:
        wit = stack.pop()
        if isinstance(wit, OwnType | BorrowType | StreamType | FutureType):
            return True
        if wit is not None and wit not in seen:
            seen.add(wit)
            stack += [each for _, each in parts(wit)]
    return False


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(islice(names, _NAMES_SHOWN_MAX))
    return (
        shown
        if len(names) <= _NAMES_SHOWN_MAX
        else f"{shown} and {len(names) - _NAMES_SHOWN_MAX} more"
    )
