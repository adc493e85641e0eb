"""What the workers of one machine share."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.sharing import (
    PortReservation,
    listening_socket,
    own_socket,
    require_free,
    shares,
)
from lattice.errors import ConflictError, InvalidError
from lattice.model.host import Capacity


@given(st.integers(1, 64), st.integers(64, 10**6), st.integers(64, 10**13))
def test_shares_add_up_to_the_machine_and_differ_by_one_at_most(count, cpu_milli, memory_bytes):
    parts = shares(Capacity(cpu_milli=cpu_milli, memory_bytes=memory_bytes), count)
    assert len(parts) == count
    for total, each in (
        (cpu_milli, [part.cpu_milli for part in parts]),
        (memory_bytes, [part.memory_bytes for part in parts]),
    ):
        assert sum(each) == total
        assert max(each) - min(each) <= 1


def test_more_workers_than_there_is_to_share_are_refused():
    with pytest.raises(InvalidError, match=r"0.003 cores .* between 4 workers"):
        shares(Capacity(cpu_milli=3, memory_bytes=1000), 4)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_many_listen_on_one_reserved_port_and_all_get_connections(host):
    reservation = PortReservation(host, 0)
    assert reservation.address[1] > 0
    listening = [listening_socket(reservation.address, backlog=64) for _ in range(2)]
    clients = [socket.create_connection(reservation.address) for _ in range(64)]
    counts = [len(accepted(each)) for each in listening]
    assert sum(counts) == len(clients)
    assert all(counts)
    for each in (*clients, *listening):
        each.close()
    reservation.close()


def test_a_reserved_port_that_nobody_listens_on_refuses_connections():
    reservation = PortReservation("127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(reservation.address)
    reservation.close()
    reservation.close()


def test_a_worker_that_starts_again_finds_the_port_of_the_one_that_died():
    reservation = PortReservation("127.0.0.1", 0)
    listening_socket(reservation.address, backlog=1).close()
    listening_socket(reservation.address, backlog=1).close()
    reservation.close()


def test_a_port_of_another_program_is_a_conflict():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} of 127.0.0.1 is taken"):
            PortReservation("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70000), ("no.", 0)])
def test_what_is_no_address_of_this_machine_is_invalid(host, port):
    with pytest.raises(InvalidError, match=host):
        PortReservation(host, port)


def test_a_socket_that_listens_is_closed_before_connections_when_its_process_is_killed():
    reserved = PortReservation("127.0.0.1", 0)
    listening = [listening_socket(reserved.address, backlog=1) for _ in range(2)]
    with socket.create_connection(reserved.address) as client:
        assert all(each.fileno() > client.fileno() for each in listening)
        assert len({each.fileno() for each in listening}) == 2
    for each in (*listening, reserved):
        each.close()


def test_a_port_that_somebody_listens_on_is_not_free_for_who_wants_it_alone():
    reserved = PortReservation("127.0.0.1", 0)
    require_free(*reserved.address)
    listening = listening_socket(reserved.address, backlog=1)
    for refused in (require_free, own_socket):
        with pytest.raises(ConflictError, match="is taken"):
            refused(*reserved.address)
    for each in (listening, reserved):
        each.close()


def accepted(listening):
    """Take what waits to be accepted, and close it."""
    found = []
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return found
        connection.close()
        found.append(connection)
