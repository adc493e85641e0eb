"""The options of a TCP socket: remembered, and told to the system where there is a socket of it.

A connection in memory has no use for them, so it just answers what was set.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Literal, TypeAlias

from hosts.engine.network.errors import SocketError

Option: TypeAlias = Literal[
    "keep-alive-enabled", "keep-alive-idle-time", "keep-alive-interval", "keep-alive-count",
    "hop-limit", "receive-buffer-size", "send-buffer-size", "listen-backlog-size",
]  # fmt: skip
"""Durations are in nanoseconds, sizes in bytes, `keep-alive-enabled` is 0 or 1."""

_SECOND_NS = 1_000_000_000

_BOUNDS: dict[Option, tuple[int, int, int]] = {  # least, usual, most
    "keep-alive-enabled": (0, 0, 1),
    "keep-alive-idle-time": (_SECOND_NS, 7200 * _SECOND_NS, 32767 * _SECOND_NS),
    "keep-alive-interval": (_SECOND_NS, 75 * _SECOND_NS, 32767 * _SECOND_NS),
    "keep-alive-count": (1, 9, 127),
    "hop-limit": (1, 64, 255),
    "receive-buffer-size": (4096, 64 * 1024, 1024 * 1024),
    "send-buffer-size": (4096, 64 * 1024, 1024 * 1024),
    "listen-backlog-size": (1, 128, 128),
}
"""Values beyond are moved to the nearest that is allowed. The most bytes of a buffer: what one
guest may have the system hold for one direction of one connection."""


class TcpOptions:
    """What was set on one socket."""

    def __init__(self, values: dict[Option, int] | None = None) -> None:
        self._values: dict[Option, int] = values or {}

    def get(self, option: Option) -> int:
        """Return what was set, else what is usual."""
        return self._values.get(option, _BOUNDS[option][1])

    def set(self, option: Option, value: int) -> None:
        """Remember a value, moved into its bounds.

        Raises:
            SocketError: `invalid-argument`: it is 0, and that means nothing.
        """
        least, _, most = _BOUNDS[option]
        if value == 0 and least > 0:
            raise SocketError("invalid-argument")
        self._values[option] = min(max(value, least), most)

    def copy(self) -> TcpOptions:
        """Return the options of an accepted socket: as those of its listener."""
        return TcpOptions(dict(self._values))

    def apply(self, target: socket.socket) -> None:
        """Tell the system what was set; an option that it does not have is left out."""
        is_ipv4 = target.family == socket.AF_INET
        hops = (socket.IPPROTO_IP, "IP_TTL") if is_ipv4 else (socket.IPPROTO_IPV6,
                                                              "IPV6_UNICAST_HOPS")  # fmt: skip
        names: dict[Option, tuple[int, str]] = {
            "keep-alive-enabled": (socket.SOL_SOCKET, "SO_KEEPALIVE"),
            "keep-alive-idle-time": (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
            "keep-alive-interval": (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
            "keep-alive-count": (socket.IPPROTO_TCP, "TCP_KEEPCNT"),
            "hop-limit": hops,
            "receive-buffer-size": (socket.SOL_SOCKET, "SO_RCVBUF"),
            "send-buffer-size": (socket.SOL_SOCKET, "SO_SNDBUF"),
        }
        for option, value in self._values.items():
            level, name = names.get(option, (0, ""))
            number: int | None = getattr(socket, name, None)
            is_duration = option in ("keep-alive-idle-time", "keep-alive-interval")
            if number is not None:
                with contextlib.suppress(OSError):
                    target.setsockopt(level, number, value // _SECOND_NS if is_duration else value)
