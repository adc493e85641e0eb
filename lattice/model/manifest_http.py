"""The field of a manifest that says which requests over HTTP a deployment answers."""

from __future__ import annotations

from lattice.model.http import HttpAddress, parse_route_host
from lattice.model.ids import NAME_LENGTH_MAX, name_fault
from lattice.model.paths import parse_path
from lattice.model.scalar import Text
from lattice.model.schema import Field, ListOf, Object

ROUTES_MAX = 256
"""Routes of one deployment: every host keeps all of them in memory."""

_HOST_LENGTH_MAX = 300
"""Characters of a host: a name has 253 at most, and two for a wildcard."""


def _routes_fault(routes: tuple[HttpAddress, ...]) -> str | None:
    first: dict[object, HttpAddress] = {}
    for route in routes:
        other = first.setdefault((route.host, route.path.shape), route)
        if other is not route:
            return f"{route} matches what {other} matches already"
    parts = sorted({route.component for route in routes if route.component})
    if len(parts) > 1:
        return f"one part answers for a deployment, `component` names {', '.join(parts)}"
    return None


_ROUTE = Object(
    make=HttpAddress,
    blank=HttpAddress(),
    fields=(
        Field(
            "host",
            Text(length_max=_HOST_LENGTH_MAX, parse=parse_route_host),
            "docs.example.com, *.example.com for all below, or * for every host",
        ),
        Field("path", Text(parse=parse_path), "such as /search, /users/{id} or /files/{rest...}"),
        Field(
            "component",
            Text(length_max=NAME_LENGTH_MAX, check=name_fault),
            "the part that answers, when several can",
        ),
    ),
)
HTTP = ListOf(item=_ROUTE, maximum=ROUTES_MAX, check=_routes_fault)
