"""The network inside one replica, and its connections in memory."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.network.errors import SocketError
from hosts.engine.network.loopback import BACKLOG_MAX, Loopback
from hosts.engine.network.pipes import PIPE_BYTES_MAX, LoopbackStream, Place, connection

HERE = ipaddress.ip_address("127.0.0.1")
OTHER = ipaddress.ip_address("127.0.0.2")
ANY = ipaddress.ip_address("0.0.0.0")
HERE6 = ipaddress.ip_address("::1")


def nobody() -> None:
    """Nobody is woken."""


def pair() -> tuple[LoopbackStream, LoopbackStream]:
    return connection(Place(HERE, 1), Place(HERE, 2))


def code(function: object, *args: object) -> str:
    with pytest.raises(SocketError) as caught:
        function(*args)  # type: ignore[operator]  # any function
    return caught.value.code


# --- places ----------------------------------------------------------------------------------


def test_place_belongs_to_one_until_it_is_released() -> None:
    loopback = Loopback()
    place = loopback.bind(HERE, 80)
    assert code(loopback.bind, HERE, 80) == "address-in-use"
    assert code(loopback.bind, ANY, 80) == "address-in-use"
    assert loopback.bind(OTHER, 80).port == 80
    assert loopback.bind(HERE6, 80).port == 80
    loopback.release(place)
    assert loopback.bind(HERE, 80) == place


def test_any_port_is_a_free_one() -> None:
    loopback = Loopback()
    first = loopback.bind(HERE, 0)
    taken = loopback.bind(HERE, first.port + 1)
    assert loopback.bind(ANY, 0).port not in {first.port, taken.port}


def test_when_no_port_is_left_none_is_given() -> None:
    loopback = Loopback()
    for _ in range(65536 - 49152):
        loopback.bind(ANY, 0)
    assert code(loopback.bind, HERE, 0) == "address-in-use"


def test_connection_needs_a_listener_at_its_address() -> None:
    loopback = Loopback()
    assert code(loopback.connect, HERE, 80, None) == "connection-refused"
    place = loopback.bind(HERE, 80)
    assert code(loopback.connect, HERE, 80, None) == "connection-refused"
    listener = loopback.listen(place, 5, nobody)
    near = loopback.connect(HERE, 80, None)
    far = listener.waiting.popleft()
    assert (near.local, near.remote) == (far.remote, far.local)
    assert code(loopback.connect, OTHER, 80, None) == "connection-refused"
    assert code(loopback.connect, HERE6, 80, None) == "connection-refused"


def test_who_listens_on_all_addresses_is_found_at_each() -> None:
    loopback = Loopback()
    listener = loopback.listen(loopback.bind(ANY, 80), 5, nobody)
    loopback.connect(HERE, 80, None)
    loopback.connect(OTHER, 80, None)
    assert len(listener.waiting) == 2


def test_waiting_connections_are_bounded() -> None:
    loopback = Loopback()
    listener = loopback.listen(loopback.bind(HERE, 80), 10**9, nobody)
    for _ in range(BACKLOG_MAX):
        loopback.connect(HERE, 80, None)
    assert code(loopback.connect, HERE, 80, None) == "connection-refused"
    assert len(listener.waiting) == BACKLOG_MAX


def test_listener_that_leaves_ends_the_connections_that_wait_for_it() -> None:
    loopback = Loopback()
    place = loopback.bind(HERE, 80)
    loopback.listen(place, 5, nobody)
    near = loopback.connect(HERE, 80, None)
    loopback.release(place)
    assert near.receive(1) is None
    assert loopback.is_empty


def test_two_loopbacks_know_nothing_of_each_other() -> None:
    one, other = Loopback(), Loopback()
    one.listen(one.bind(HERE, 80), 5, nobody)
    assert code(other.connect, HERE, 80, None) == "connection-refused"


# --- connections -----------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(1, 50))
def test_bytes_arrive_in_order(parts: list[bytes], length: int) -> None:
    near, far = pair()
    for part in parts:
        near.send(part)
    near.shut(receive=False, send=True)
    found = b""
    while (data := far.receive(length)) is not None:
        assert 0 < len(data) <= length
        found += data
    assert found == b"".join(parts)


def test_what_is_not_read_is_bounded() -> None:
    near, far = pair()
    near.send(bytes(PIPE_BYTES_MAX - 1))
    assert near.offered() == 1
    near.send(b"x")
    assert (near.offered(), near.is_writable) == (0, False)
    assert far.receive(10) == bytes(10)
    assert (near.offered(), near.is_writable) == (10, True)


def test_each_side_is_woken_when_there_is_something_to_do() -> None:
    near, far = pair()
    woken: list[str] = []
    near.attach(lambda: woken.append("near"))
    far.attach(lambda: woken.append("far"))
    near.send(b"ab")
    assert (woken, far.is_readable) == (["far"], True)
    far.receive(1)
    assert woken == ["far", "near"]
    far.close()
    assert woken[2:]
    assert set(woken[2:]) == {"near"}


def test_half_closed_connection_still_carries_the_other_half() -> None:
    near, far = pair()
    near.send(b"question")
    near.shut(receive=False, send=True)
    assert code(near.offered) == "invalid-state"
    assert (far.receive(100), far.receive(100)) == (b"question", None)
    far.send(b"answer")
    far.close()
    assert (near.receive(100), near.receive(100)) == (b"answer", None)


def test_who_wants_no_more_does_not_hold_up_the_sender() -> None:
    near, far = pair()
    near.send(b"lost")
    far.shut(receive=True, send=False)
    assert far.receive(10) is None
    for _ in range(3):
        near.send(bytes(PIPE_BYTES_MAX))
    assert near.offered() == PIPE_BYTES_MAX


def test_peer_that_left_unread_bytes_is_a_reset_told_once() -> None:
    near, far = pair()
    near.send(b"never read")
    far.send(b"lost with it")
    far.close()
    assert near.is_readable
    assert code(near.receive, 10) == "connection-reset"
    assert near.receive(10) is None
    assert code(near.offered) == "connection-reset"


def test_what_was_sent_before_the_peer_left_is_no_fault() -> None:
    near, far = pair()
    near.send(b"question")
    assert far.receive(100) == b"question"
    far.send(b"answer")
    far.close()
    assert near.offered() == PIPE_BYTES_MAX  # a guest asks when it flushes what it sent
    assert near.receive(100) == b"answer"
    near.send(b"more")  # is lost
    assert code(near.offered) == "connection-reset"
    assert near.receive(100) is None


def test_closing_twice_does_nothing_more() -> None:
    near, far = pair()
    far.close()
    far.close()
    assert near.receive(1) is None
