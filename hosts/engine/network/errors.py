"""How operations on sockets fail: the error codes of `wasi:sockets`, and what leads to them.

A `SocketError` never leaves the engine: it becomes the `err` of a result for the guest.
"""

from __future__ import annotations

import errno
from typing import Literal, TypeAlias

Code: TypeAlias = Literal[
    "unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout",
    "concurrency-conflict", "not-in-progress", "would-block", "invalid-state",
    "new-socket-limit", "address-not-bindable", "address-in-use", "remote-unreachable",
    "connection-refused", "connection-reset", "connection-aborted", "datagram-too-large",
    "name-unresolvable", "temporary-resolver-failure", "permanent-resolver-failure",
]  # fmt: skip
"""The error codes of `wasi:sockets/network`, in its order."""

_CODES: dict[int, Code] = {
    errno.EACCES: "access-denied", errno.EPERM: "access-denied",
    errno.EADDRINUSE: "address-in-use", errno.EADDRNOTAVAIL: "address-not-bindable",
    errno.EAFNOSUPPORT: "not-supported", errno.EOPNOTSUPP: "not-supported",
    errno.EPROTONOSUPPORT: "not-supported", errno.ENOPROTOOPT: "not-supported",
    errno.EAGAIN: "would-block", errno.EINPROGRESS: "would-block",
    errno.ECONNABORTED: "connection-aborted", errno.ECONNREFUSED: "connection-refused",
    errno.ECONNRESET: "connection-reset", errno.EPIPE: "connection-reset",
    errno.EHOSTDOWN: "remote-unreachable", errno.EHOSTUNREACH: "remote-unreachable",
    errno.ENETDOWN: "remote-unreachable", errno.ENETUNREACH: "remote-unreachable",
    errno.EINVAL: "invalid-argument", errno.EMSGSIZE: "datagram-too-large",
    errno.EMFILE: "new-socket-limit", errno.ENFILE: "new-socket-limit",
    errno.ENOBUFS: "out-of-memory", errno.ENOMEM: "out-of-memory",
    errno.ENOTCONN: "invalid-state", errno.ETIMEDOUT: "timeout",
}  # fmt: skip


class SocketError(Exception):
    """An operation on a socket failed; the guest gets the code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.code: Code = code


def code_of(error: OSError) -> Code:
    """Return what a failure of the system is called in `wasi:sockets`."""
    return _CODES.get(error.errno or 0, "unknown")
