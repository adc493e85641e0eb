"""How to reach and identify oneself to NATS, as one value.

Only the value: reading it from flags, environment, files and contexts is the configuration's
work, and connecting with it is `lattice.bus.connecting`. It opens no file and holds no secret
longer than its owner does; its `repr` never shows one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lattice.config import nats_client, url_fault
from lattice.errors import InvalidError

CONNECT_TIMEOUT_S = 5.0
"""Seconds for the first connection to all servers together: a person waits for it."""

INBOX_PREFIX = "_INBOX"
"""NATS's own default. Every role gets its own prefix, or it could read others' replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """Servers and one identity.

    At most one of `creds`, `nkey_seed_path`, `nkey_seed`, `user` and `token` is set; none stands
    for a server without users. `servers` are tried in random order.
    """

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    creds: Path | None = None  # a file with a user JWT and its seed
    nkey_seed_path: Path | None = None
    nkey_seed: bytes = field(default=b"", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls_ca: Path | None = (
        None  # PEM; None uses the system's authorities when the server asks for TLS
    )
    tls_cert: Path | None = None  # PEM chain of this client, for servers that verify clients
    tls_key: Path | None = None
    name: str = "lattice"  # shown in the server's monitoring
    inbox_prefix: str = INBOX_PREFIX
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    client: Literal["muxed", "nats-py"] = field(default_factory=nats_client)

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work, before anything is opened.

        Raises:
            InvalidError: no server or a malformed URL, two identities, or a certificate without
                its key; all are listed.
        """
        identities = {
            "creds": self.creds is not None,
            "nkey_seed_path": self.nkey_seed_path is not None,
            "nkey_seed": bool(self.nkey_seed),
            "user": bool(self.user),
            "token": bool(self.token),
        }
        given = [name for name, is_given in identities.items() if is_given]
        faults = []
        if not self.servers:
            faults.append("servers: none given, needs at least one such as nats://127.0.0.1:4222")
        faults += [
            f"servers: {fault}"
            for server in self.servers
            if (fault := url_fault(_with_scheme(server)))
        ]
        if len({_is_websocket(server) for server in self.servers}) > 1:
            faults.append("servers: websocket URLs and others cannot be mixed")
        if len(given) > 1:
            faults.append(f"identity: {' and '.join(given)} given, at most one is used")
        if (self.tls_cert is None) != (self.tls_key is None):
            faults.append("tls_cert: needs tls_key with it, and the other way round")
        if faults:
            raise InvalidError("connection options cannot be used", faults)


def uses_websocket(options: ConnectOptions) -> bool:
    """Tell whether the servers are reached over websocket: all of them are, or none."""
    return _is_websocket(options.servers[0])


def server_address(server: str) -> str:
    """Return a server's URL without the user and password that it may contain."""
    parts = urlsplit(_with_scheme(server))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_websocket(server: str) -> bool:
    return server.startswith(("ws://", "wss://"))


def _with_scheme(server: str) -> str:
    return server if "://" in server else f"nats://{server}"
