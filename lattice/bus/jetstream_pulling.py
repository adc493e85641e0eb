"""A worker's share of a lane over JetStream: a durable pull consumer with explicit confirmation.

What was asked for is asked again when the request expired, the connection was made anew, or the
consumer fell silent; so messages never stay away for want of asking. More than asked for may come
after that. It knows nothing of what the messages mean.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType

import anyio

from lattice.bus.base import Packet, Record
from lattice.bus.durable import PENDING_MAX, Lane, Taken
from lattice.bus.jetstream_api import ANSWER_S, JetStream
from lattice.bus.jetstream_delivery import read_delivery
from lattice.bus.link import Attachment, is_no_responders
from lattice.bus.mailbox import Mailbox
from lattice.errors import (
    DeadlineExceededError,
    DeniedError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
    UnavailableError,
)

EXPIRES_S = 30
"""Seconds after which the server forgets a request for more, and it is repeated."""

HEARTBEAT_S = 2
"""Seconds of silence after which the server says that it is still there."""

SILENCE_MAX_S = 5.0
"""Seconds without a word after which the consumer counts as lost: two heartbeats and some."""

RETRY_S = 0.25
"""Seconds between attempts to reach a lost consumer again."""

UNUSED_S = 6 * 3600
"""Seconds after which the server removes a lane that nobody asks: far longer than any pause of a
job, which would otherwise lose the count of its attempts."""

WAITING_MAX = 65_536
"""Messages and words of the server that wait to be read; workers ask for far fewer."""

_NANO = 1_000_000_000

_log = logging.getLogger(__name__)


class JetStreamPulling:
    """See `Pulling`; a context manager."""

    def __init__(self, api: JetStream, stream: str, lane: Lane) -> None:
        self._api = api
        self._link = api.link
        self._stream = stream
        self._lane = lane
        self._base = self._link.inbox.stream_address()
        self._mailbox: Mailbox[Packet] = Mailbox(f"lane {lane.name}", limit=WAITING_MAX)
        self._attachment: Attachment | None = None
        self._refusals = ExitStack()
        self._owed = 0  # messages asked for and not received
        self._heard_s = 0.0
        self._is_lost = False

    async def __aenter__(self) -> JetStreamPulling:
        """See `JobStream.pull`."""
        self._attachment = await self._link.attach(f"{self._base}.*", "", self._mailbox)
        self._link.reconnect_listeners.add(self._wake)
        # The server tells a refusal to ask for messages to the connection, not to us.
        self._refusals.enter_context(self._link.inbox.expect(self._mailbox, self._asks))
        try:
            await self._create()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up the share."""
        self._link.reconnect_listeners.discard(self._wake)
        self._refusals.close()
        self._mailbox.close()
        with anyio.CancelScope(shield=True):
            if self._attachment is not None:
                await self._attachment.end()

    @property
    def _asks(self) -> str:
        return f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._lane.name}"

    async def ask(self, count: int) -> None:
        """See `Pulling.ask`."""
        if not self._owed:
            self._heard_s = anyio.current_time()
        self._owed += count
        await self._request(count)

    async def next(self) -> Taken:
        """See `Pulling.next`."""
        while True:
            if self._is_lost:
                await self._reach_again()
            packet: Packet | None = None
            with anyio.move_on_after(SILENCE_MAX_S):
                try:
                    packet = await anext(self._mailbox)
                except StopAsyncIteration:  # given up by another task, or its link is closed
                    raise UnavailableError(f"the share of lane {self._lane.name} is over") from None
            if packet is None:
                is_silent = anyio.current_time() - self._heard_s >= SILENCE_MAX_S
                self._is_lost = self._is_lost or (self._owed > 0 and is_silent)
            elif not packet.subject:  # our own word for a reconnect
                self._is_lost = True
            elif (taken := self._taken(packet)) is not None:
                self._heard_s = anyio.current_time()
                self._owed = max(self._owed - 1, 0)
                return taken
            else:
                await self._hear(packet)

    async def working(self, taken: Taken) -> None:
        """See `Pulling.working`."""
        with suppress(UnavailableError):
            await self._link.send(taken.token, b"+WPI")

    async def settle(self, taken: Taken) -> None:
        """See `Pulling.settle`."""
        try:
            await self._link.ask(taken.token, b"+ACK", timeout_s=ANSWER_S)
        except (NoRouteError, DeadlineExceededError, OutcomeUnknownError) as error:
            raise UnavailableError(f"{taken.record.subject} is not settled: {error}") from None

    async def give_back(self, taken: Taken, pause_s: float) -> None:
        """See `Pulling.give_back`."""
        order = f'-NAK {{"delay": {round(pause_s * _NANO)}}}' if pause_s > 0 else "-NAK"
        with suppress(UnavailableError):
            await self._link.send(taken.token, order.encode())

    async def stop(self) -> Sequence[Taken]:
        """See `Pulling.stop`. The server forgets a request for more that nobody listens for."""
        self._link.reconnect_listeners.discard(self._wake)
        self._owed = 0
        if self._attachment is not None:
            await self._attachment.drain()
        found: list[Taken] = []
        while (packet := self._mailbox.take()) is not None:
            if packet.subject and (taken := self._taken(packet)) is not None:
                found.append(taken)
        return found

    async def is_empty(self) -> bool:
        """See `Pulling.is_empty`."""
        found = await self._api.call(f"CONSUMER.INFO.{self._stream}.{self._lane.name}")
        return not any(found.get(name, 0) for name in ("num_pending", "num_ack_pending"))

    async def _create(self) -> None:
        lane = self._lane
        config = {
            "name": lane.name,
            "durable_name": lane.name,
            "filter_subject": lane.subject,
            "ack_policy": "explicit",
            "ack_wait": round(lane.ack_wait_s * _NANO),
            "max_ack_pending": 1 if lane.is_ordered else PENDING_MAX,
            "max_deliver": -1,
            "inactive_threshold": UNUSED_S * _NANO,
        }
        await self._api.call(
            f"CONSUMER.CREATE.{self._stream}.{lane.name}.{lane.subject}",
            {"stream_name": self._stream, "config": config, "action": ""},
        )
        self._is_lost = False
        self._heard_s = anyio.current_time()

    async def _reach_again(self) -> None:
        told = False
        while self._is_lost:
            try:
                await self._create()
            except DeniedError:
                raise
            except LatticeError as error:
                if self._link.state == "closed":
                    raise
                _log.log(logging.DEBUG if told else logging.WARNING,
                         "cannot reach lane %s, trying on: %s", self._lane.name, error)  # fmt: skip
                told = True
                await anyio.sleep(RETRY_S)
            else:
                if self._owed:
                    await self._request(self._owed)

    async def _request(self, count: int) -> None:
        body = {
            "batch": count,
            "expires": EXPIRES_S * _NANO,
            "idle_heartbeat": HEARTBEAT_S * _NANO,
        }
        try:
            await self._link.send(
                self._asks, json.dumps(body).encode(), reply_to=f"{self._base}.pull"
            )
        except UnavailableError:
            self._is_lost = True
            self._wake()

    def _wake(self) -> None:
        self._mailbox.offer(Packet(subject=""))

    async def _hear(self, packet: Packet) -> None:
        """Take the server's word about a request for more (NATS ADR-13)."""
        status = packet.headers.get("Status", "")
        self._heard_s = anyio.current_time()
        left = packet.headers.get("Nats-Pending-Messages", "")
        if status == "100":
            return
        if status == "408" and left.isdigit():
            if count := min(int(left), self._owed):
                await self._request(count)
            return
        if not is_no_responders(packet):
            reason = packet.headers.get("Description", "")
            _log.info("lane %s ended: %s %s", self._lane.name, status, reason)
        self._is_lost = True

    def _taken(self, packet: Packet) -> Taken | None:
        delivery = read_delivery(packet)
        if delivery is None:
            return None
        tokens = packet.reply_to.split(".")
        delivered = tokens[4] if len(tokens) == 9 else tokens[6]
        record = Record(
            subject=delivery.subject,
            body=delivery.body,
            headers=delivery.headers,
            sequence=delivery.sequence,
            time_s=delivery.time_s,
        )
        return Taken(record=record, delivered=int(delivered), token=packet.reply_to)
