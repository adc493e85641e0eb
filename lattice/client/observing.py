"""What happens in a lattice: its events, and the log lines of guests and hosts.

Events come from the lattice's durable log, so none between two looks is missed. Log lines are
published once and kept by each host for a while: what a host forgot or never sent is gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack

import anyio

from lattice.bus.base import Log, Packet
from lattice.client.asking import Asker, list_of
from lattice.errors import DecodeError, LatticeError
from lattice.wire import codec, events
from lattice.wire.continuity import Continuity
from lattice.wire.messages import Event
from lattice.wire.requests import LogLine, LogRequest
from lattice.wire.selecting import Selection

ALL = Selection()
"""Every event."""

LOG_LINES = 100
"""Lines of the past that a host is asked for when the caller does not say."""

LOG_LINES_PENDING_MAX = 4096
"""Lines that wait for a slow reader before further ones are dropped."""


async def read_events(
    log: Log,
    asker: Asker,
    *,
    follow: bool = False,
    since_s: float | None = None,
    after: int = 0,
    wanted: Selection = ALL,
) -> AsyncIterator[Event]:
    """Yield events in the order in which the lattice recorded them, each once.

    Those recorded at or after `since_s` (seconds since the Unix epoch; None: all that are kept)
    and after the position `after` in the log, as far as they are `wanted`. With `follow` it never
    ends by itself. Where events are missing, an event of the kind `events-missing` says so: of
    which source, which numbers. Records that are no CloudEvents are passed over: anybody with the
    permission may publish there.
    """
    continuity = Continuity(after=after)
    pattern = asker.names.events()
    async with log.read(pattern, since_s=since_s, after=after, follow=follow) as records:
        async for record in records:
            try:
                event = events.from_packet(record.body, record.headers, position=record.sequence)
            except DecodeError:
                continue
            missing, is_repeat = continuity.take(event)
            if missing is not None and wanted.covers(missing):
                yield missing
            if not is_repeat and wanted.covers(event):
                yield event


async def read_logs(
    asker: Asker,
    *,
    deployment: str = "",
    host: str = "",
    history_from: Collection[str] = (),
    lines: int = LOG_LINES,
    follow: bool = False,
) -> AsyncIterator[LogLine]:
    """Yield log lines of a deployment, or of one host with all that it runs.

    First at most `lines` of the past from each host in `history_from` (ids), oldest first, then
    with `follow` each new one. A host that does not answer, or not in a readable way, is passed
    over.
    """
    subject = asker.names.log(deployment or "*", host or "*")
    async with AsyncExitStack() as stack:
        packets: AsyncIterator[Packet] | None = None
        if follow:
            # Subscribed before the past is asked for, so that no line falls between the two.
            subscription = asker.bus.subscribe(subject, pending_max=LOG_LINES_PENDING_MAX)
            packets = await stack.enter_async_context(subscription)
        past = await _history(asker, history_from, deployment, lines)
        for line in past:
            yield line
        if packets is None:
            return
        told = set(past)
        async for packet in packets:
            new = _line(packet)
            if new is not None and new not in told:
                yield new


async def _history(
    asker: Asker, hosts: Collection[str], deployment: str, lines: int
) -> list[LogLine]:
    found: list[LogLine] = []

    async def ask(host: str) -> None:
        request = LogRequest(deployment=deployment or None, lines=lines)
        try:
            answer = await asker.host(host, "logs", request)
            found.extend(
                codec.convert({"host": host, **item}, LogLine)
                for item in list_of(answer, "lines", dict)
            )
        except LatticeError:
            return

    async with anyio.create_task_group() as group:
        for host in hosts:
            group.start_soon(ask, host)
    found.sort(key=lambda line: line.time_s)
    return found[-lines:] if deployment and lines > 0 else found


def _line(packet: Packet) -> LogLine | None:
    try:
        return codec.decode_as(LogLine, packet.body, as_json=codec.is_json(packet.headers))
    except DecodeError:
        return None
