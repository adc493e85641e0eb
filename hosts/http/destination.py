"""Where a request of a guest may go: its name looked up once, every address held to the grants.

What is connected to is an address that was checked, never a name that could resolve to another one
the next time. It opens no connection.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import anyio

from hosts.engine.network.access import DENIALS_MAX, Access
from hosts.engine.network.errors import SocketError
from hosts.engine.network.grants import Grants, special_range
from hosts.engine.network.lookup import Lookup
from hosts.engine.webvalues import EgressError
from lattice.model.egress import network_of
from lattice.model.network import (
    DEFAULT_PORTS,
    Address,
    HttpGrant,
    NamePattern,
    Network,
    Scheme,
    normal_name,
)
from lattice.routing.targets import AUTHORITY_LENGTH_MAX, INTERNAL_SUFFIX

KNOWN_MAX = 256
"""Origins of one instance whose grants are remembered; more are looked at each time."""

Log = Callable[[str, str], None]
"""Takes a level and a line for the log of the workload."""

_LOCALHOST: tuple[Address, ...] = (
    ipaddress.IPv4Address("127.0.0.1"),
    ipaddress.IPv6Address("::1"),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a connection is to."""

    scheme: Scheme
    host: str  # a name as `normal_name` makes it, or an address as `ipaddress` writes it
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@functools.lru_cache(maxsize=1024)
def origin_of(scheme: str, authority: str) -> Origin:
    """Return whom a request is for.

    Raises:
        EgressError: `HTTP-request-URI-invalid`: a scheme that is neither http nor https, a user in
            the authority, or no host.
    """
    if scheme not in ("http", "https"):
        raise _invalid(f"scheme {scheme!r}, expected http or https")
    known: Scheme = "https" if scheme == "https" else "http"
    plain = (
        len(authority) <= AUTHORITY_LENGTH_MAX
        and authority.isprintable()
        and not any(each in authority for each in "/?#\\@ ")
    )
    try:
        parts = urlsplit(f"//{authority}") if plain else None
        port = parts.port if parts is not None else None
    except ValueError:
        parts = port = None
    host = None if parts is None or parts.hostname is None else _host(parts.hostname)
    if host is None or port == 0:
        raise _invalid(f"authority {authority!r}, expected HOST or HOST:PORT")
    return Origin(known, host, DEFAULT_PORTS[known] if port is None else port)


class Reach:
    """What the requests of one instance may reach."""

    def __init__(self, grants: tuple[HttpGrant, ...], log: Log) -> None:
        self._networks: dict[Scheme, Network] = {
            "http": network_of(grants, "http"),
            "https": network_of(grants, "https"),
        }
        self._grants = {scheme: Grants(each) for scheme, each in self._networks.items()}
        self._log = log
        self._told: set[str] = set()
        self._known: dict[tuple[Origin, Address], bool] = {}  # what `may_use` said before
        self._granted: set[Origin] = set()  # what `require_name` let pass

    def require_name(self, origin: Origin) -> None:
        """Return when requests to this host, by its name, are granted at all.

        Raises:
            EgressError: `HTTP-request-denied`: they are not; `destination-not-found`: a name of
                the lattice, which no resolver is ever asked for.
        """
        if origin in self._granted:
            return
        self._check_name(origin)
        if len(self._granted) < KNOWN_MAX:
            self._granted.add(origin)

    def _check_name(self, origin: Origin) -> None:
        if origin.host.endswith(INTERNAL_SUFFIX) or origin.host == INTERNAL_SUFFIX[1:]:
            raise EgressError(
                "destination-not-found", f"{origin.host} is a name of the lattice, and not bound"
            )
        known = _known_addresses(origin.host)
        if known:
            if not any(self.may_use(origin, each) for each in known):
                raise self._denial(origin, known[0])
            return
        endpoints = self._networks[origin.scheme].connect
        if not any(
            isinstance(each.host, NamePattern)
            and each.host.matches(origin.host)
            and each.has_port(origin.port)
            for each in endpoints
        ):
            raise self._denial(origin, None)

    def may_use(self, origin: Origin, address: Address) -> bool:
        """Tell whether a request to an origin may go to this address."""
        known = self._known.get((origin, address))
        if known is None:
            grants = self._grants[origin.scheme]
            known = grants.may_connect(address, origin.port, (origin.host,))
            if len(self._known) < KNOWN_MAX:
                self._known[origin, address] = known
        return known

    async def addresses(self, origin: Origin) -> list[Address]:
        """Return the addresses of an origin that may be connected to, in the resolver's order.

        Raises:
            EgressError: `DNS-error`, `DNS-timeout`; `destination-IP-prohibited`: all that the name
                resolves to is in ranges of their own and needs grants that name them.
        """
        self.require_name(origin)
        access = Access(self._networks[origin.scheme], self._tell)
        done = anyio.Event()
        found: list[Address] = []
        try:
            lookup = Lookup(origin.host, access, done.set)
            try:
                if not lookup.is_ready:
                    await done.wait()
                while (address := lookup.next_address()) is not None:
                    found.append(address)
            finally:
                lookup.close()
        except SocketError as error:
            raise _lookup_failure(origin, error) from None
        allowed = [each for each in found if self.may_use(origin, each)]
        if not allowed:
            raise self._denial(origin, found[0] if found else None)
        return allowed

    def _denial(self, origin: Origin, address: Address | None) -> EgressError:
        """Return the error for what is not granted, which the log tells in words."""
        special = None if address is None else special_range(address)
        about, grant = "", origin
        if special is not None:  # which no name grants
            about = f", {address} lies in {special} and needs a grant within it"
            grant = replace(origin, host=str(address))
        self._tell("warn", f"denied: request to {origin}{about}; the grant {grant} would allow it")
        if special is not None:
            return EgressError("destination-IP-prohibited", f"{origin} is not granted{about}")
        return EgressError("HTTP-request-denied", f"requests to {origin} are not granted")

    def _tell(self, level: str, line: str) -> None:
        if line not in self._told and len(self._told) < DENIALS_MAX:
            self._told.add(line)
            self._log(level, line)


def _known_addresses(host: str) -> tuple[Address, ...]:
    """Return what a host stands for when no resolver is needed, as the lookup of guests has it."""
    if host == "localhost" or host.endswith(".localhost"):
        return _LOCALHOST
    address = _address(host)
    return () if address is None else (address,)


def _host(text: str) -> str | None:
    address = _address(text)
    return str(address) if address is not None else normal_name(text)


def _address(text: str) -> Address | None:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text)
        return None if "%" in text else address
    return None


def _lookup_failure(origin: Origin, error: SocketError) -> EgressError:
    if error.code == "access-denied":
        return EgressError(
            "destination-IP-prohibited",
            f"{origin.host} resolves to addresses that need a grant as ranges",
        )
    if error.code == "name-unresolvable":
        return EgressError("DNS-error", f"no such name: {origin.host}", text="NXDOMAIN")
    return EgressError(
        "DNS-error", f"{origin.host} could not be looked up: {error.code}", text="SERVFAIL"
    )


def _invalid(what: str) -> EgressError:
    return EgressError("HTTP-request-URI-invalid", what)
