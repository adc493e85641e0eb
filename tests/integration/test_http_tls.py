"""HTTPS: the certificate is taken anew without a restart."""

from __future__ import annotations

import os
import ssl

import anyio
import pytest

from hosts.http.base import Exchange
from hosts.http.tls import Certificate
from lattice.errors import InvalidError
from tests.contract.certificates import make_certificate
from tests.integration.http_serving import GET, rest, serving, undated


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


async def hello(exchange: Exchange) -> None:
    exchange.answer(200, (), exchange.head.scheme.encode())


async def fetch(port: int, authority, own=None) -> bytes:
    """Return the answer when the server shows the certificate of `authority`."""
    context = ssl.create_default_context(cafile=authority)
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    stream = await anyio.connect_tcp(
        "127.0.0.1", port, tls=True, ssl_context=context, tls_standard_compatible=False
    )
    async with stream:
        assert stream.extra(anyio.streams.tls.TLSAttribute.alpn_protocol) == "http/1.1"
        # A client without a certificate learns that it is refused after its own handshake.
        await stream.send(GET + GET[:-2] + b"connection: close\r\n\r\n")
        return undated(await rest(stream))


async def test_https_is_served_and_a_new_certificate_taken(tmp_path):
    old, new = (make_certificate(tmp_path, name) for name in ("old", "new"))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(old.cert.read_bytes())
    key.write_bytes(old.key.read_bytes())
    certificate = Certificate(cert, key)
    async with serving(hello, tls=certificate) as running:
        answer = await fetch(running.port, old.cert)
        assert answer.count(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n") == 2
        assert answer.endswith(b"\r\nconnection: close\r\n\r\nhttps")
        assert not certificate.reload_if_changed()
        os.replace(new.cert, cert)
        assert not certificate.reload_if_changed()  # the key is still the old one's
        assert await fetch(running.port, old.cert) == answer
        authority = tmp_path / "authority.pem"
        authority.write_bytes(cert.read_bytes())
        os.replace(new.key, key)
        assert certificate.reload_if_changed()
        assert await fetch(running.port, authority) == answer


async def test_who_speaks_plainly_to_https_is_left_and_does_no_harm(tmp_path):
    files = make_certificate(tmp_path, "server")
    async with serving(hello, tls=Certificate(files.cert, files.key)) as running:
        assert b"HTTP/1.1 200" not in await running.talk(GET)
        assert b"HTTP/1.1 200" in await fetch(running.port, files.cert)


async def test_only_clients_with_a_certificate_of_the_authority_are_served(tmp_path):
    server, client, other = (make_certificate(tmp_path, name) for name in ("s", "c", "o"))
    certificate = Certificate(server.cert, server.key, client_ca=client.cert)
    async with serving(hello, tls=certificate) as running:
        assert b"HTTP/1.1 200" in await fetch(running.port, server.cert, client)
        for own in (other, None):
            assert b"HTTP/1.1" not in await fetch(running.port, server.cert, own)
        assert b"HTTP/1.1 200" in await fetch(running.port, server.cert, client)


def test_files_that_cannot_be_used_are_refused(tmp_path):
    one, other = (make_certificate(tmp_path, name) for name in ("one", "other"))
    with pytest.raises(InvalidError):
        Certificate(one.cert, other.key)
    with pytest.raises(InvalidError):
        Certificate(tmp_path / "none.pem", one.key)
