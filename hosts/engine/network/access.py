"""Holds what a guest does with the network against its grants, and tells its log what was denied.

It remembers which names resolved to which addresses, because a name that is granted allows the
addresses that were found for it, and no others.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from hosts.engine.network.errors import SocketError
from hosts.engine.network.grants import Grants, special_range
from lattice.model.network import Address, Endpoint, Network

ADDRESSES_MAX = 1024
"""Addresses whose names are remembered for one instance; of more, the first are forgotten."""

NAMES_MAX = 64
"""Names that are remembered for one address; of more, the first are forgotten. Whoever answers for
a domain can have any number of its names lead to one address."""

DENIALS_MAX = 64
"""Different denials that are logged for one instance; what is denied again is logged once."""


class Access:
    """What one instance may do with the network."""

    def __init__(self, network: Network, log: Callable[[str, str], None]) -> None:
        self._grants = Grants(network)
        self._log = log
        self._names: OrderedDict[Address, dict[str, None]] = OrderedDict()
        self._told: set[str] = set()

    def require_connect(self, address: Address, port: int) -> None:
        """Return if a connection to an address of the machine's network is granted.

        Raises:
            SocketError: `access-denied`: it is not.
        """
        names = self.names_of(address)
        if self._grants.may_connect(address, port, names):
            return
        wanted = _endpoint(address, port)
        special = special_range(address)
        about = f" ({', '.join(names)})" if names else ""
        if special is not None:
            about += f", which needs a grant within {special}"
        grant = f"{next(iter(names))}:{port}" if names and special is None else wanted
        raise self._denial(f"connecting to {wanted}{about}", f'connect: ["{grant}"]')

    def require_lookup(self, name: str) -> None:
        """Return if a name, normalised, may be looked up.

        Raises:
            SocketError: `access-denied`: it may not.
        """
        if not self._grants.may_look_up(name):
            raise self._denial(f"looking up {name}", f'lookup: ["{name}"]')

    def require_listen(self, address: Address, port: int) -> Address:
        """Return the machine's address to listen on for a guest that asks for `address`.

        Raises:
            SocketError: `access-denied`: none is granted.
        """
        found = self._grants.listening_address(address, port)
        if found is None:
            wanted = _endpoint(address, port)
            raise self._denial(f"listening on {wanted}", f'listen: ["{wanted}"]')
        return found

    def listening_address(self, address: Address, port: int) -> Address | None:
        """Return the same as `require_listen`, None when nothing is granted."""
        return self._grants.listening_address(address, port)

    def may_connect(self, address: Address, port: int) -> bool:
        """Tell the same as `require_connect`; nothing is logged."""
        return self._grants.may_connect(address, port, self.names_of(address))

    def names_of(self, address: Address) -> Collection[str]:
        """Return the names that an address was the answer for, the last ones last."""
        return self._names.get(address, {}).keys()

    def is_of_machine(self, address: Address, port: int) -> bool:
        """Tell whether an address of a loopback means the machine's: when a range grants it."""
        return self._grants.may_connect(address, port, ())

    def found(self, name: str, addresses: Iterable[Address]) -> list[Address]:
        """Remember the answers to a lookup, and return those that a guest may see."""
        usable: list[Address] = []
        for address in addresses:
            if not self._grants.may_use(address):
                grant = _endpoint(address, 443).replace(":443", ":PORT")
                self._tell(
                    f"denied: {name} resolves to {address}, which lies in "
                    f"{special_range(address)} and needs a grant of its own, such as "
                    f'network: {{connect: ["{grant}"]}}'
                )
                continue
            usable.append(address)
            names = self._names.setdefault(address, {})
            names.pop(name, None)
            names[name] = None
            if len(names) > NAMES_MAX:
                del names[next(iter(names))]
            self._names.move_to_end(address)
        while len(self._names) > ADDRESSES_MAX:
            self._names.popitem(last=False)
        return usable

    def note_listening(self, address: Address, port: int) -> None:
        """Tell that who listens on all addresses is not heard outside of the workload."""
        wanted = _endpoint(address, port)
        self._tell(
            f"{wanted} is open inside this workload only; "
            f'network: {{listen: ["{wanted}"]}} would open it on the machine',
            level="info",
        )

    def _denial(self, what: str, grant: str) -> SocketError:
        """Return the error for what is not granted, which the log tells in words."""
        self._tell(f"denied: {what}; the manifest line network: {{{grant}}} would allow it")
        return SocketError("access-denied")

    def _tell(self, line: str, level: str = "warn") -> None:
        if line not in self._told and len(self._told) < DENIALS_MAX:
            self._told.add(line)
            self._log(level, line)


def _endpoint(address: Address, port: int) -> str:
    return str(Endpoint(ipaddress.ip_network(address), port, port))
