"""Decides for one import of one part what satisfies it: the rule of the manifest page, in order.

1. an explicit `wiring`; 2. the one export of the same workload with the same interface and a
compatible version; 3. `links`; 4. `bindings`; 5. the standard world, which needs no grant.
Two candidates in one step are a fault, as is none at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lattice.component.fingerprint import nearest
from lattice.component.types import Interface, ResourceType
from lattice.model.deployment import Binding, Deployment, Link
from lattice.model.wit import ROOT, interface_key, wanted_matches

STANDARD_INTERFACES = (
    "lattice:streams/bytes@0.1",
    "wasi:cli/*@0.2",
    "wasi:clocks/*@0.2",
    "wasi:config/*",
    "wasi:filesystem/*@0.2",
    "wasi:http/outgoing-handler@0.2",
    "wasi:http/types@0.2",
    "wasi:io/*@0.2",
    "wasi:logging/*",
    "wasi:random/*@0.2",
    "wasi:sockets/*@0.2",
)
"""Interfaces that an instance gets without a grant, as patterns of base and semver track.

Guests in Python and Go import all of `wasi:cli`, `wasi:filesystem` and `wasi:sockets`, used or not,
those in JavaScript `wasi:http`; what they see there is empty: no file, no address, no network.
"""

ADVICE = "add a part that exports it, a link or a binding"
"""What to do about an import that nothing satisfies, for who writes a manifest."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import of one part, as the binary names it; `interface` is what it asks for."""

    part: str
    name: str
    interface: Interface

    def __str__(self) -> str:
        if self.name == ROOT:
            return f"{self.part}: import of {', '.join(self.interface.functions)} at the root"
        label = "" if self.name == self.interface.name else f" ({self.interface.name})"
        return f"{self.part}: import {self.name}{label}"

    def is_meant(self, wanted: str) -> bool:
        """Tell whether an interface that the manifest names means this import."""
        return self.name != ROOT and (
            wanted == self.name or wanted_matches(wanted, self.interface.name)
        )

    @property
    def is_types_only(self) -> bool:
        """Tell whether nothing need stand behind it: it has neither functions nor resources."""
        return not self.interface.functions and not any(
            isinstance(wit, ResourceType) for wit in self.interface.types.values()
        )


@dataclass(frozen=True, slots=True)
class ByPart:
    """Another part of the workload exports it, under the name `interface`."""

    part: str
    interface: str

    def __str__(self) -> str:
        return f"part {self.part}"


@dataclass(frozen=True, slots=True)
class ByLink:
    """Another deployment exports it."""

    link: Link

    def __str__(self) -> str:
        return f"the link to {self.link.to}"


@dataclass(frozen=True, slots=True)
class ByBinding:
    """A capability of the host satisfies it."""

    binding: Binding

    def __str__(self) -> str:
        return f"the binding {self.binding.name}"


@dataclass(frozen=True, slots=True)
class ByHost:
    """The standard world of every host; not even that when nothing is `needed`."""

    needed: bool

    def __str__(self) -> str:
        return "the standard world"


@dataclass(frozen=True, slots=True)
class Unsatisfied:
    """Nothing satisfies it, or more than one thing does; `fault` says what to do."""

    fault: str


Source = ByPart | ByLink | ByBinding | ByHost
Exports = Mapping[str, Mapping[str, Interface]]
"""The callable exports of each part, by their names."""


def source_of(
    wanted: Import,
    deployment: Deployment,
    exports: Exports,
    standard: Collection[str] = STANDARD_INTERFACES,
    *,
    advice: str = ADVICE,
) -> Source | Unsatisfied:
    """Return what satisfies an import, or why nothing does, with `advice` on what to do."""
    steps: Iterator[list[Source] | Unsatisfied] = iter(
        (
            _by_wiring(wanted, deployment, exports),
            _by_export(wanted, exports),
            _by_link(wanted, deployment),
            _by_binding(wanted, deployment),
            _by_host(wanted, standard),
        )
    )
    for found in steps:
        if isinstance(found, Unsatisfied):
            return found
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(map(str, found))
            how = "say which one under `wiring`" if isinstance(found[0], ByPart) else "keep one"
            return Unsatisfied(f"{wanted} is satisfied by more than one: {named}; {how}")
    hint = _hint(wanted, deployment, exports, advice)
    return Unsatisfied(f"{wanted} is satisfied by nothing{hint}")


def _by_wiring(
    wanted: Import, deployment: Deployment, exports: Exports
) -> list[Source] | Unsatisfied:
    found: list[Source] = []
    for wire in deployment.wiring:
        if wire.part == wanted.part and wanted.is_meant(wire.interface):
            offered = exports.get(wire.to, {})
            matching = [name for name in offered if _key(name) == _key(wanted.interface.name)]
            if not matching:
                near = nearest(wanted.interface.name, offered)
                return Unsatisfied(
                    f"{wanted} is wired to {wire.to}, which does not export it{near}"
                )
            found.append(ByPart(wire.to, matching[0]))
    return found


def _by_export(wanted: Import, exports: Exports) -> list[Source]:
    if wanted.name == ROOT:
        return [
            ByPart(part, ROOT)
            for part, offered in exports.items()
            if part != wanted.part
            and ROOT in offered
            and offered[ROOT].functions.keys() >= wanted.interface.functions.keys()
        ]
    key = _key(wanted.interface.name)
    return [
        ByPart(part, name)
        for part, offered in exports.items()
        if part != wanted.part
        for name in offered
        if _key(name) == key
    ]


def _by_link(wanted: Import, deployment: Deployment) -> list[Source]:
    return [ByLink(link) for link in deployment.links if wanted.is_meant(link.interface)]


def _by_binding(wanted: Import, deployment: Deployment) -> list[Source]:
    found = [each for each in deployment.bindings if wanted.is_meant(each.interface)]
    if len(found) > 1:
        # Several stores of one kind: a labelled import means the binding of its name.
        is_labelled = wanted.name != wanted.interface.name
        name = wanted.name if is_labelled else "default"
        found = [each for each in found if each.name == name] or found
    return [ByBinding(each) for each in found]


def _by_host(wanted: Import, standard: Collection[str]) -> list[Source]:
    if wanted.is_types_only:
        return [ByHost(needed=False)]
    return [ByHost(needed=True)] if is_standard(wanted.interface.name, standard) else []


def is_standard(interface: str, standard: Collection[str] = STANDARD_INTERFACES) -> bool:
    """Tell whether patterns of the standard world cover an interface."""
    key = interface_key(interface)
    base = key.partition("@")[0]
    return any(
        fnmatchcase(key if "@" in pattern else base, pattern) for pattern in map(_key, standard)
    )


def _hint(wanted: Import, deployment: Deployment, exports: Exports, advice: str) -> str:
    """Return what comes nearest to an import that nothing satisfies, and what to do."""
    if wanted.name == ROOT:
        return "; add a part that exports it at its root"
    base = wanted.interface.name.partition("@")[0]
    offered = {
        name: f"exported by {part}"
        for part, names in exports.items()
        if part != wanted.part  # nobody satisfies an import of its own
        for name in names
        if name
    }
    offered |= {each.interface: f"linked to {each.to}" for each in deployment.links}
    offered |= {each.interface: "bound" for each in deployment.bindings}
    for name, how in offered.items():
        if name.partition("@")[0] == base:
            return f"; {name} is {how}, but versions are compatible only within one track"
    near = nearest(wanted.interface.name, offered)
    return f"{near}; {advice}"


def _key(name: str) -> str:
    return interface_key(name)
