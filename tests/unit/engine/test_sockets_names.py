"""Names that a guest looks up: those granted, and where they may lead."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import pytest

from hosts.engine.network import lookup
from hosts.engine.network.table import STATE, Sockets
from tests.unit.engine.socket_peers import (
    New,
    code,
    granted,
    lines,
    new,
    wait,
)

__all__ = ["lines", "new"]  # fixtures


Answers = Callable[[dict[str, list[str] | int]], None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return what makes the system's resolver answer: addresses, or the number of a failure."""

    def set_answers(known: dict[str, list[str] | int]) -> None:
        def getaddrinfo(name: str, *_args: object, **_named: object) -> list[object]:
            found = known[name]
            if isinstance(found, int):
                raise socket.gaierror(found, "no answer")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return set_answers


async def resolve(sockets: Sockets, name: str) -> list[str]:
    number = sockets.look_up(name)
    await wait(sockets, number, STATE)
    found = []
    while (each := sockets.next_address(number)) is not None:
        found.append(str(each))
    sockets.close(number)
    return found


async def test_name_that_is_granted_may_be_connected_to_at_its_addresses(
    new: New, answers: Answers, lines: list[str]
) -> None:
    answers({"db.example.com": ["8.8.8.8", "8.8.8.8", "2600::1", "::ffff:8.8.4.4"]})
    sockets = new(granted("db.example.com:5432"))
    assert await resolve(sockets, "DB.example.com.") == ["8.8.8.8", "2600::1"]
    access = sockets._access
    access.require_connect(ipaddress.ip_address("8.8.8.8"), 5432)
    assert code(access.require_connect, ipaddress.ip_address("8.8.8.8"), 80) == "access-denied"
    assert 'connect: ["db.example.com:80"]' in lines[0]
    another = new(granted("db.example.com:5432"))._access
    assert code(another.require_connect, ipaddress.ip_address("8.8.8.8"), 5432) == "access-denied"


async def test_name_that_leads_into_a_private_network_is_denied(
    new: New, answers: Answers, lines: list[str]
) -> None:
    answers({"rebind.example.com": ["10.0.0.1", "8.8.8.8"], "inner.example.com": ["127.0.0.1"]})
    sockets = new(granted("*.example.com:80"))
    assert await resolve(sockets, "rebind.example.com") == ["8.8.8.8"]
    number = sockets.look_up("inner.example.com")
    await wait(sockets, number, STATE)
    assert code(sockets.next_address, number) == "access-denied"
    assert "rebind.example.com resolves to 10.0.0.1, which lies in 10.0.0.0/8" in lines[0]
    assert 'connect: ["127.0.0.1:PORT"]' in lines[1]
    allowed = new(granted("*.example.com:80", "10.0.0.0/8:80"))
    assert await resolve(allowed, "rebind.example.com") == ["10.0.0.1", "8.8.8.8"]


async def test_name_that_is_not_granted_is_not_looked_up(new: New, lines: list[str]) -> None:
    sockets = new(granted("a.example.com:80", lookup="c.example.com"))
    assert code(sockets.look_up, "b.example.com") == "access-denied"
    assert 'lookup: ["b.example.com"]' in lines[0]
    for wrong in ("", "a b", "127.1", "x" * 64):
        assert code(sockets.look_up, wrong) == "invalid-argument"


async def test_localhost_and_addresses_need_no_grant(new: New) -> None:
    sockets = new()
    assert await resolve(sockets, "localhost") == ["127.0.0.1", "::1"]
    assert await resolve(sockets, "a.localhost.") == ["127.0.0.1", "::1"]
    assert await resolve(sockets, "10.0.0.1") == ["10.0.0.1"]
    assert await resolve(sockets, "fd00::1") == ["fd00::1"]


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (socket.EAI_NONAME, "name-unresolvable"),
        (socket.EAI_AGAIN, "temporary-resolver-failure"),
        (socket.EAI_FAIL, "permanent-resolver-failure"),
    ],
)
async def test_failures_of_the_resolver_have_their_codes(
    new: New, answers: Answers, number: int, wanted: str
) -> None:
    answers({"a.org": number})
    sockets = new(granted("a.org:80"))
    looked_up = sockets.look_up("a.org")
    await wait(sockets, looked_up, STATE)
    assert code(sockets.next_address, looked_up) == wanted


async def test_resolver_that_does_not_answer_is_given_up(
    new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go_on = threading.Event()

    def hang(*_args: object, **_named: object) -> list[object]:
        go_on.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(lookup, "LOOKUP_S_MAX", 0.02)
    sockets = new(granted("a.org:80"))
    number = sockets.look_up("a.org")
    assert code(sockets.next_address, number) == "would-block"
    await wait(sockets, number, STATE)
    assert code(sockets.next_address, number) == "temporary-resolver-failure"
    sockets.close(sockets.look_up("a.org"))
    go_on.set()
