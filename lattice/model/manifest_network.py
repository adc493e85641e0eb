"""The fields of a manifest that grant what of the network a part may reach."""

from __future__ import annotations

from lattice.model.egress import parse_http_grant
from lattice.model.network import NOTHING, Network, parse_endpoint, parse_listen, parse_pattern
from lattice.model.scalar import Text
from lattice.model.schema import Field, ListOf, Object

_LENGTH_MAX = 300
"""Characters of one grant: a host name, brackets and two ports."""

_CONNECT = Text(length_max=_LENGTH_MAX, parse=parse_endpoint)
_LISTEN = Text(length_max=_LENGTH_MAX, parse=parse_listen)
_LOOKUP = Text(length_max=_LENGTH_MAX, parse=parse_pattern)
_HTTP = Text(length_max=_LENGTH_MAX, parse=parse_http_grant)

NETWORK = Object(
    make=Network,
    blank=NOTHING,
    fields=(
        Field("connect", ListOf(item=_CONNECT), "where connections may lead: HOST:PORT"),
        Field("listen", ListOf(item=_LISTEN), "where the machine takes connections: ADDRESS:PORT"),
        Field("lookup", ListOf(item=_LOOKUP), "names to look up besides those of `connect`"),
        Field("http", ListOf(item=_HTTP), "requests over HTTP: [SCHEME://]HOST[:PORTS]"),
    ),
)
