"""How the imports of a workload are satisfied and what it offers: the outcome of `wiring`.

Plain frozen values, so that they can be kept with the deployment and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lattice.model.deployment import Route

COMPOSED = "@composed"
"""The program that the eager components of a workload form together. No part has this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalWire:
    """Inside a program, `part`'s import `interface` is satisfied by the export of `to`.

    Names are as the two binaries write them; they may differ in the patch version.
    """

    part: str
    interface: str
    to: str
    to_interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What runs in one store: all eager components composed, a lazy one, or a service."""

    name: str  # `COMPOSED`, or the name of the lazy component or service
    parts: tuple[str, ...]
    wires: tuple[InternalWire, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTarget:
    """Another deployment that satisfies an import."""

    deployment: str
    interface: str  # as the import names it
    route: Route
    timeout_s: float
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    # types: function -> fingerprint of its type as the importing part knows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An import of a program that another program of the workload or another deployment satisfies.

    `interface` is the import's name after composition. With a `link`, `to` is empty; without one,
    the program `to` exports `to_interface`.
    """

    program: str
    interface: str
    link: LinkTarget | None = None
    to: str = ""
    to_interface: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityUse:
    """An import of a program that a capability of the host satisfies, by a binding."""

    program: str
    interface: str
    binding: str
    config: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPart:
    """The part that answers requests over HTTP, and the program that it lives in."""

    part: str
    program: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A workload with all its imports satisfied.

    `interfaces` are those that a host must offer, sorted. `exposed` maps an interface that may be
    called from outside (`""` for the root) to its functions and the fingerprints of their types,
    `exposed_by` to the program that answers. `http` is there when one part can answer HTTP, also
    when the manifest has no routes.
    """

    programs: tuple[Program, ...] = ()
    connections: tuple[Connection, ...] = ()
    capabilities: tuple[CapabilityUse, ...] = ()
    interfaces: tuple[str, ...] = ()
    exposed: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    exposed_by: Mapping[str, str] = field(default_factory=dict[str, str])
    http: HttpPart | None = None
