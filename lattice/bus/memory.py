"""The bus in memory: what a nats-server and its clients do, within one event loop.

Tests and the simulation run the product's own shells over it. It keeps the rules of NATS (no
responders, queue groups, wildcards, dropping for slow readers), and it never touches the network.
Everybody who shares a `Connection` shares the lattice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from lattice.bus.base import Connection, ConnectionState, Handler, Packet
from lattice.bus.mailbox import Mailbox, body_bytes
from lattice.bus.matching import check_message, check_pattern, covers
from lattice.bus.memory_durable import MemoryJobs
from lattice.bus.memory_log import MemoryLog, MemoryObjects
from lattice.bus.memory_store import MemoryStore
from lattice.bus.options import INBOX_PREFIX
from lattice.bus.serving import answer_requests
from lattice.clock import Clock, SystemClock
from lattice.errors import DeadlineExceededError, NoRouteError, UnavailableError
from lattice.wire.subjects import Names

REPLIES_MAX = 65_536
"""Replies that wait for one `request_many`: as many hosts as a lattice may have."""

SERVED_PENDING_MAX = 65_536
"""Requests on their way to one `serve`, which takes them at once and decides there."""


def memory_connection(lattice: str, *, clock: Clock | None = None) -> Connection:
    """Return a new, empty lattice in memory; `clock` decides over expiry and record times."""
    clock = clock or SystemClock()
    names, bus = Names(lattice), MemoryBus()
    jobs = MemoryJobs(
        bus, names.jobs().removesuffix(">"), names.job_signals().removesuffix(">"), clock=clock
    )
    return Connection(
        lattice=lattice,
        bus=bus,
        control=MemoryStore(clock),
        hosts=MemoryStore(clock),
        events=MemoryLog(clock),
        artifacts=MemoryObjects(),
        jobs=jobs,
    )


@dataclass(eq=False, slots=True, kw_only=True)
class _Subscription:
    pattern: str
    queue: str
    mailbox: Mailbox[Packet]


class MemoryBus:
    """See `Bus`. Delivery happens inside `publish`, so what was published has arrived."""

    def __init__(self) -> None:
        self._subscriptions: list[_Subscription] = []
        self._turns: Counter[str] = Counter()  # of each queue group: its members take turns
        self._inboxes = itertools.count(1)
        self._is_closed = False

    @property
    def state(self) -> ConnectionState:
        """See `Bus.state`."""
        return "closed" if self._is_closed else "connected"

    def close(self) -> None:
        """End every subscription; whatever is asked of the bus afterwards is `unavailable`."""
        self._is_closed = True
        for subscription in self._subscriptions:
            subscription.mailbox.close()
        self._subscriptions.clear()

    async def publish(
        self, subject: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> None:
        """See `Bus.publish`."""
        await self._send(Packet(subject=subject, body=body, headers=dict(headers or {})))

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Packet:
        """See `Bus.request`."""
        inbox = self._inbox()
        async with self.subscribe(inbox, pending_max=1) as replies:
            packet = Packet(subject=subject, body=body, headers=dict(headers or {}), reply_to=inbox)
            if not await self._send(packet):
                raise NoRouteError(f"nobody answers on {subject}", subject=subject)
            with anyio.move_on_after(timeout_s):
                return await anext(aiter(replies))
        raise DeadlineExceededError(
            f"no reply on {subject} within {timeout_s:g} s", subject=subject, timeout_s=timeout_s
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
        end_s = anyio.current_time() + timeout_s
        inbox = self._inbox()
        async with self.subscribe(inbox, pending_max=REPLIES_MAX) as replies:
            packet = Packet(subject=subject, body=body, headers=dict(headers or {}), reply_to=inbox)
            if not await self._send(packet):
                return
            while True:
                reply = None
                with anyio.CancelScope(deadline=end_s):
                    reply = await anext(aiter(replies))
                if reply is None:
                    return
                yield reply

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", pending_max: int = 1024
    ) -> AsyncIterator[Mailbox[Packet]]:
        """See `Bus.subscribe`."""
        subscription = self._add(subject, queue, pending_max)
        try:
            yield subscription.mailbox
        finally:
            self._remove(subscription)
            subscription.mailbox.close()

    @asynccontextmanager
    async def serve(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> AsyncIterator[None]:
        """See `Bus.serve`."""
        subscription = self._add(subject, queue, SERVED_PENDING_MAX)

        async def stop() -> None:
            self._remove(subscription)
            subscription.mailbox.finish()

        requests = subscription.mailbox
        async with answer_requests(requests, stop, self._reply, handler, concurrency=concurrency):
            yield

    async def flush(self) -> None:
        """See `Bus.flush`."""
        self._check_open()
        await anyio.lowlevel.checkpoint()

    async def _reply(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        await self._send(Packet(subject=subject, body=body, headers=headers))

    async def _send(self, packet: Packet) -> bool:
        """Deliver and tell whether anybody listens."""
        check_message(packet.subject, packet.body, packet.headers)
        self._check_open()
        is_heard = self._deliver(packet)
        await anyio.lowlevel.checkpoint()
        return is_heard

    def _deliver(self, packet: Packet) -> bool:
        groups: dict[str, list[_Subscription]] = {}
        receivers: list[_Subscription] = []
        for subscription in self._subscriptions:
            if not covers(subscription.pattern, packet.subject):
                continue
            if subscription.queue:
                groups.setdefault(subscription.queue, []).append(subscription)
            else:
                receivers.append(subscription)
        for queue, members in groups.items():
            receivers.append(members[self._turns[queue] % len(members)])
            self._turns[queue] += 1
        for subscription in receivers:
            subscription.mailbox.offer(packet)
        return bool(receivers)

    def _add(self, subject: str, queue: str, pending_max: int) -> _Subscription:
        check_pattern(subject)
        self._check_open()
        mailbox: Mailbox[Packet] = Mailbox(
            f"subscription to {subject}", limit=pending_max, size_of=body_bytes
        )
        subscription = _Subscription(pattern=subject, queue=queue, mailbox=mailbox)
        self._subscriptions.append(subscription)
        return subscription

    def _remove(self, subscription: _Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _inbox(self) -> str:
        return f"{INBOX_PREFIX}.{next(self._inboxes)}"

    def _check_open(self) -> None:
        if self._is_closed:
            raise UnavailableError("this connection is closed")
