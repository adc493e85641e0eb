"""What our own client of NATS does when a server misbehaves, is overloaded or about to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from lattice.bus.base import Packet
from lattice.bus.mailbox import Mailbox
from lattice.bus.muxed_connect import connect_muxed
from lattice.bus.muxed_link import MuxedLink
from lattice.bus.muxed_protocol import MuxedProtocol
from lattice.bus.nats import NatsBus
from lattice.bus.options import ConnectOptions
from lattice.errors import DeniedError, InvalidError, OutcomeUnknownError, UnavailableError
from lattice.testing import eventually
from tests.contract.certificates import make_certificate
from tests.contract.scripted_server import ScriptedServer, scripted_server
from tests.contract.server import PlainServer
from tests.contract.taking import take_one


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops, because their sockets differ in small ways and the product runs on either."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def link(server: ScriptedServer) -> AsyncIterator[MuxedLink]:
    async with connect_muxed(ConnectOptions(servers=(server.url,))) as link:
        yield link


def box() -> Mailbox[Packet]:
    return Mailbox("test", limit=10)


async def reconnected(link: MuxedLink, count: int = 1) -> None:
    await eventually(lambda: link.reconnects >= count, what="the client reconnects")


async def test_a_lame_duck_is_left_for_another_server_of_its_cluster_with_all_interests(
    server: ScriptedServer, other: ScriptedServer, link: MuxedLink
) -> None:
    await link.attach("a.b", "q", box())
    await server.say_info(ldm=True, connect_urls=[other.url.removeprefix("nats://")])
    await reconnected(link)
    await other.heard("SUB a.b q ")
    await other.heard(f"SUB {link.inbox.pattern} ")
    assert link.state == "connected"
    assert server.clients == 1


async def test_a_lame_duck_that_is_the_only_server_is_kept_until_it_ends(
    server: ScriptedServer, link: MuxedLink
) -> None:
    await server.say_info(ldm=True)
    await link.flush()
    assert (link.state, link.reconnects) == ("connected", 0)


async def test_servers_that_a_server_told_of_are_tried_when_it_is_gone(
    server: ScriptedServer, other: ScriptedServer, link: MuxedLink
) -> None:
    await server.say_info(
        connect_urls=["x..y:1", other.url.removeprefix("nats://"), "no address:at all"]
    )
    await link.flush()
    await server.cut_off()
    await other.heard("CONNECT ")
    await reconnected(link)


async def test_a_server_that_answers_no_pings_is_given_up(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.muxed_protocol.PING_INTERVAL_S", 0.01)
    async with connect_muxed(ConnectOptions(servers=(server.url,))) as link:
        server.answers_pings = False
        await eventually(lambda: link.state == "disconnected", what="silence is noticed")
        server.answers_pings = True
        await reconnected(link)


@pytest.mark.parametrize("garbage", [b"nonsense\r\n", b"MSG a 1 x\r\n", b"INFO {\r\n", b"\x00" * 9])
async def test_garbage_ends_the_connection_and_not_the_link(
    server: ScriptedServer, link: MuxedLink, garbage: bytes
) -> None:
    mailbox = box()
    await link.attach("a", "", mailbox)
    await server.say(garbage if garbage.endswith(b"\n") else garbage + b"\r\n")
    await reconnected(link)
    sid = next(line for line in server.lines if line.startswith("SUB a ")).split()[2]
    await server.say(f"MSG a {sid} 2\r\nhi\r\n".encode())
    assert await take_one(mailbox) == Packet(subject="a", body=b"hi")


async def test_messages_nobody_listens_to_and_subjects_in_no_encoding_disturb_nobody(
    server: ScriptedServer, link: MuxedLink
) -> None:
    mailbox = box()
    await link.attach("a.*", "", mailbox)
    sid = next(line for line in server.lines if line.startswith("SUB a.* ")).split()[2].encode()
    await server.say(b"MSG x 999 1\r\nx\r\nMSG a.\xff " + sid + b" b\xfe 0\r\n\r\n")
    await server.say(f"MSG {link.inbox.pattern[:-1]}77 1 0\r\n\r\n".encode())  # a late reply
    assert await take_one(mailbox) == Packet(subject="a.\ufffd", reply_to="b\ufffd")
    await link.flush()


async def test_who_publishes_to_a_server_that_takes_nothing_waits_and_is_told_of_the_loss(
    server: ScriptedServer, link: MuxedLink
) -> None:
    server.reads = False
    sent = 0
    ended = anyio.Event()

    async def publish_for_ever() -> None:
        nonlocal sent
        while True:
            await link.send("a", b"x" * 500_000)
            sent += 1

    async def publish() -> None:
        with pytest.raises(UnavailableError):
            await publish_for_ever()
        ended.set()

    looks: list[int] = []

    def is_held_back() -> bool:
        """Tell whether nothing moves any more: sockets take something for a while."""
        looks.append(sent)
        full = link.connection is not None and link.connection.is_full
        return full and len(looks) > 8 and len(set(looks[-8:])) == 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        await eventually(is_held_back, what="the publisher is held back")
        full = sent
        with pytest.raises(UnavailableError, match="takes no messages"):
            await link.ask("a", timeout_s=0.05)
        assert not link.post("a", b"x")
        assert sent == full  # it waits
        await server.cut_off()
        with anyio.fail_after(5):
            await ended.wait()


async def test_requests_end_with_the_connection_if_they_say_so(
    server: ScriptedServer, link: MuxedLink
) -> None:
    outcomes: list[object] = []

    async def ask(*, ends: bool) -> None:
        try:
            outcomes.append(await link.ask("a", timeout_s=30, ends_with_connection=ends))
        except OutcomeUnknownError as error:
            outcomes.append(type(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: ask(ends=True))
        tasks.start_soon(lambda: ask(ends=False))
        await eventually(lambda: sum(one.startswith("PUB a ") for one in server.lines) == 2)
        patient = [line.split()[2] for line in server.lines if line.startswith("PUB a ")][1]
        await server.cut_off()
        await reconnected(link)
        assert outcomes == [OutcomeUnknownError]
        sid = next(one for one in server.lines if link.inbox.pattern in one).split()[2]
        await server.say(f"MSG {patient} {sid} 4\r\nlate\r\n".encode())
    assert outcomes == [OutcomeUnknownError, Packet(subject=patient, body=b"late")]


async def test_an_interest_that_ended_while_a_server_was_greeted_is_not_kept_there(
    server: ScriptedServer, link: MuxedLink
) -> None:
    attachment = await link.attach("a", "queue", box())
    server.answers_pings = False
    await server.cut_off()
    await eventually(lambda: sum(one.startswith("SUB a queue ") for one in server.lines) == 2)
    await attachment.end()
    server.answers_pings = True
    await server.say(b"PONG\r\n")
    await reconnected(link)
    await server.heard("UNSUB ")


async def test_the_limit_of_the_server_counts_if_it_is_lower(
    server: ScriptedServer, link: MuxedLink
) -> None:
    await server.say_info(max_payload=10)
    await link.flush()
    await link.send("a", b"x" * 10)
    with pytest.raises(InvalidError, match="at most 10"):
        await link.send("a", b"x" * 11)


async def test_a_refusal_reaches_who_asked_and_nobody_else(
    server: ScriptedServer, link: MuxedLink
) -> None:
    denied = anyio.Event()

    async def ask() -> None:
        with pytest.raises(DeniedError, match="may not publish to A"):
            await link.ask("A", timeout_s=30)
        denied.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(lambda: link.ask("B", timeout_s=30))
        await server.heard("PUB B ")
        await server.say(b"-ERR 'Permissions Violation for Publish to \"A\"'\r\n")
        with anyio.fail_after(5):
            await denied.wait()
        assert link.state == "connected"
        tasks.cancel_scope.cancel()


class Written(asyncio.Transport):
    """Where a protocol writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def test_a_turn_of_the_loop_is_one_write_in_the_order_of_publishing(link: MuxedLink) -> None:
    transport = Written()
    protocol = MuxedProtocol(link.session, link)
    protocol.connection_made(transport)
    for number in range(100):
        protocol.publish(b"PUB a 2\r\n", b"%02d" % number)
    protocol.write(b"PONG\r\n")
    assert transport.writes == []
    await anyio.lowlevel.checkpoint()
    messages = [b"PUB a 2\r\n%02d\r\n" % number for number in range(100)]
    assert transport.writes == [b"".join([*messages, b"PONG\r\n"])]


async def test_the_error_of_who_uses_a_connection_is_not_wrapped(server: ScriptedServer) -> None:
    async def fail() -> None:
        async with connect_muxed(ConnectOptions(servers=(server.url,))):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_a_server_without_headers_is_refused(server: ScriptedServer) -> None:
    server.info["headers"] = False
    with pytest.raises(UnavailableError, match="too old: it knows no headers"):
        async with connect_muxed(ConnectOptions(servers=(server.url,))):
            pass


async def test_a_server_that_says_nothing_does_not_use_up_the_time_of_the_next(
    server: ScriptedServer, other: ScriptedServer
) -> None:
    server.answers_pings = False
    servers = (server.url, other.url)
    for _ in range(3):  # they are tried in random order
        async with connect_muxed(ConnectOptions(servers=servers, connect_timeout_s=0.5)) as link:
            assert link.state == "connected"


async def test_cancelling_while_a_server_is_reached_leaves_no_socket(
    server: ScriptedServer,
) -> None:
    server.answers_pings = False
    with anyio.move_on_after(30) as scope:
        async with anyio.create_task_group() as tasks:

            async def connect() -> None:
                async with connect_muxed(ConnectOptions(servers=(server.url,))):
                    pass

            tasks.start_soon(connect)
            await server.heard("CONNECT ")
            tasks.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert asyncio.get_running_loop().is_running()


@pytest.mark.nats
async def test_tls_carries_large_messages_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "server")
    lines = f'tls {{ cert_file: "{certificate.cert}", key_file: "{certificate.key}" }}'
    server = PlainServer(tmp_path, lines)
    server.start()
    try:
        options = ConnectOptions(servers=(server.url,), tls_ca=certificate.cert)
        async with connect_muxed(options) as link:
            bus = NatsBus(link)

            async def echo(packet: Packet) -> bytes:
                return packet.body

            async with bus.serve("echo", echo):
                body = bytes(range(256)) * 4000
                assert (await bus.request("echo", body, timeout_s=10)).body == body
                server.stop()
                server.start()
                await reconnected(link)
                assert (await bus.request("echo", body, timeout_s=10)).body == body
    finally:
        server.stop()
