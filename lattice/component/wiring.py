"""Resolves a workload: what satisfies each import, what programs it becomes, what it exposes.

Decides only; hosts compose and connect as the `Resolution` says, and the scheduler filters hosts
by its `interfaces`. All faults of a workload are found at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lattice.component.answering import answering
from lattice.component.exposure import exposure
from lattice.component.fingerprint import function_fingerprint, interface_mismatch, nearest
from lattice.component.merging import Merged, merge
from lattice.component.programs import (
    Satisfied,
    program_faults,
    program_names,
    programs_of,
)
from lattice.component.reader import callable_exports
from lattice.component.resolution import (
    COMPOSED,
    CapabilityUse,
    Connection,
    InternalWire,
    LinkTarget,
    Program,
    Resolution,
)
from lattice.component.satisfying import (
    STANDARD_INTERFACES,
    ByBinding,
    ByHost,
    ByLink,
    ByPart,
    Exports,
    Import,
    Source,
    Unsatisfied,
    source_of,
)
from lattice.component.types import ComponentType
from lattice.errors import InvalidError
from lattice.model.deployment import Binding, Deployment, Link

__all__ = [
    "COMPOSED",
    "STANDARD_INTERFACES",
    "CapabilityUse",
    "Connection",
    "InternalWire",
    "LinkTarget",
    "Program",
    "Resolution",
    "resolve",
]


def resolve(
    deployment: Deployment,
    types: Mapping[str, ComponentType],
    standard: Collection[str] = STANDARD_INTERFACES,
) -> Resolution:
    """Return how the imports of a workload are satisfied, and what it exposes.

    `types` has the type of each part by the part's name.

    Raises:
        InvalidError: an import is satisfied by nothing or by more than one, parts do not fit each
            other, components import each other in a circle, or an entry of `wiring`, `links`,
            `bindings`, `expose` or `http` means nothing; all faults are listed.
    """
    unknown = [
        f"{part.name}: its type is not known" for part in deployment.parts if part.name not in types
    ]
    if unknown:
        raise InvalidError(f"deployment {deployment.name!r} cannot be resolved", unknown)
    exports = {part.name: callable_exports(types[part.name]) for part in deployment.parts}
    imports = [
        Import(part.name, name, interface)
        for part in deployment.parts
        for name, interface in types[part.name].imports.items()
    ]
    faults: list[str] = []
    satisfied = _satisfied(imports, deployment, exports, standard, faults)
    faults += _mismatches(satisfied, exports)
    faults += _unused(imports, satisfied, deployment)
    programs = programs_of(deployment, satisfied)
    faults += program_faults(deployment, types, satisfied, programs)
    remaining = merge(satisfied, program_names(deployment), faults)
    inside = {
        (source.part, source.interface) for _, source in satisfied if isinstance(source, ByPart)
    }
    exposed = exposure(deployment, exports, inside, faults)
    http = answering(deployment, exports, inside, faults)
    if faults:
        raise InvalidError(f"deployment {deployment.name!r} does not fit together", faults)
    return Resolution(
        programs=programs,
        connections=tuple(_connections(remaining, deployment)),
        capabilities=tuple(_capabilities(remaining)),
        interfaces=_interfaces(remaining),
        exposed=exposed.functions,
        exposed_by=exposed.programs,
        http=http,
    )


def _satisfied(
    imports: Iterable[Import],
    deployment: Deployment,
    exports: Exports,
    standard: Collection[str],
    faults: list[str],
) -> Satisfied:
    found: Satisfied = []
    for wanted in imports:
        source = source_of(wanted, deployment, exports, standard)
        if isinstance(source, Unsatisfied):
            faults.append(source.fault)
        else:
            found.append((wanted, source))
    return found


def _mismatches(satisfied: Satisfied, exports: Exports) -> Iterable[str]:
    """Yield where a part's export does not have the type that an import wants."""
    for wanted, source in satisfied:
        if isinstance(source, ByPart):
            offered = exports[source.part][source.interface]
            for line in interface_mismatch(wanted.interface, offered):
                yield f"{wanted} does not fit the export of {source.part}: {line}"


def _unused(
    imports: Iterable[Import], satisfied: Satisfied, deployment: Deployment
) -> Iterable[str]:
    """Yield the entries of the manifest that satisfy no import: else a typo would go unseen."""
    names = sorted({wanted.interface.name for wanted in imports if wanted.name})
    for wire in deployment.wiring:
        own = [each for each in imports if each.part == wire.part]
        if not any(each.is_meant(wire.interface) for each in own):
            near = nearest(wire.interface, [each.interface.name for each in own if each.name])
            yield f"wiring: {wire.part} does not import {wire.interface}{near}"
    entries: list[tuple[str, Link | Binding]] = [
        *((f"links: {link.interface}", link) for link in deployment.links),
        *((f"bindings: {each.interface} {each.name}", each) for each in deployment.bindings),
    ]
    for title, entry in entries:
        meant = [(w, s) for w, s in satisfied if w.is_meant(entry.interface)]
        if any(_is_of(source, entry) for _, source in meant):
            continue
        if not any(each.is_meant(entry.interface) for each in imports):
            yield f"{title} is imported by no part{nearest(entry.interface, names)}"
        elif meant:
            yield f"{title} is not used: {meant[0][0]} is satisfied by {meant[0][1]}"


def _is_of(source: Source, entry: Link | Binding) -> bool:
    match source:
        case ByLink(link):
            return link == entry
        case ByBinding(binding):
            return binding == entry
        case _:
            return False


def _connections(remaining: Iterable[Merged], deployment: Deployment) -> Iterable[Connection]:
    names = program_names(deployment)
    for each in remaining:
        match each.source:
            case ByPart(part, interface):
                yield Connection(
                    program=each.program,
                    interface=each.name,
                    to=names[part],
                    to_interface=interface,
                )
            case ByLink(link):
                target = LinkTarget(
                    deployment=link.to,
                    interface=each.interface,
                    route=link.route,
                    timeout_s=link.timeout_s,
                    types={
                        name: function_fingerprint(function)
                        for name, function in each.functions.items()
                    },
                )
                yield Connection(program=each.program, interface=each.name, link=target)
            case ByBinding() | ByHost():
                pass


def _capabilities(remaining: Iterable[Merged]) -> Iterable[CapabilityUse]:
    for each in remaining:
        if isinstance(each.source, ByBinding):
            binding = each.source.binding
            yield CapabilityUse(
                program=each.program,
                interface=each.name,
                binding=binding.name,
                config=binding.config,
            )


def _interfaces(remaining: Iterable[Merged]) -> tuple[str, ...]:
    """Return what a host must offer, sorted."""
    return tuple(
        sorted(
            {
                each.interface
                for each in remaining
                if isinstance(each.source, ByBinding)
                or (isinstance(each.source, ByHost) and each.source.needed)
            }
        )
    )
