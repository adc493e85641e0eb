"""Decides for one import of one part what satisfies it: the rule of the manifest page, in order.

1. an explicit `wiring`; 2. the one export of the same workload with the same interface and a
compatible version; 3. `links`; 4. `bindings`; 5. the standard world, which needs no grant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lattice.component.fingerprint import interface_mismatch, nearest
from lattice.component.types import ComponentType, Interface, ResourceType
from lattice.model.deployment import Binding, Deployment, Link, Wire
from lattice.model.wit import ROOT, interface_key, wanted_matches

STANDARD_INTERFACES = (
    "wasi:cli/*@0.2",
    "wasi:clocks/*@0.2",
    "wasi:config/*",
    "wasi:filesystem/*@0.2",
    "wasi:io/*@0.2",
    "wasi:logging/*",
    "wasi:random/*@0.2",
    "wasi:sockets/*@0.2",
)
"""Interfaces that an instance gets without a grant, as patterns of base and semver track.

Guests in Python and Go import all of `wasi:cli`, `wasi:filesystem` and `wasi:sockets`, used or not;
what they see there is empty: no file, no address, no network.
"""


@dataclass(frozen=True, slots=True)
class Import:
    """One import of one part; `interface.name` is what it implements, `name` how it is written."""

    part: str
    name: str
    interface: Interface

    def __str__(self) -> str:
        if self.name == ROOT:
            return f"{self.part!r}: import of {', '.join(self.interface.functions)} at the root"
        label = "" if self.name == self.interface.name else f" ({self.interface.name})"
        return f"{self.part!r}: import {self.name!r}{label}"

    def is_named(self, wanted: str) -> bool:
        """Tell whether an entry of the manifest names this import."""
        return wanted == self.name or wanted_matches(wanted, self.interface.name)


@dataclass(frozen=True, slots=True)
class ByPart:
    """Another part of the workload exports it, under the name `interface`."""

    part: str
    interface: str


@dataclass(frozen=True, slots=True)
class ByHost:
    """The standard world of every host, or a types-only import that nobody need satisfy."""

    is_needed: bool


Source = ByPart | Link | Binding | ByHost


@dataclass(slots=True)
class Offers:
    """What a workload has to satisfy imports with, and which entries were of use."""

    deployment: Deployment
    exports: Mapping[str, Mapping[str, Interface]]  # part -> name -> callable export
    types: Mapping[str, ComponentType]
    standard: Collection[str]
    faults: list[str] = field(default_factory=list[str])
    used: set[Wire | int] = field(default_factory=set["Wire | int"])
