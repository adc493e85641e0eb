"""An engine that loads no quarantined component, and notes which components are being loaded.

It stands before the real one in every host. What is loaded again after it left memory is checked
too, so a quarantine holds for replicas that run already. Programs are those of the real engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from hosts.blackbox import BlackBox
from hosts.engine.base import Engine, Link, Part, Program
from hosts.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class Guard:
    """What a host and its supervisor tell each other; without a supervisor, nothing."""

    quarantine: Quarantine = field(default_factory=Quarantine)
    black_box: BlackBox = field(default_factory=BlackBox)


class GuardedEngine:
    """See `hosts.engine.base.Engine`."""

    def __init__(self, engine: Engine, guard: Guard) -> None:
        self._engine = engine
        self._guard = guard

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that every instance gets from the engine without a grant."""
        return self._engine.interfaces

    async def load(
        self, parts: Sequence[Part], links: Sequence[Link], *, is_metered: bool = False
    ) -> Program:
        """Return the program of these parts; see `hosts.engine.base.Engine.load`.

        Raises:
            DeniedError: one of them is quarantined on this machine.
            LatticeError: as the engine's own.
        """
        self._guard.quarantine.require_none_of({part.name: part.digest for part in parts})
        with closing(self._guard.black_box.mark(part.digest for part in parts)) as mark, mark:
            return await self._engine.load(parts, links, is_metered=is_metered)

    def close(self) -> None:
        """Release threads and child processes. Programs and instances must be gone."""
        self._engine.close()
