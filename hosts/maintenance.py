"""What people told a host about its upkeep: to take nothing new, to be emptied, its taints.

It stands in the host's inventory, where schedulers read it, and in its directory, because it must
hold when the process or the machine starts again: a host is cordoned for work on it. What
`lattice host --taint` gives is not kept; it is given again at every start.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from hosts.presence import Presence
from lattice.errors import DecodeError, InvalidError, UnavailableError
from lattice.model.host import Inventory, Taint
from lattice.model.labels import KEY_LENGTH_MAX, RESERVED_PREFIX, VALUE_LENGTH_MAX, key_fault
from lattice.wire.codec import convert, decode_as, encode
from lattice.wire.requests import TaintChange

TAINTS_MAX = 64
"""Taints of one host: they travel in every inventory and are matched by every plan."""

FILE = "maintenance.json"
"""Its name in the directory of the host."""

RESERVED = (RESERVED_PREFIX, "lattice/")
"""How keys of taints begin that the lattice sets itself."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What holds until somebody takes it back, beyond the end of the process."""

    is_cordoned: bool = False
    is_draining: bool = False
    taints: tuple[Taint, ...] = ()


def kept_upkeep(directory: Path) -> Upkeep:
    """Return what was kept in a host's directory; nothing when there is no file or it is broken."""
    path = directory / FILE
    try:
        return decode_as(Upkeep, path.read_bytes(), as_json=True)
    except FileNotFoundError:
        return Upkeep()
    except (OSError, DecodeError) as exc:
        log.warning("%s cannot be read, the host is neither cordoned nor tainted by it: %s",
                    path, exc)  # fmt: skip
        return Upkeep()


def joined_taints(*several: tuple[Taint, ...]) -> tuple[Taint, ...]:
    """Return all taints by key, of those with one key the last."""
    found = {taint.key: taint for taints in several for taint in taints}
    return tuple(found[key] for key in sorted(found))


def taints_fault(taints: tuple[Taint, ...]) -> str | None:
    """Return why a host cannot have these taints, or None if it can."""
    for taint in taints:
        if fault := key_fault(taint.key):
            return fault
        if taint.key.startswith(RESERVED):
            return f"{taint.key}: taints under {RESERVED_PREFIX!r} are set by the lattice itself"
        if len(taint.value) > VALUE_LENGTH_MAX:
            size = f"{len(taint.value)} characters, at most {VALUE_LENGTH_MAX}"
            return f"{taint.key[:KEY_LENGTH_MAX]}: value has {size}"
    return f"{len(taints)} taints, at most {TAINTS_MAX}" if len(taints) > TAINTS_MAX else None


class Maintenance:
    """Carries out `cordon`, `uncordon`, `drain` and `taint` for one host."""

    def __init__(self, presence: Presence, directory: Path) -> None:
        self._presence = presence
        self._path = directory / FILE
        self._kept = kept_upkeep(directory)
        self._in_order = anyio.CapacityLimiter(1)  # writes of the file, one after the other

    async def do(self, verb: str, body: object) -> dict[str, Any]:
        """Return what holds after the change; the lattice knows it then, and the file has it.

        Raises:
            InvalidError: a taint is malformed or reserved; nothing was changed.
            ConflictError: the host is leaving; nothing was changed.
            UnavailableError: the lattice cannot be told now, or the file cannot be written.
        """
        self._presence.require_standing()
        facts, kept = self._presence.inventory, self._kept
        match verb:
            case "cordon":
                wanted = Upkeep(is_cordoned=True, is_draining=kept.is_draining, taints=kept.taints)
            case "uncordon":
                wanted = Upkeep(taints=kept.taints)
            case "drain":
                wanted = Upkeep(is_cordoned=True, is_draining=True, taints=kept.taints)
            case _:
                change = convert(body, TaintChange)
                wanted, taints = self._tainted(facts, change)
                return await self._change(wanted, taints)
        return await self._change(wanted, facts.taints)

    def _tainted(self, facts: Inventory, change: TaintChange) -> tuple[Upkeep, tuple[Taint, ...]]:
        given = tuple(change.set)
        all_taints, kept = (
            joined_taints(tuple(each for each in taints if each.key not in change.remove), given)
            for taints in (facts.taints, self._kept.taints)
        )
        if fault := taints_fault(given) or taints_fault(all_taints):
            raise InvalidError(f"taints were not changed: {fault}")
        absent = sorted(set(change.remove) - {taint.key for taint in facts.taints})
        if absent:
            found = ", ".join(taint.key for taint in facts.taints) or "none"
            what = f"the host has no taint {', '.join(absent)}, it has {found}"
            raise InvalidError(f"taints were not changed: {what}")
        upkeep = Upkeep(
            is_cordoned=self._kept.is_cordoned, is_draining=self._kept.is_draining, taints=kept
        )
        return upkeep, all_taints

    async def _change(self, wanted: Upkeep, taints: tuple[Taint, ...]) -> dict[str, Any]:
        self._kept = wanted
        await self._presence.change(
            is_cordoned=wanted.is_cordoned, is_draining=wanted.is_draining, taints=taints
        )
        try:
            await anyio.to_thread.run_sync(self._write, limiter=self._in_order)
        except OSError as exc:
            raise UnavailableError(
                f"it holds, but only until the host ends: {self._path} cannot be written: "
                f"{exc.strerror}"
            ) from None
        return {
            "cordoned": wanted.is_cordoned,
            "draining": wanted.is_draining,
            "taints": list(taints),
        }

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_bytes(encode(self._kept, as_json=True))
        os.replace(new, self._path)
