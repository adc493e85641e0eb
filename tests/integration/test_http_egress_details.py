"""Outgoing requests that fail: the details that come with the error-codes."""

from __future__ import annotations

import contextlib
import socket
import ssl

import anyio
import anyio.to_thread
import pytest
import trustme

from hosts.engine.errorcodes import HttpFailure
from hosts.engine.webvalues import EgressError
from hosts.http.call import OutgoingCall
from hosts.http.outgoing import EgressLimits
from tests.integration.http_asking import LOOPBACK, anyio_backend, egress, get, whole
from tests.integration.http_peers import Peer, answer, names, serving

__all__ = ["anyio_backend", "names"]  # fixtures


async def failure_of(call: OutgoingCall) -> HttpFailure:
    with pytest.raises(EgressError) as caught:
        await whole(call)
    return caught.value.failure


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_alert_is_told_with_its_number_and_name(version: ssl.TLSVersion) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED  # of the client, which has no certificate
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.maximum_version = version

    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listening.accept()
        # Not closed with it: what is unread then breaks the connection, and the alert may be lost.
        kept = connection.dup()
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)
        with kept, contextlib.suppress(ConnectionError):
            while kept.recv(65536):
                pass

    with listening:
        async with anyio.create_task_group() as group, egress(*LOOPBACK, tls=trusting) as outlet:
            group.start_soon(anyio.to_thread.run_sync, refuse)
            port = listening.getsockname()[1]
            failure = await failure_of(outlet.begin(get(port, scheme="https")))
    in_the_handshake = HttpFailure("TLS-alert-received", 40, "handshake_failure")
    behind_it = HttpFailure("TLS-alert-received", 116, "certificate_required")
    assert failure == (behind_it if version == ssl.TLSVersion.TLSv1_3 else in_the_handshake)


async def test_a_name_that_is_not_there_is_told_with_the_resolvers_word(
    names: dict[str, list[str]],
) -> None:
    async with egress("nowhere.test") as outlet:
        failure = await failure_of(outlet.begin(get(80, host="nowhere.test")))
    assert failure == HttpFailure("DNS-error", None, "NXDOMAIN")


async def test_sizes_are_told_in_bytes() -> None:
    async def talk(peer: Peer) -> None:
        head = await peer.head()
        if "/many" in head:
            await peer.say(answer(b"", *["a:"] * 4097))
        else:
            await peer.say(answer(b"x" * 2000))

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, limits=EgressLimits(response_bytes=1000)) as outlet,
    ):
        failure = await failure_of(outlet.begin(get(port, "/long")))
        assert failure.code == "HTTP-response-body-size"
        assert failure.number is not None
        assert 1000 < failure.number <= 2000
        failure = await failure_of(outlet.begin(get(port, "/many")))
        assert failure == HttpFailure("HTTP-response-header-section-size", 4097 + 15)
        head = get(port, headers=[(b"a", b"x" * 70_000)])
        with pytest.raises(EgressError) as caught:
            outlet.begin(head)
        assert caught.value.failure == HttpFailure("HTTP-request-header-section-size", 70_001)
