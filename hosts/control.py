"""What a host answers about itself: ping, inventory, labels, logs, stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio
import msgspec
from anyio.abc import TaskStatus

from hosts.logbook import KEPT_LINES_MAX, Logbook
from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.errors import InvalidError, NotFoundError
from lattice.model.host import Inventory
from lattice.model.labels import KEY_LENGTH_MAX, VALUE_LENGTH_MAX, key_fault
from lattice.wire.codec import convert, decode, encode, is_json
from lattice.wire.subjects import Names

LABELS_MAX = 64
"""Labels of one host: they travel in every inventory and are matched by every plan."""

RESERVED_PREFIX = "lattice."
"""Labels under it are facts that the host finds itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """The body of `labels`."""

    set: Mapping[str, str] = field(default_factory=dict[str, str])
    remove: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """The body of `logs`: the last `lines` of one deployment (`""`: the host's own), or of all."""

    deployment: str | None = None
    lines: int = 100


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
        stop: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._names = names
        self._logbook = logbook
        self._clock = clock
        self._inventory = inventory
        self._relabel = relabel
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
        return encode({"ok": await self._do(verb, body)}, as_json=as_json)

    async def _do(self, verb: str, body: object) -> object:
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
                return {"lines": self._logbook.last(count, wanted.deployment)}
            case "stop":
                self._stop()
                return {}
            case _:
                raise NotFoundError(
                    f"host verb {verb!r} does not exist, there are inventory, labels, logs, stop"
                )


def changed_labels(labels: Mapping[str, str], change: LabelChange) -> dict[str, str]:
    """Return the labels after a change, sorted by key.

    Raises:
        InvalidError: a key or value is malformed, reserved, or there would be too many; all
            faults are listed and nothing is changed.
    """
    faults = [
        fault
        for key, value in change.set.items()
        for fault in (
            key_fault(key),
            f"{key}: value has {len(value)} characters, at most {VALUE_LENGTH_MAX}"
            if len(value) > VALUE_LENGTH_MAX
            else None,
        )
        if fault
    ]
    faults += [
        f"{key[:KEY_LENGTH_MAX]}: labels under {RESERVED_PREFIX!r} are set by the host itself"
        for key in (*change.set, *change.remove)
        if key.startswith(RESERVED_PREFIX)
    ]
    kept = {key: value for key, value in labels.items() if key not in change.remove}
    changed = dict(sorted({**kept, **change.set}.items()))
    if len(changed) > LABELS_MAX:
        faults.append(f"{len(changed)} labels, at most {LABELS_MAX}")
    if faults:
        raise InvalidError("labels were not changed", faults)
    return changed
