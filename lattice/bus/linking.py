"""Which client of NATS carries a link: the one place that knows there are two.

It chooses and connects nothing itself. See docs/decisions/035 for why one connection carries both
messages and JetStream, and for what nats-py stays.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from lattice.bus.link import Link
from lattice.bus.muxed_connect import connect_muxed
from lattice.bus.nats_connect import connect_nats
from lattice.bus.options import ConnectOptions, uses_websocket


def connect_link(options: ConnectOptions) -> AbstractAsyncContextManager[Link]:
    """Return a context that yields a connection while it lasts; it reconnects for ever.

    Websocket is spoken by nats-py alone, so its addresses choose it.

    Raises:
        UnavailableError: no server can be reached, or TLS with it fails.
        DeniedError: the servers refuse the identity, or want one.
        InvalidError: a file with credentials or keys cannot be used.
    """
    if options.client == "nats-py" or uses_websocket(options):
        return connect_nats(options)
    return connect_muxed(options)
