"""The core that decides what of the network one guest may reach: no I/O, no clock, no logging.

An address that no grant names is denied. Those that are not public (private, link-local, loopback
and the like) need a range that names them as such: neither `0.0.0.0/0` nor a name that resolves to
one of them suffices, or else whoever answers for a name could lead a guest into a private network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from lattice.model.network import Address, Endpoint, NamePattern, Network, Range

_SPECIAL: tuple[Range, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            # IPv4 (IANA special-purpose registry), and what is no unicast address
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "168.63.129.16/32",  # Azure: the machine's own platform, as 169.254.169.254 elsewhere
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            # IPv6; several of these carry an address of IPv4 in them
            "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
            "100::/64", "100:0:0:1::/64", "2001::/32", "2001:2::/48", "2001:db8::/32", "2002::/16",
            "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
        ),
    )
)  # fmt: skip


def special_range(address: Address) -> Range | None:
    """Return the range that makes an address more than an ordinary public one, None if none does.

    The machine and what is near it lie in such ranges.
    """
    return next((each for each in _SPECIAL if address in each), None)


def is_unicast(address: Address) -> bool:
    """Tell whether one host can have this address; the unspecified address counts."""
    if isinstance(address, ipaddress.IPv6Address):
        return not address.is_multicast and address.ipv4_mapped is None
    return not address.is_multicast and int(address) != 0xFFFFFFFF


class Grants:
    """What one guest may do with the network; immutable."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ranges = [each for each in network.connect if not isinstance(each.host, NamePattern)]
        self._patterns = [
            (each.host, each) for each in network.connect if isinstance(each.host, NamePattern)
        ]

    def may_connect(self, address: Address, port: int, names: Collection[str]) -> bool:
        """Tell whether a connection is granted; `names` are those that resolved to the address."""
        if self._is_in_range(address, port):
            return True
        return special_range(address) is None and any(
            each.has_port(port) and pattern.matches(name)
            for pattern, each in self._patterns
            for name in names
        )

    def may_use(self, address: Address) -> bool:
        """Tell whether an address may be an answer to a lookup: public, or granted as a range."""
        return special_range(address) is None or any(
            _names_explicitly(each, address) for each in self._ranges
        )

    def may_look_up(self, name: str) -> bool:
        """Tell whether a name, normalised, may be looked up."""
        return any(pattern.matches(name) for pattern, _ in self._patterns) or any(
            pattern.matches(name) for pattern in self._network.lookup
        )

    def listening_address(self, address: Address, port: int) -> Address | None:
        """Return the machine's address to listen on for a guest that asks for `address`.

        None: nothing of the machine is granted. Who asks for all addresses gets the one of the
        grant, if that is a single one.
        """
        for each in self._network.listen:
            host = each.host
            if isinstance(host, NamePattern) or not each.has_port(port):
                continue
            if address in host:
                return address
            is_one = host.num_addresses == 1 and host.version == address.version
            if address.is_unspecified and is_one:
                return host.network_address
        return None

    def _is_in_range(self, address: Address, port: int) -> bool:
        return any(
            each.has_port(port) and _names_explicitly(each, address) for each in self._ranges
        )


def _names_explicitly(grant: Endpoint, address: Address) -> bool:
    """Tell whether the range of a grant has the address, and names it as what it is."""
    host = grant.host
    assert not isinstance(host, NamePattern), "names are no ranges"
    if address not in host:
        return False
    special = special_range(address)
    return special is None or _is_within(host, special)


def _is_within(inner: Range, outer: Range) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )
