"""The bus over NATS: see `Bus`, held to it by tests/contract.

It adds no meaning to what NATS does: at most once, and nothing is kept while the connection is
down. The connection itself is a `lattice.bus.link`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from lattice.bus.base import ConnectionState, Handler, Packet
from lattice.bus.link import Link, is_no_responders
from lattice.bus.mailbox import Mailbox, body_bytes
from lattice.bus.matching import check_subject
from lattice.bus.serving import answer_requests

PENDING_MAX = 65_536
"""Requests between the connection and a server's own bounded queue, which takes them at once."""

REPLIES_MAX = 65_536
"""Replies that wait for one `request_many`: as many hosts as a lattice may have."""


class NatsBus:
    """See `Bus`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def state(self) -> ConnectionState:
        """See `Bus.state`."""
        return self._link.state

    async def publish(
        self, subject: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> None:
        """See `Bus.publish`. A refusal by the server comes later and is logged."""
        check_subject(subject)
        await self._link.send(subject, body, headers=headers)

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Packet:
        """See `Bus.request`."""
        check_subject(subject)
        return await self._link.ask(
            subject, body, timeout_s=timeout_s, headers=headers, ends_with_connection=False
        )

    async def request_many(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Packet, None]:
        """See `Bus.request_many`."""
        check_subject(subject)
        end_s = anyio.current_time() + timeout_s
        replies: Mailbox[Packet] = Mailbox(
            f"replies on {subject}", limit=REPLIES_MAX, size_of=body_bytes
        )
        with self._link.inbox.expect(replies, subject) as address:
            await self._link.send(subject, body, headers=headers, reply_to=address)
            while True:
                reply = None
                with anyio.CancelScope(deadline=end_s):
                    reply = await anext(replies)
                if reply is None or is_no_responders(reply):
                    return
                yield reply

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", pending_max: int = 1024
    ) -> AsyncIterator[Mailbox[Packet]]:
        """See `Bus.subscribe`.

        Raises:
            DeniedError: this identity may not subscribe to it.
        """
        mailbox: Mailbox[Packet] = Mailbox(
            f"subscription to {subject}", limit=pending_max, size_of=body_bytes
        )
        attachment = await self._link.attach(subject, queue, mailbox)
        try:
            yield mailbox
        finally:
            mailbox.close()
            with anyio.CancelScope(shield=True):
                await attachment.end()

    @asynccontextmanager
    async def serve(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> AsyncIterator[None]:
        """See `Bus.serve`.

        Raises:
            DeniedError: this identity may not subscribe to it.
        """
        mailbox: Mailbox[Packet] = Mailbox(
            f"requests to {subject}", limit=PENDING_MAX, size_of=body_bytes
        )
        attachment = await self._link.attach(subject, queue, mailbox)

        async def stop() -> None:
            await attachment.drain()
            mailbox.finish()

        async with answer_requests(
            mailbox, stop, self._reply, handler, concurrency=concurrency, box=mailbox
        ):
            yield

    async def flush(self) -> None:
        """See `Bus.flush`."""
        await self._link.flush()

    async def _reply(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        await self._link.send(subject, body, headers=headers)
