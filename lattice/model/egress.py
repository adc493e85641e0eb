"""Which requests over HTTP a part of a workload may send: grants by scheme, host and port.

Deny by default: what no grant names is refused. A grant for HTTP is one to connect with a scheme to
it, so the rules for addresses that are not public are those of `lattice.model.network`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lattice.errors import InvalidError
from lattice.model.network import HttpGrant, Network, Scheme, parse_endpoint

_SCHEMED = re.compile(r"(?:(https?)://)?(.+)", re.DOTALL)
_HAS_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):[^:\]]*")


def parse_http_grant(text: str) -> HttpGrant:
    """Return the grant that `[SCHEME://]HOST[:PORTS]` describes.

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
    scheme: Scheme | None = None
    if match[1] is not None:
        scheme = "https" if match[1] == "https" else "http"
    if _HAS_PORT.fullmatch(rest) is None:
        return HttpGrant(parse_endpoint(f"{rest}:*").host, scheme)
    endpoint = parse_endpoint(rest)
    return HttpGrant(endpoint.host, scheme, (endpoint.port_first, endpoint.port_last))


def network_of(grants: Iterable[HttpGrant], scheme: Scheme) -> Network:
    """Return what requests with one scheme may connect to."""
    endpoints = (each.endpoint(scheme) for each in grants)
    return Network(connect=tuple(each for each in endpoints if each is not None))
