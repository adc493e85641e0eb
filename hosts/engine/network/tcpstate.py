"""The core that decides which operation a TCP socket allows in which state.

From WASI 0.2.12, `wasi:sockets/tcp`: binding, connecting and listening each start and finish; only
one of them can be under way. No I/O here: `hosts.engine.network.tcp` carries out what is allowed.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from hosts.engine.network.errors import SocketError

State: TypeAlias = Literal[
    "unbound", "bind-started", "bound", "listen-started", "listening", "connect-started",
    "connected", "closed",
]  # fmt: skip

Operation: TypeAlias = Literal["bind", "connect", "listen"]

_UNDER_WAY = frozenset[State]({"bind-started", "connect-started", "listen-started"})
_MAY_START: dict[Operation, frozenset[State]] = {
    "bind": frozenset({"unbound"}),
    "connect": frozenset({"unbound", "bound"}),
    "listen": frozenset({"bound"}),
}
_STARTED: dict[Operation, State] = {
    "bind": "bind-started",
    "connect": "connect-started",
    "listen": "listen-started",
}
_FINISHED: dict[Operation, State] = {
    "bind": "bound",
    "connect": "connected",
    "listen": "listening",
}
_FAILED: dict[Operation, State] = {
    "bind": "unbound",
    "connect": "closed",  # all that is left is to drop the socket
    "listen": "closed",
}


def started(state: State, operation: Operation) -> State:
    """Return the state after an operation has started.

    Raises:
        SocketError: `concurrency-conflict`: another one is under way; `invalid-state`: the socket
            is past it, or not there yet.
    """
    if state in _UNDER_WAY:
        raise SocketError("concurrency-conflict")
    if state not in _MAY_START[operation]:
        raise SocketError("invalid-state")
    return _STARTED[operation]


def require_started(state: State, operation: Operation) -> None:
    """Return if an operation is under way, so that it can finish.

    Raises:
        SocketError: `not-in-progress`: it is not.
    """
    if state != _STARTED[operation]:
        raise SocketError("not-in-progress")


def finished(operation: Operation, *, is_done: bool) -> State:
    """Return the state after an operation was done, or failed."""
    return (_FINISHED if is_done else _FAILED)[operation]


def require(state: State, *allowed: State) -> None:
    """Return if the socket is in one of these states.

    Raises:
        SocketError: `invalid-state`: it is not.
    """
    if state not in allowed:
        raise SocketError("invalid-state")
