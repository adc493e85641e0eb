"""Sockets of an instance are bounded, and none outlives it, whatever its guest does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.engine.network import machine, tcpstream
from hosts.engine.network.errors import SocketError
from hosts.engine.network.loopback import Loopback
from hosts.engine.network.table import INTERESTS, READ, SOCKETS_MAX, STATE, WRITE, Sockets
from hosts.engine.network.tcpstream import SEND_BYTES_MAX
from lattice.model.network import NOTHING
from tests.unit.engine.socket_peers import (
    FOR_EVER,
    HERE,
    New,
    Serve,
    address,
    code,
    connect,
    echo,
    granted,
    lines,
    listen,
    needs_proc,
    new,
    serve,
    silent,
    sockets_open,
    wait,
)

__all__ = ["lines", "new", "serve"]  # fixtures


@needs_proc
async def test_guest_cancelled_while_it_connects_leaves_nothing_open(new: New) -> None:
    with silent() as port:
        before = sockets_open()
        sockets = new(granted(f"{HERE}:{port}"))
        number = sockets.create(4)
        sockets.tcp(number).start_connect(address(HERE, port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sockets.wait, [number * INTERESTS], FOR_EVER)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert sockets_open() == before + 1
        sockets.close_all()
        assert sockets_open() == before


@needs_proc
async def test_all_is_closed_with_the_instance(
    new: New, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcpstream, "LINGER_S", 60.0)
    holding = anyio.Event()

    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await holding.wait()

    port = await serve(hold)
    before = sockets_open()
    sockets = new(granted(f"{HERE}:{port}", listen="127.0.0.1:*"))
    full = await connect(sockets, port)
    while sockets.tcp(full).stream.offered():
        sockets.send(full, bytes(SEND_BYTES_MAX))
    sockets.close(full)  # it has bytes still to leave
    for _ in range(3):
        await connect(sockets, port)
    listener, own = listen(sockets)
    await connect(new(granted(f"{HERE}:{own}")), own)
    await wait(sockets, listener, STATE)  # it has taken the connection, which nobody accepts
    assert sockets_open() > before
    sockets.close_all()
    sockets.close_all()
    holding.set()
    with anyio.fail_after(10):
        while sockets_open() > before + 1:  # the other instance's end, until the fixture closes it
            await anyio.lowlevel.checkpoint()


async def test_sockets_of_one_instance_are_bounded(new: New) -> None:
    sockets = new()
    listener, port = listen(sockets)
    for _ in range(SOCKETS_MAX - 2):
        sockets.create(4)
    number = await connect(sockets, port)
    assert code(sockets.create, 4) == "new-socket-limit"
    assert code(sockets.accept, listener) == "new-socket-limit"
    sockets.close(number)
    assert sockets.create(6)


async def test_sockets_of_all_guests_leave_open_files_to_the_host(
    new: New, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await serve(echo)
    one, other = (new(granted(f"{HERE}:{port}")) for _ in range(2))
    number = await connect(one, port)
    monkeypatch.setattr(machine, "SOCKETS_OF_PROCESS_MAX", 1)
    refused = other.create(4)
    other.tcp(refused).start_connect(address(HERE, port))
    assert code(other.tcp(refused).finish_connect) == "new-socket-limit"
    one.close(number)
    assert await connect(other, port)


OPERATIONS: list[Callable[[Sockets, int, int], object]] = [
    lambda sockets, _number, _port: sockets.create(4),
    lambda sockets, number, port: sockets.tcp(number).start_bind(address(HERE, port)),
    lambda sockets, number, _port: sockets.tcp(number).finish_bind(),
    lambda sockets, number, port: sockets.tcp(number).start_connect(address(HERE, port)),
    lambda sockets, number, _port: sockets.tcp(number).finish_connect(),
    lambda sockets, number, _port: sockets.tcp(number).start_listen(),
    lambda sockets, number, _port: sockets.tcp(number).finish_listen(),
    lambda sockets, number, _port: sockets.accept(number),
    lambda sockets, number, _port: sockets.tcp(number).stream.receive(10),
    lambda sockets, number, _port: sockets.send(number, b"x"),
    lambda sockets, number, _port: sockets.shut(number, "send"),
    lambda sockets, number, _port: sockets.shut(number, "receive"),
    lambda sockets, number, _port: sockets.is_ready(number * INTERESTS + STATE),
    lambda sockets, number, _port: sockets.is_ready(number * INTERESTS + READ),
    lambda sockets, number, _port: sockets.is_ready(number * INTERESTS + WRITE),
    lambda sockets, number, _port: sockets.address_of(number, is_remote=True),
    lambda sockets, number, _port: sockets.close(number),
]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(1, 5), st.integers(1, 2)), max_size=60
    )
)
def test_whatever_a_guest_does_it_gets_an_answer_and_nothing_is_left(
    steps: list[tuple[Callable[[Sockets, int, int], object], int, int]],
) -> None:
    async def play() -> None:
        loopback = Loopback()
        sockets = Sockets(NOTHING, loopback, lambda _level, _line: None)
        for _ in range(3):
            sockets.create(4)
        for operation, number, port in steps:
            with contextlib.suppress(SocketError):
                operation(sockets, number, port)
        sockets.close_all()
        assert loopback.is_empty

    asyncio.run(play())
