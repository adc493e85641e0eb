"""Connections between the instances of one replica, which never reach the machine."""

from __future__ import annotations

import os
import socket

import anyio

from hosts.engine.network.loopback import Loopback
from hosts.engine.network.options import Option
from hosts.engine.network.table import INTERESTS, READ, STATE
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
    new,
    receive,
    send,
    serve,
    wait,
)

__all__ = ["lines", "new", "serve"]  # fixtures


async def test_instances_of_one_replica_reach_each_other(new: New) -> None:
    loopback = Loopback()
    one, other = new(loopback=loopback), new(loopback=loopback)
    listener, port = listen(one)
    near = await connect(other, port)
    await wait(one, listener, STATE)
    far = one.accept(listener)
    data = os.urandom(500_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, other, near, data)
        assert await receive(one, far, len(data)) == data
    assert one.tcp(far).remote == other.tcp(near).local
    one.close_all()
    await wait(other, near, READ)
    assert other.tcp(near).stream.receive(1) is None


async def test_replicas_do_not_reach_each_other(new: New) -> None:
    _, port = listen(new())
    sockets = new()
    number = sockets.create(4)
    sockets.tcp(number).start_connect(address(HERE, port))
    assert code(sockets.tcp(number).finish_connect) == "connection-refused"


async def test_accept_waits_for_a_connection_and_timers_count_too(new: New) -> None:
    sockets = new()
    listener, port = listen(sockets)
    assert code(sockets.accept, listener) == "would-block"
    with anyio.fail_after(10):
        await sockets.wait([listener * INTERESTS], 1)  # an instant long gone
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sockets.wait, [listener * INTERESTS], FOR_EVER)
            await anyio.wait_all_tasks_blocked()
            await connect(new(loopback=sockets._loopback), port)
    assert sockets.accept(listener)


async def test_ports_are_given_back_with_the_socket(new: New) -> None:
    sockets = new()
    listener, port = listen(sockets)
    number = sockets.create(4)
    sockets.tcp(number).start_bind(address("0.0.0.0", port))
    assert code(sockets.tcp(number).finish_bind) == "address-in-use"
    sockets.close(listener)
    sockets.tcp(number).start_bind(address("0.0.0.0", port))
    sockets.tcp(number).finish_bind()


async def test_states_are_those_of_the_interface(new: New) -> None:
    sockets = new()
    made = sockets.tcp(sockets.create(4))
    assert code(made.finish_bind) == "not-in-progress"
    assert code(made.start_listen) == "invalid-state"
    assert code(lambda: made.local) == "invalid-state"
    assert code(lambda: made.stream) == "invalid-state"
    assert code(made.shut, receive=True, send=True) == "invalid-state"
    for wrong in ("::1", "224.0.0.1"):
        assert code(made.start_bind, address(wrong, 0)) == "invalid-argument"
    for host, port in (("0.0.0.0", 80), (HERE, 0), ("::1", 80)):
        assert code(made.start_connect, address(host, port)) == "invalid-argument"
    made.start_bind(address(HERE, 0))
    assert code(made.start_listen) == "concurrency-conflict"
    made.finish_bind()
    assert code(made.start_bind, address(HERE, 0)) == "invalid-state"
    assert made.local.port > 0
    made.start_listen()
    assert not made.is_listening
    made.finish_listen()
    assert made.is_listening
    assert code(made.start_connect, address(HERE, 80)) == "invalid-state"
    assert code(lambda: made.remote) == "invalid-state"
    assert code(sockets.tcp, 99) == "invalid-state"
    sockets.close(99)


async def test_options_are_remembered_and_told_to_the_system(new: New, serve: Serve) -> None:
    port = await serve(echo)
    sockets = new(granted(f"{HERE}:{port}"))
    number = await connect(sockets, port)
    made = sockets.tcp(number)
    assert (made.option("hop-limit"), made.option("keep-alive-enabled")) == (64, 0)
    wanted: dict[Option, int] = {"hop-limit": 5, "keep-alive-enabled": 1, "keep-alive-count": 3}
    for option, value in wanted.items():
        made.set_option(option, value)
        assert made.option(option) == value
    made.set_option("receive-buffer-size", 1 << 40)
    assert made.option("receive-buffer-size") == 1 << 20
    assert code(made.set_option, "hop-limit", 0) == "invalid-argument"
    assert code(made.set_option, "listen-backlog-size", 1) == "invalid-state"
    kernel = made._kernel
    assert kernel is not None
    assert kernel.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 5
    assert kernel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
