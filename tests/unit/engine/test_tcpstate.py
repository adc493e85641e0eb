"""Which operation a TCP socket allows in which state (WASI 0.2.12, wasi:sockets/tcp)."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.network.errors import SocketError
from hosts.engine.network.tcpstate import (
    Operation,
    State,
    finished,
    require,
    require_started,
    started,
)

STATES: tuple[State, ...] = get_args(State)
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


def code(function: object, *args: object) -> str:
    with pytest.raises(SocketError) as caught:
        function(*args)  # type: ignore[operator]  # any of the functions here
    return caught.value.code


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [("bind", {"unbound"}), ("connect", {"unbound", "bound"}), ("listen", {"bound"})],
)
def test_operations_start_where_the_interface_says(operation: Operation, allowed: set[str]) -> None:
    for state in STATES:
        if state in allowed:
            assert started(state, operation) == f"{operation}-started"
        elif state.endswith("-started"):
            assert code(started, state, operation) == "concurrency-conflict"
        else:
            assert code(started, state, operation) == "invalid-state"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_what_was_started_can_finish(operation: Operation) -> None:
    for state in STATES:
        if state == f"{operation}-started":
            require_started(state, operation)
        else:
            assert code(require_started, state, operation) == "not-in-progress"


def test_failed_connection_leaves_a_closed_socket_and_a_failed_binding_an_unbound_one() -> None:
    assert finished("connect", is_done=True) == "connected"
    assert finished("connect", is_done=False) == "closed"
    assert finished("bind", is_done=False) == "unbound"
    assert finished("listen", is_done=False) == "closed"


def test_what_needs_a_state_names_it() -> None:
    require("listening", "listening")
    assert code(require, "connected", "listening") == "invalid-state"


@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.booleans()), max_size=10))
def test_a_socket_connects_or_listens_but_never_both(steps: list[tuple[Operation, bool]]) -> None:
    state: State = "unbound"
    seen = set()
    for operation, is_done in steps:
        try:
            state = started(state, operation)
        except SocketError:
            continue
        state = finished(operation, is_done=is_done)
        seen.add(state)
    assert not {"connected", "listening"} <= seen
