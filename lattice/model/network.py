"""What of the network a part of a workload may reach: grants by name, range and port.

Deny by default: what no grant names is refused. This module reads and writes grants; what they mean
for one address is decided in `hosts.engine.network.grants`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lattice.errors import InvalidError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Range: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Scheme: TypeAlias = Literal["http", "https"]

PORT_MAX = 65535

DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "https": 443}
"""The port of a scheme when none is named (RFC 9110)."""

NAME_LENGTH_MAX = 253
"""Characters of a host name (RFC 1035)."""

_LABEL = r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBERS = re.compile(r"[0-9.]+|0x.*")


@dataclass(frozen=True, slots=True, order=True)
class NamePattern:
    """Host names: one, all below one (`*.example.com`, at any depth), or all (`*`)."""

    text: str  # lower case, without a dot at its end

    def matches(self, name: str) -> bool:
        """Tell whether a name, in lower case and without a dot at its end, is among them."""
        if self.text == "*":
            return True
        if self.text.startswith("*."):
            return name.endswith(self.text[1:]) and len(name) >= len(self.text)
        return name == self.text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Hosts, and the ports on them from the first to the last."""

    host: NamePattern | Range
    port_first: int
    port_last: int

    def has_port(self, port: int) -> bool:
        """Tell whether a port is among them."""
        return self.port_first <= port <= self.port_last

    def __str__(self) -> str:
        """Return the shortest text that `parse_endpoint` reads as an equal value."""
        return f"{_host_text(self.host)}:{_ports_text(self.port_first, self.port_last)}"


@dataclass(frozen=True, slots=True)
class HttpGrant:
    """Requests over HTTP to some hosts."""

    host: NamePattern | Range
    scheme: Scheme | None = None  # None: both
    ports: tuple[int, int] | None = None  # the first and the last; None: the scheme's own

    def endpoint(self, scheme: Scheme) -> Endpoint | None:
        """Return what requests with a scheme may connect to by this grant."""
        if self.scheme not in (None, scheme):
            return None
        own = DEFAULT_PORTS[scheme]
        return Endpoint(self.host, *(self.ports or (own, own)))

    def __str__(self) -> str:
        """Return the shortest text that `parse_http_grant` reads as an equal value."""
        scheme = "" if self.scheme is None else f"{self.scheme}://"
        ports = "" if self.ports is None else f":{_ports_text(*self.ports)}"
        return f"{scheme}{_host_text(self.host)}{ports}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What one part may reach, and where it may be reached; nothing by default."""

    connect: tuple[Endpoint, ...] = ()
    listen: tuple[Endpoint, ...] = ()
    # listen: addresses of the machine on which connections from outside are taken
    lookup: tuple[NamePattern, ...] = ()
    # lookup: names that may be looked up, besides those of `connect`
    http: tuple[HttpGrant, ...] = ()  # requests over HTTP, which the host makes for it

    def __or__(self, other: Network) -> Network:
        """Return what is granted here or there, each grant once."""
        return Network(
            connect=tuple(dict.fromkeys((*self.connect, *other.connect))),
            listen=tuple(dict.fromkeys((*self.listen, *other.listen))),
            lookup=tuple(dict.fromkeys((*self.lookup, *other.lookup))),
            http=tuple(dict.fromkeys((*self.http, *other.http))),
        )


NOTHING = Network()
"""No grant at all."""


def parse_endpoint(text: str) -> Endpoint:
    """Return the grant that `HOST:PORTS` describes.

    `HOST` is a name, `*.example.com`, `*`, an address or a range in CIDR form, those of IPv6 in
    brackets. `PORTS` is one port, `FIRST-LAST`, or `*` for all.

    Raises:
        InvalidError: it is none.
    """
    host, colon, ports = text.rpartition(":")
    if not colon or not host or (":" in host and not host.startswith("[")):
        raise InvalidError(
            f"{text!r} is no endpoint, expected HOST:PORT such as db.example.com:5432, "
            "10.0.0.0/8:443 or [2001:db8::/32]:443"
        )
    first, last = _ports(ports, text)
    return Endpoint(_host(host, text), first, last)


def parse_listen(text: str) -> Endpoint:
    """Return the grant to listen that `ADDRESS:PORTS` describes; no names.

    Raises:
        InvalidError: it is none.
    """
    endpoint = parse_endpoint(text)
    if isinstance(endpoint.host, NamePattern):
        raise InvalidError(f"{text!r} is no address to listen on, expected such as 0.0.0.0:8080")
    return endpoint


def parse_pattern(text: str) -> NamePattern:
    """Return the names that a text describes: one, `*.example.com`, or `*`.

    Raises:
        InvalidError: it is no name.
    """
    name = normal_name(text.removeprefix("*.")) if text != "*" else "*"
    if name is None:
        raise InvalidError(f"{text!r} is no host name, expected such as db.example.com or *.a.org")
    return NamePattern(f"*.{name}" if text.startswith("*.") else name)


def normal_name(text: str) -> str | None:
    """Return a host name in lower case, in ASCII and without a dot at its end; None: it is none."""
    name = text.removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            return None
    name = name.lower()
    is_name = len(name) <= NAME_LENGTH_MAX and _NAME.fullmatch(name) is not None
    # What a resolver would read as a number is an address in disguise: 127.1, 0x7f000001.
    return name if is_name and not _NUMBERS.fullmatch(name.rpartition(".")[2]) else None


def _host_text(host: NamePattern | Range) -> str:
    if isinstance(host, NamePattern):
        return str(host)
    text = str(host.network_address) if host.num_addresses == 1 else str(host)
    return f"[{text}]" if host.version == 6 else text


def _ports_text(first: int, last: int) -> str:
    if (first, last) == (0, PORT_MAX):
        return "*"
    return str(first) if first == last else f"{first}-{last}"


def _host(host: str, text: str) -> NamePattern | Range:
    is_bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if is_bracketed else host
    try:
        found = ipaddress.ip_network(plain)
    except ValueError as error:
        if is_bracketed or "/" in plain or _NUMBERS.fullmatch(plain.rpartition(".")[2]):
            raise InvalidError(f"{text!r} has no valid address or range: {error}") from None
        return parse_pattern(plain)
    if "%" in plain:
        raise InvalidError(f"{text!r} has no valid address: a grant holds on all interfaces")
    if (found.version == 6) != is_bracketed:
        raise InvalidError(f"{text!r}: addresses of IPv6 stand in brackets, and only those")
    return found


def _ports(ports: str, text: str) -> tuple[int, int]:
    if ports == "*":
        return 0, PORT_MAX
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", ports)
    if match is not None:
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last <= PORT_MAX:
            return first, last
    raise InvalidError(f"{text!r} has no valid ports, expected 443, 8000-8999 or *")
