"""nats-py's client with the habits mended that a long-lived lattice process cannot live with.

Only what needs nats-py's inside is here; each method says which habit it mends. The rest of the
bus uses the public interface of nats-py.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats import errors
from nats.aio.client import Client, Srv


class NatsClient(Client):
    """One connection; `requires_tls` is set before connecting, `wants_certificate` by a server."""

    requires_tls = False
    wants_certificate = False

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        """Send what is buffered before a ping that somebody waits for.

        nats-py writes the ping past its own buffer, so that the answer says nothing about the
        messages and subscriptions before it. The keep-alive ping (no future) must not wait: it
        is what notices a peer that takes no bytes.
        """
        if future is not None:
            await self._flush_pending(force_flush=True)
        await super()._send_ping(future)

    async def _connect_to_server(self, s: Srv) -> None:
        """Close the socket of an attempt that failed after it was connected.

        nats-py forgets it open when the server refuses the identity of a client that reconnects.
        """
        if self._transport:  # true once it was connected
            self._transport.close()  # type: ignore[no-untyped-call]  # by nats-py
            self._transport = None
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Refuse a server without TLS before any credentials are sent to it.

        nats-py goes on in plain text when the server offers no TLS, whatever the caller asked.
        """
        self.wants_certificate = bool(info.get("tls_verify"))
        if initial_connection and self.requires_tls and not info.get("tls_required"):
            raise errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)

    async def _process_connect_init(self) -> None:
        """Tell the stream's protocol that it lies above TLS.

        nats-py makes it as for plain text, and so asyncio logs a complaint at the end of every
        connection.
        """
        await super()._process_connect_init()
        writer = getattr(self._transport, "_io_writer", None)
        if self.requires_tls and isinstance(writer, asyncio.StreamWriter):
            protocol: Any = writer.transport.get_protocol()
            protocol._over_ssl = True  # noqa: SLF001 - asyncio has no public way

    async def _process_pong(self) -> None:
        """Pass over the answer to a ping that nobody waits for any more.

        nats-py sets the result of a flush that was cancelled or timed out, and that error ends
        its reading: the connection would look alive and hear nothing.
        """
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _read_loop(self) -> None:
        """Count a reading that ended by any error as a lost connection; nats-py only logs some."""
        await super()._read_loop()
        if self.is_connected:
            await self._process_op_err(errors.UnexpectedEOF())

    async def _process_err(self, err_msg: str) -> None:
        """Reconnect after an error for which the server closes the connection.

        nats-py closes the client for ever, on any error but a permission's, also on one that
        passes, such as a reload of the server's users or too many connections.
        """
        if "permissions violation" in err_msg or "stale connection" in err_msg:
            await super()._process_err(err_msg)
            return
        text = err_msg.strip("'")
        error = errors.Error(f"nats: {text}")
        await self._error_cb(error)
        await self._process_op_err(error)
