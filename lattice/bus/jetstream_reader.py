"""Messages of one stream in their order, from consumers that are made again when they are lost.

An ordered pull consumer (NATS ADR-17, ADR-37): nothing is acknowledged, a gap or a silence makes
a new consumer, and more is asked for only when what came has been read. What "again" means, from
the last sequence or from the beginning, its user decides by `start`.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import anyio

from lattice.bus.base import Packet
from lattice.bus.jetstream_api import JetStream
from lattice.bus.jetstream_delivery import Delivery, read_delivery
from lattice.bus.link import Attachment, is_no_responders
from lattice.bus.mailbox import Mailbox
from lattice.errors import DeniedError, LatticeError, UnavailableError

BATCH = 256
"""Messages asked for at once: enough to fill the wire, few enough to hold."""

PENDING_MAX = 4096
"""Messages that wait to be read: all batches of one reader and the server's words beside them."""

PULL_EXPIRES_S = 30
"""Seconds after which the server forgets a request for more, and it is repeated."""

HEARTBEAT_S = 5
"""Seconds of silence after which the server says that it is still there."""

SILENCE_MAX_S = 12.0
"""Seconds without a word after which a consumer counts as lost: two heartbeats and some."""

INACTIVE_S = 30
"""Seconds after which the server removes a consumer that nobody asks."""

RETRY_S = 0.25
"""Seconds between attempts to make a lost consumer again."""

_NANO = 1_000_000_000

_log = logging.getLogger(__name__)


class Reattached:
    """Says that new consumers begin at what `start` said; see `Reader.next`."""


REATTACHED = Reattached()


@dataclass(slots=True, kw_only=True)
class _Source:
    """One consumer: where it is asked, what it still owes, and how much it has in store."""

    consumer: str
    address: str
    pending: int  # messages of the stream that it has not sent yet
    owed: int = 0  # messages asked for and not received
    received: int = 0
    heard_s: float = 0.0  # when it last said anything


class Reader:
    """The messages of `stream` that match any of `filters`, in order for each filter.

    Opened once, read by one task, closed once (from any task, which ends the reading).
    `start` returns the part of the consumer's configuration that says where to begin.
    A filter that this identity may not read is left out, as long as it may read another one.
    """

    def __init__(
        self,
        api: JetStream,
        stream: str,
        filters: tuple[str, ...],
        start: Callable[[], dict[str, object]],
        *,
        is_headers_only: bool = False,
    ) -> None:
        self._api = api
        self._link = api.link
        self._stream = stream
        self._filters = filters
        self._start = start
        self._is_headers_only = is_headers_only
        self._base = self._link.inbox.stream_address()
        self._mailbox: Mailbox[Packet] = Mailbox(f"reader of {stream}", limit=PENDING_MAX)
        self._sources: dict[str, _Source] = {}  # by consumer
        self._addresses: dict[str, _Source] = {}
        self._refusals = ExitStack()
        self._attachment: Attachment | None = None
        self._is_lost = False
        self._is_closed = False

    @property
    def is_caught_up(self) -> bool:
        """Tell whether everything that the stream had has been read."""
        return not self._is_lost and all(one.pending == 0 for one in self._sources.values())

    async def open(self) -> None:
        """Begin to receive.

        Raises:
            DeniedError: this identity may read none of the filters.
            UnavailableError: the stream cannot be reached.
        """
        self._attachment = await self._link.attach(f"{self._base}.*", "", self._mailbox)
        self._link.reconnect_listeners.add(self._on_reconnect)
        await self._attach()

    async def close(self) -> None:
        """End the reading and forget the consumers; the server removes them when unused."""
        self._is_closed = True
        self._mailbox.close()
        self._refusals.close()
        self._link.reconnect_listeners.discard(self._on_reconnect)
        if self._attachment is not None:
            await self._attachment.end()

    async def next(self) -> Delivery | Reattached:
        """Return the next message, or `REATTACHED` when consumers were made again.

        Raises:
            StopAsyncIteration: the reader was closed.
            DeniedError: the permission to read was taken away.
        """
        while True:
            if self._is_lost:
                await self._attach_again()
                return REATTACHED
            await self._ask_for_more()
            packet = self._mailbox.take()
            if packet is None:
                with anyio.CancelScope(deadline=self._silent_at_s()):
                    packet = await anext(self._mailbox)
            if packet is None:
                _log.info("consumer of %s is silent, making a new one", self._stream)
                self._is_lost = True
            elif not packet.subject:  # our own word for a reconnect
                self._is_lost = True
            elif packet.subject in self._addresses or packet.subject.startswith(self._base):
                self._hear(packet)
            elif (delivery := self._receive(packet)) is not None:
                return delivery

    def _silent_at_s(self) -> float:
        """Return when the first of the consumers counts as lost: each may live on another server,
        so that one says that it is there does not mean that the others are.
        """
        heard_s = min((one.heard_s for one in self._sources.values()), default=anyio.current_time())
        return heard_s + SILENCE_MAX_S

    def _on_reconnect(self) -> None:
        self._mailbox.offer(Packet(subject=""))

    async def _attach_again(self) -> None:
        told = False
        while True:
            if self._is_closed:
                raise StopAsyncIteration
            try:
                await self._attach()
            except DeniedError:
                raise
            except LatticeError as error:
                if self._link.state == "closed":
                    raise
                if not told:
                    _log.warning("cannot read stream %s, trying on: %s", self._stream, error)
                    told = True
                await anyio.sleep(RETRY_S)
            else:
                return

    async def _attach(self) -> None:
        """Make one consumer for each filter."""
        self._refusals.close()
        self._sources.clear()
        self._addresses.clear()
        denial: DeniedError | None = None
        for subject in self._filters:
            try:
                source = await self._create(subject)
            except DeniedError as error:
                denial = error
                continue
            self._sources[source.consumer] = source
            self._addresses[source.address] = source
            # The server tells a refusal to ask for messages to the connection, not to us.
            self._refusals.enter_context(
                self._link.inbox.expect(self._mailbox, self._pull_subject(source))
            )
        if denial is not None and not self._sources:
            raise denial
        self._is_lost = False

    async def _create(self, subject: str) -> _Source:
        consumer = secrets.token_hex(8)
        config: dict[str, object] = {
            "name": consumer,
            "filter_subject": subject,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * _NANO,
            "headers_only": self._is_headers_only,
            **self._start(),
        }
        answer = await self._api.call(
            f"CONSUMER.CREATE.{self._stream}.{consumer}.{subject}",
            {"stream_name": self._stream, "config": config, "action": "create"},
        )
        return _Source(
            consumer=consumer,
            address=f"{self._base}.{consumer}",
            pending=int(answer.get("num_pending", 0)),
            heard_s=anyio.current_time(),
        )

    async def _ask_for_more(self) -> None:
        for source in self._sources.values():
            if source.owed > 0:
                continue
            source.owed = BATCH
            request = {
                "batch": BATCH,
                "expires": PULL_EXPIRES_S * _NANO,
                "idle_heartbeat": HEARTBEAT_S * _NANO,
            }
            try:
                await self._link.send(
                    self._pull_subject(source),
                    json.dumps(request).encode(),
                    reply_to=source.address,
                )
            except UnavailableError:
                self._is_lost = True

    def _pull_subject(self, source: _Source) -> str:
        return f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{source.consumer}"

    def _hear(self, packet: Packet) -> None:
        """Take the server's word about a request for more (NATS ADR-13)."""
        source = self._addresses.get(packet.subject)
        status = packet.headers.get("Status", "")
        if source is not None:
            source.heard_s = anyio.current_time()
        if source is None or status == "100":
            return
        reason = packet.headers.get("Description", "").lower()
        if status in ("404", "408") or "max" in reason or "batch completed" in reason:
            source.owed = 0
            return
        if not is_no_responders(packet):
            _log.info("consumer of %s ended: %s %s", self._stream, status, reason)
        self._is_lost = True

    def _receive(self, packet: Packet) -> Delivery | None:
        delivery = read_delivery(packet)
        source = None if delivery is None else self._sources.get(delivery.consumer)
        if delivery is None or source is None:
            return None  # from a consumer that was given up
        source.received += 1
        source.heard_s = anyio.current_time()
        if delivery.consumer_sequence != source.received:
            _log.info("consumer of %s has a gap, making a new one", self._stream)
            self._is_lost = True
            return None
        source.owed -= 1
        source.pending = delivery.pending
        return delivery
