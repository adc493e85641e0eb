"""What a host answers about itself: ping, inventory, labels, upkeep, logs, stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio
import msgspec
from anyio.abc import TaskStatus

from hosts.labels import changed_labels
from hosts.logbook import KEPT_LINES_MAX, Logbook
from lattice.bus.base import PAYLOAD_BYTES_MAX, Bus, Packet
from lattice.clock import Clock
from lattice.errors import NotFoundError
from lattice.model.host import Inventory
from lattice.wire.codec import convert, decode, encode, is_json
from lattice.wire.requests import LabelChange, LogLine, LogRequest, StopRequest
from lattice.wire.subjects import Names

LOGS_BYTES_MAX = PAYLOAD_BYTES_MAX // 2
"""Bytes of log lines in one answer, the newest ones: it must fit into a message."""


DRAIN_S_MAX = 24 * 3600.0
"""Longest that a host that is to stop waits for its replicas to be elsewhere."""


class HostControl:
    """Serves `ctl.ping` and `ctl.host.<host>.*`."""

    def __init__(
        self,
        *,
        bus: Bus,
        names: Names,
        logbook: Logbook,
        clock: Clock,
        inventory: Callable[[], Inventory],
        relabel: Callable[[Mapping[str, str]], Awaitable[None]],
        maintain: Callable[[str, object], Awaitable[object]],
        stop: Callable[[float], None],
    ) -> None:
        self._bus = bus
        self._names = names
        self._logbook = logbook
        self._clock = clock
        self._inventory = inventory
        self._relabel = relabel
        self._maintain = maintain
        self._stop = stop
        self._began_s = clock.monotonic_s()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; "started" when requests reach it."""
        host = self._inventory().host
        async with (
            self._bus.serve(self._names.ping(), self._ping),
            self._bus.serve(self._names.host_control(host, "*"), self._answer),
        ):
            task_status.started()
            await anyio.sleep_forever()

    async def _ping(self, packet: Packet) -> bytes:
        inventory = self._inventory()
        pong = {
            "host": inventory.host,
            "name": inventory.name,
            "labels": dict(inventory.labels),
            "version": inventory.version,
            "uptime_s": round(self._clock.monotonic_s() - self._began_s, 3),
        }
        return encode({"ok": pong}, as_json=is_json(packet.headers))

    async def _answer(self, packet: Packet) -> bytes:
        as_json = is_json(packet.headers)
        verb = packet.subject.rpartition(".")[2]
        body = decode(packet.body, as_json=as_json) if packet.body else {}
        return encode({"ok": await self._do(verb, body, as_json=as_json)}, as_json=as_json)

    async def _do(self, verb: str, body: object, *, as_json: bool) -> object:
        match verb:
            case "inventory":
                return msgspec.to_builtins(self._inventory())
            case "labels":
                labels = changed_labels(self._inventory().labels, convert(body, LabelChange))
                await self._relabel(labels)
                return {"labels": labels}
            case "logs":
                wanted = convert(body, LogRequest)
                count = min(wanted.lines, KEPT_LINES_MAX)
                lines = self._logbook.last(count, wanted.deployment)
                return {"lines": newest_fitting(lines, LOGS_BYTES_MAX, as_json=as_json)}
            case "cordon" | "uncordon" | "drain" | "taint":
                return await self._maintain(verb, body)
            case "probe":
                return {}
            case "stop":
                wanted_stop = convert(body, StopRequest)
                self._stop(min(max(wanted_stop.drain_s, 0.0), DRAIN_S_MAX))
                return {}
            case _:
                raise NotFoundError(
                    f"host verb {verb!r} does not exist, there are cordon, drain, inventory, "
                    "labels, logs, probe, stop, taint, uncordon"
                )


def newest_fitting(lines: Sequence[LogLine], bytes_max: int, *, as_json: bool) -> Sequence[LogLine]:
    """Return the last of the lines, in their order, that take at most `bytes_max` as encoded."""
    left = bytes_max
    for position in range(len(lines) - 1, -1, -1):
        left -= len(encode(lines[position], as_json=as_json))
        if left < 0:
            return lines[position + 1 :]
    return lines
