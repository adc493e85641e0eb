"""A first connection that does not come about says why and what to do.

These tests are about connecting itself: each needs a server with another kind of credentials or of
TLS, which the product's own has not.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.abc
import nkeys
import pytest

from lattice.bus.connecting import connect_options
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.linking import connect_link
from lattice.bus.options import ConnectOptions
from lattice.config import Settings
from lattice.errors import DeniedError, InvalidError, LatticeError, UnavailableError
from tests.contract.certificates import Certificate, make_certificate
from tests.contract.server import PlainServer

pytestmark = [pytest.mark.nats, pytest.mark.usefixtures("each_client")]

Start = Callable[[str], PlainServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server with more lines of configuration."""
    servers: list[PlainServer] = []

    def start_server(extra: str) -> PlainServer:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        server = PlainServer(directory, extra)
        server.start()
        servers.append(server)
        return server

    yield start_server
    for server in servers:
        server.stop()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "server")


def tls_lines(certificate: Certificate, more: str = "") -> str:
    return f'tls {{ cert_file: "{certificate.cert}", key_file: "{certificate.key}"\n {more} }}'


def seed() -> bytes:
    return bytes(nkeys.encode_seed(ssl.RAND_bytes(32), nkeys.PREFIX_BYTE_USER))


async def failure(options: ConnectOptions) -> LatticeError:
    """Return the error of a connection, which must come well before a person gives up."""
    with anyio.fail_after(5), pytest.raises(LatticeError) as caught:
        async with connect_link(options):
            pass
    return caught.value


async def works(options: ConnectOptions) -> bool:
    async with connect_link(options) as link:
        await link.flush()
        return link.state == "connected"


async def free_port() -> int:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    return int(port)


async def test_a_server_that_is_not_there_is_unavailable_with_advice() -> None:
    url = f"nats://me:secret@127.0.0.1:{await free_port()}"
    error = await failure(ConnectOptions(servers=(url,)))
    assert isinstance(error, UnavailableError)
    assert f"cannot reach NATS at nats://127.0.0.1:{url[-5:].rpartition(':')[2]}" in error.message
    assert 'start one with "lattice up", or pass --nats' in error.message
    assert "secret" not in str(error.to_wire())


async def test_one_of_several_servers_is_enough(shared_nats: EmbeddedNats) -> None:
    right, key = shared_nats.url, shared_nats.seed_path("client")
    away = f"nats://127.0.0.1:{await free_port()}"
    for _ in range(3):  # they are tried in random order
        servers = (away, right, away)
        options = connect_options(Settings(servers=servers, nkey=key), name="test")
        assert await works(options)


async def test_something_that_is_not_nats_is_unavailable() -> None:
    async def greet(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def stay_silent(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    for handler in (greet, stay_silent):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, handler)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            url = f"nats://127.0.0.1:{port}"
            error = await failure(ConnectOptions(servers=(url,), connect_timeout_s=0.3))
            assert isinstance(error, UnavailableError)
            assert url in error.message
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url", ["nats://", "nats://127.0.0.1:port", "nats://h:70000", "http://h:1", "h h:1", "", ":1"]
)
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="servers: "):
        ConnectOptions(servers=(url,))


async def test_wrong_and_missing_credentials_are_denied(start: Start) -> None:
    right, wrong = seed(), seed()
    public = nkeys.from_seed(bytearray(right)).public_key.decode()
    url = start(f"authorization {{ users: [ {{ nkey: {public} }} ] }}").url
    assert await works(ConnectOptions(servers=(url,), nkey_seed=right))

    error = await failure(ConnectOptions(servers=(url,), nkey_seed=wrong))
    assert isinstance(error, DeniedError)
    assert f"NATS at {url} refuses the given nkey" in error.message
    error = await failure(ConnectOptions(servers=(url,)))
    assert isinstance(error, DeniedError)
    assert "refuses a client without credentials" in error.message
    error = await failure(ConnectOptions(servers=(url,), user="me", password="no"))
    assert isinstance(error, DeniedError)
    assert "refuses user me" in error.message
    assert wrong.decode() not in repr(ConnectOptions(nkey_seed=wrong))


async def test_user_and_token_are_taken(start: Start) -> None:
    url = start("authorization { user: me, password: pass }").url
    assert await works(ConnectOptions(servers=(url,), user="me", password="pass"))
    url = start("authorization { token: t0ken }").url
    assert await works(ConnectOptions(servers=(url,), token="t0ken"))


async def test_files_that_cannot_be_used_are_invalid(tmp_path: Path) -> None:
    absent, empty = tmp_path / "absent", tmp_path / "empty"
    empty.write_bytes(b"")
    for options, message in (
        (ConnectOptions(creds=absent), "creds file .*absent cannot be read: No such file"),
        (ConnectOptions(creds=empty), "creds file .*empty has no user JWT and seed"),
        (ConnectOptions(nkey_seed_path=absent), "nkey file .*absent cannot be read"),
        (ConnectOptions(nkey_seed_path=empty), "nkey file .*empty holds no nkey seed"),
        (ConnectOptions(nkey_seed=b"SUnonsense"), "nkey seed holds no nkey seed"),
        (ConnectOptions(tls_ca=absent), "tls-ca file .*absent cannot be read"),
        (ConnectOptions(tls_ca=empty), "tls-ca file .*empty holds no certificate"),
        (ConnectOptions(tls_cert=empty, tls_key=empty), "do not fit"),
    ):
        with pytest.raises(InvalidError, match=message):
            async with connect_link(options):
                pass


def test_options_that_contradict_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidError) as caught:
        ConnectOptions(servers=(), user="me", token="t", tls_cert=Path("cert"))
    assert len(caught.value.faults) == 3


# --- TLS ----------------------------------------------------------------------------------------


async def test_a_server_with_a_trusted_certificate_is_taken(
    start: Start, certificate: Certificate
) -> None:
    url = start(tls_lines(certificate)).url
    assert await works(ConnectOptions(servers=(url,), tls_ca=certificate.cert))


async def test_an_untrusted_certificate_is_named(
    start: Start, certificate: Certificate, tmp_path: Path
) -> None:
    url = start(tls_lines(certificate)).url
    other = make_certificate(tmp_path, "other")
    for options in (
        ConnectOptions(servers=(url,)),
        ConnectOptions(servers=(url,), tls_ca=other.cert),
    ):
        error = await failure(options)
        assert isinstance(error, UnavailableError)
        assert "is not trusted: self" in error.message
        assert "--tls-ca" in error.message


async def test_a_server_without_tls_gets_no_credentials_of_who_asks_for_it(
    start: Start, certificate: Certificate
) -> None:
    url = start("authorization { token: t0ken }").url
    for options in (
        ConnectOptions(servers=(url,), token="t0ken", tls_ca=certificate.cert),
        ConnectOptions(servers=(url.replace("nats:", "tls:"),), token="t0ken"),
    ):
        error = await failure(options)
        assert isinstance(error, UnavailableError)
        assert "offers no TLS" in error.message


async def test_a_server_that_wants_a_certificate_of_the_client_says_so(
    start: Start, certificate: Certificate, tmp_path: Path
) -> None:
    client = make_certificate(tmp_path, "client")
    url = start(tls_lines(certificate, f'ca_file: "{client.cert}"\n verify: true')).url
    assert await works(
        ConnectOptions(
            servers=(url,), tls_ca=certificate.cert, tls_cert=client.cert, tls_key=client.key
        )
    )
    error = await failure(ConnectOptions(servers=(url,), tls_ca=certificate.cert))
    assert isinstance(error, DeniedError)
    assert "--tls-cert and --tls-key" in error.message
