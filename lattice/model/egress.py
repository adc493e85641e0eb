"""Which requests over HTTP a part of a workload may send: grants by scheme, host and port.

Deny by default: what no grant names is refused. A grant for HTTP is one to connect with a scheme to
it, so the rules for addresses that are not public are those of `lattice.model.network`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lattice.errors import InvalidError
from lattice.model.network import Endpoint, Network, parse_endpoint

Scheme: TypeAlias = Literal["http", "https"]

DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "https": 443}
"""The port of a scheme when none is named (RFC 9110)."""

_SCHEMED = re.compile(r"(?:(https?)://)?(.+)", re.DOTALL)
_HAS_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):[^:\]]*")


@dataclass(frozen=True, slots=True)
class HttpGrant:
    """Requests with one scheme to some hosts and ports."""

    scheme: Scheme
    endpoint: Endpoint

    def __str__(self) -> str:
        """Return a text that `parse_http_grant` reads as this grant alone."""
        return f"{self.scheme}://{self.endpoint}"


def parse_http_grant(text: str) -> tuple[HttpGrant, ...]:
    """Return the grants that `[SCHEME://]HOST[:PORTS]` describes, one for each scheme.

    `HOST` is a name, `*.example.com`, `*`, an address or a range in CIDR form, those of IPv6 in
    brackets. Without a scheme both are granted; without ports, the scheme's own one.

    Raises:
        InvalidError: it is none.
    """
    match = _SCHEMED.fullmatch(text)
    if match is None or "://" in match[2]:
        raise InvalidError(
            f"{text!r} grants no requests, expected [http://|https://]HOST[:PORTS] such as "
            "https://api.example.com, *.example.com:8443 or http://10.0.0.0/8:8000-8999"
        )
    rest = match[2]
    schemes: tuple[Scheme, ...] = ("http", "https")
    if match[1] is not None:
        schemes = ("https",) if match[1] == "https" else ("http",)
    has_port = _HAS_PORT.fullmatch(rest) is not None
    return tuple(
        HttpGrant(scheme, parse_endpoint(rest if has_port else f"{rest}:{DEFAULT_PORTS[scheme]}"))
        for scheme in schemes
    )


def network_of(grants: Iterable[HttpGrant], scheme: Scheme) -> Network:
    """Return what requests with one scheme may connect to."""
    return Network(connect=tuple(each.endpoint for each in grants if each.scheme == scheme))
