"""Which server a muxed connection tries next, and how long it waits before.

The order and the wait come out of values; randomness is handed in, and nothing is connected here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

WAIT_S = (0.0, 0.05)
"""Range of the wait before the first attempt after a loss: a cluster has another server at once,
and hosts that lost the same one should not all come in the same millisecond."""

WAIT_LATER_S = (0.05, 0.35)
"""Range of the wait before each further round through all servers."""

WAIT_LONG_S = (0.1, 0.5)
"""The same once `ROUNDS_SHORT` rounds were in vain: a server that starts is not met by all
attempts of a fleet at once. A host must be back within the time of a probe, half a second."""

ROUNDS_SHORT = 20

DEFAULT_PORT = 4222


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One address. `tls_name` is the name that its certificate must show."""

    host: str
    port: int
    tls_name: str
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """Return what tells it from other servers."""
        return self.host, self.port

    def fields(self) -> dict[str, str]:
        """Return what CONNECT says of an identity that stands in the URL, if one does."""
        if self.user and self.password:
            return {"user": self.user, "pass": self.password}
        return {"auth_token": self.user} if self.user else {}


def read_server(url: str) -> Server:
    """Return the server of a URL whose form was checked."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    host = parts.hostname or ""
    return Server(
        host=host,
        port=parts.port or DEFAULT_PORT,
        tls_name=host,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


class ServerPool:
    """The servers that were given, in the order given, and those that they told of.

    A server is tried again after all others.
    """

    def __init__(self, given: Sequence[Server]) -> None:
        unique = {server.address: server for server in given}
        self._given = frozenset(unique)
        self._servers = list(unique.values())
        self._tries = 0

    def __len__(self) -> int:
        return len(self._servers)

    def next(self) -> Server:
        """Return the server to try now; it goes to the end."""
        server = self._servers.pop(0)
        self._servers.append(server)
        self._tries += 1
        return server

    def wait_s(self, chance: float) -> float:
        """Return how long to wait before the next attempt; `chance` is between 0 and 1."""
        if self._tries and self._tries % len(self._servers):
            return 0.0  # another server of the same round
        rounds = self._tries // len(self._servers)
        bounds = WAIT_S if not rounds else WAIT_LATER_S if rounds < ROUNDS_SHORT else WAIT_LONG_S
        return bounds[0] + (bounds[1] - bounds[0]) * chance

    def connected(self, server: Server, peers: Sequence[str]) -> None:
        """Begin to count anew, and know the servers that this one tells of, and no others that
        were only told of. They show the certificate of the same name.
        """
        self._tries = 0
        self.learn(server, peers)

    def learn(self, server: Server, peers: Sequence[str]) -> None:
        """Know the servers that `server` tells of; none told changes nothing."""
        if not peers:
            return
        told = {
            peer.address: Server(
                host=peer.host,
                port=peer.port,
                tls_name=server.tls_name,
                user=server.user,
                password=server.password,
            )
            for peer in map(_read_peer, peers)
            if peer is not None
        }
        keep = self._given | told.keys() | {server.address}
        self._servers = [one for one in self._servers if one.address in keep]
        known = {one.address for one in self._servers}
        self._servers[:0] = [peer for address, peer in told.items() if address not in known]


def _read_peer(address: str) -> Server | None:
    """Return the server at `host:port`, or None for what is none; it comes from a server."""
    try:
        server = read_server(f"nats://{address}")
    except ValueError:
        return None
    return server if server.host else None
