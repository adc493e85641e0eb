"""A served guest and all that clients and guests can do to it: it goes on answering, and nothing
is left behind."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.streaming import stream
from tests.chaos.scale import TIMEOUT_S, sized
from tests.chaos.victim import GET, Victim, reset, rest, serving
from tests.guests import web_guests

pytestmark = [pytest.mark.e2e, pytest.mark.wasm, pytest.mark.timeout(TIMEOUT_S)]

CHUNKED = (
    b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n"
)
REQUESTS = {
    "length": b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    "chunked": CHUNKED,
    "continue": CHUNKED.replace(b"host: a", b"host: a\r\nexpect: 100-continue"),
    "events": b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n",
}
FAULTS = {
    "/trap": 500, "/nothing": 500, "/error": 500, "/shorter": 500, "/twice": 500,
    "/half": 200, "/half-trap": 200,
}  # fmt: skip
"""What a guest may do wrong, and the status that goes out: of an answer that has begun, its own."""

PATHS = tuple(FAULTS)
GROWTH_BYTES = 64 << 20
"""Of memory that does not count as lost: pools and caches that fill once."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server whose guests have two seconds for a request."""
    yield from served(tmp_path_factory.mktemp("victim"), "2s")


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server whose guests have as long as a test has."""
    yield from served(tmp_path_factory.mktemp("patient"), "20m")


def served(home: Path, deadline: str) -> Iterator[Victim]:
    guest = home / "paths.wasm"
    guest.write_bytes(web_guests.paths())
    with serving(guest, home, "--deadline", deadline, "--concurrency", "32") as victim:
        assert victim.is_well()
        yield victim
        assert victim.complaints() == []


@pytest.fixture
def unharmed(victim: Victim) -> Iterator[Victim]:
    """The server, which has as many descriptors after the test as before it."""
    assert victim.is_well()
    before = victim.descriptors()
    yield victim
    victim.until(lambda: victim.descriptors() <= before)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_clients_that_leave_at_any_byte_of_their_request(unharmed: Victim, request_: bytes) -> None:
    for _ in range(sized(1, 20)):
        for cut in range(len(request_) + 1):
            client = unharmed.connect()
            client.sendall(request_[:cut])
            reset(client)
    assert unharmed.is_well()


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_clients_that_leave_at_any_byte_of_their_answer(unharmed: Victim, request_: bytes) -> None:
    request_ = request_.replace(b"host: a", b"host: a\r\nconnection: close")
    whole = len(unharmed.ask(request_))
    for cut in range(0, whole, sized(3, 1)):
        client = unharmed.connect()
        client.sendall(request_)
        left = cut
        while left > 0 and (part := client.recv(left)):
            left -= len(part)
        reset(client)
    assert unharmed.is_well()


def test_clients_that_leave_within_a_long_answer(unharmed: Victim) -> None:
    for taken in range(0, 3_000_000, sized(400_000, 10_000)):
        client = unharmed.connect()
        client.sendall(b"GET /large?3000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        left = taken
        while left > 0 and (part := client.recv(min(left, 65536))):
            left -= len(part)
        reset(client)
    assert unharmed.is_well()


def test_requests_cut_in_two_anywhere_have_the_same_answer(unharmed: Victim) -> None:
    request = CHUNKED.replace(b"host: a", b"host: a\r\nconnection: close")
    for cut in range(len(request) + 1):
        answer = unharmed.ask(request[:cut], request[cut:])
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n0\r\nx: y\r\n\r\n")


@pytest.mark.parametrize("path", FAULTS)
def test_guests_that_fail_leave_the_others_alone(unharmed: Victim, path: str) -> None:
    for _ in range(sized(20, 1000)):
        answer = unharmed.path(path)
        assert answer.startswith(b"HTTP/1.1 %d " % FAULTS[path])
        # An answer that breaks off must not look whole.
        assert FAULTS[path] == 500 or not answer.endswith(b"0\r\n\r\n")
        assert unharmed.is_well()


def test_guests_that_never_answer_are_ended_while_others_answer(unharmed: Victim) -> None:
    for path in ("/forever", "/spin") * sized(1, 10):
        clients = [unharmed.connect() for _ in range(sized(4, 16))]
        for client in clients:
            client.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        assert unharmed.is_well()
        for client in clients:
            assert rest(client).startswith(b"HTTP/1.1 504 ")
            client.close()


def test_memory_does_not_grow_with_requests_that_fail(unharmed: Victim) -> None:
    def rounds(number: int) -> None:
        for index in range(number):
            unharmed.path(PATHS[index % len(PATHS)])
            client = unharmed.connect()
            client.sendall(CHUNKED[: index % len(CHUNKED)])
            reset(client)

    rounds(100)
    before = unharmed.resident_bytes()
    rounds(sized(300, 20_000))
    assert unharmed.resident_bytes() - before < GROWTH_BYTES


@pytest.mark.parametrize("way", ["up", "down", "echo"])
def test_long_bodies_pass_in_little_memory(patient: Victim, way: str) -> None:
    length = sized(64_000_000, 1_000_000_000)
    sent = 0 if way == "down" else length
    target = {"up": "/count", "down": f"/large?{length}", "echo": "/echo"}[way]
    before = patient.resident_bytes()
    patient.tree.forget_peak()
    passed = stream(patient.port, target, sent)
    assert patient.tree.peak_bytes() - before < GROWTH_BYTES
    if way == "up":
        assert str(length).encode() in passed.last
    else:
        assert passed.taken_bytes >= length


def test_a_crowd_that_drips_its_heads_keeps_nobody_from_an_answer(unharmed: Victim) -> None:
    head = b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 20
    with crowd(unharmed, sized(200, 900)) as clients:
        for at in range(sized(20, len(head))):
            for client in clients:
                client.sendall(head[at : at + 1])
            assert unharmed.is_well()


def test_a_crowd_of_endless_heads_is_refused_in_bounded_memory(unharmed: Victim) -> None:
    before = unharmed.resident_bytes()
    bomb = b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: " + b"y" * 31_000
    with crowd(unharmed, sized(100, 900)) as clients:
        for client in clients:
            client.sendall(bomb)
        assert unharmed.is_well()
        grown = unharmed.resident_bytes() - before
        assert grown < GROWTH_BYTES + len(clients) * 128 * 1024
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"y" * 2_000)
            assert rest(client).startswith(b"HTTP/1.1 431 ")


def test_clients_that_take_nothing_of_long_answers_hold_up_nobody(unharmed: Victim) -> None:
    before = unharmed.resident_bytes()
    with crowd(unharmed, 16) as clients:
        for client in clients:
            client.sendall(b"GET /large?50000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        for client in clients:
            assert client.recv(1) == b"H"
        assert unharmed.is_well()
        assert unharmed.resident_bytes() - before < GROWTH_BYTES


def test_many_threads_of_every_kind_of_client_at_once(unharmed: Victim) -> None:
    wrong: list[bytes] = []

    def one(number: int) -> None:
        for turn in range(sized(20, 1500)):
            kind = (number + turn) % 4
            if kind == 0:
                answer = unharmed.ask(CHUNKED.replace(b"host: a", b"host: a\r\nconnection: close"))
                is_right = answer.endswith(b"5\r\nhello\r\n0\r\nx: y\r\n\r\n") or b"hel" in answer
            elif kind == 1:
                is_right = unharmed.path(PATHS[turn % len(PATHS)]).startswith(b"HTTP/1.1 ")
            elif kind == 2:
                answer = unharmed.ask(b"GET / HTTP/1.1\r\nhost: a\r\n x\r\n\r\n")
                is_right = answer.startswith(b"HTTP/1.1 400 ")
            else:
                client = unharmed.connect()
                client.sendall(GET[: turn % len(GET)])
                reset(client)
                is_right = True
            if not is_right:
                wrong.append(answer)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@contextlib.contextmanager
def crowd(victim: Victim, number: int) -> Iterator[list[socket.socket]]:
    """Yield so many connections, and close them."""
    clients = [victim.connect() for _ in range(number)]
    try:
        yield clients
    finally:
        for client in clients:
            reset(client)
