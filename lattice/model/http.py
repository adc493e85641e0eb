"""What of HTTP a deployment answers: hosts and paths as manifests write them.

These are checked values; which of them answers a request is decided by `lattice.routing.http`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lattice.errors import InvalidError
from lattice.model.network import NamePattern, parse_pattern
from lattice.model.paths import PathPattern

ANY = NamePattern("*")
"""The host of routes that name none."""

INTERNAL_SUFFIX = ".lattice.internal"
"""End of the names of deployments for each other; no resolver is ever asked for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAddress:
    """Requests for some hosts below some path."""

    host: NamePattern = ANY
    path: PathPattern = field(default_factory=PathPattern)
    component: str = ""  # the part that answers; "": the only one that can

    def __str__(self) -> str:
        return f"{self.host}{self.path}"


def parse_route_host(text: str) -> NamePattern:
    """Return the hosts of a route: a name, `*.example.com`, or `*` for all.

    Raises:
        InvalidError: it is none, or a name of the lattice's own.
    """
    pattern = parse_pattern(text)
    if f".{pattern.text}".endswith(INTERNAL_SUFFIX):
        raise InvalidError(
            f"host {text!r} lies in {INTERNAL_SUFFIX[1:]}, whose names the lattice gives: every "
            "deployment has its own"
        )
    return pattern
