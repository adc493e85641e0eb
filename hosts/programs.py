"""Programs that leave memory when others need the room, and come back when they are called.

A host may be assigned far more components than fit in its memory. What is dropped is on disk as
compiled code; a call brings it back in milliseconds. Instances at work keep what they need.
"""

from __future__ import annotations

import itertools
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from hosts.engine.base import Import, Instance, Program, World
from hosts.residency import Residency
from lattice.component.types import ComponentType

PROGRAM_BYTES_MAX = 2 * 1024**3
"""Memory of programs and idle instances of one host: some fifty Python guests, or ten thousand
small components."""

INSTANCE_BYTES = 64 * 1024
"""What an instance holds at least: its store, its pages and the objects around it."""

INSTANCE_SHARE = 32
"""An instance is counted as this part of its program: interpreters touch 2 % of what they are."""

log = logging.getLogger(__name__)

Load = Callable[[], Awaitable[Program]]
"""Composes, compiles (or takes from the disk) and returns the program."""


class Programs:
    """The programs of one host, within a bound of memory."""

    def __init__(self, *, bytes_max: int = PROGRAM_BYTES_MAX) -> None:
        self._residency = Residency(bytes_max)
        self._known: dict[int, weakref.ref[DroppableProgram]] = {}
        self._gone: deque[int] = deque()  # filled by the collector, on whatever thread it runs
        self._numbers = itertools.count(1)

    @property
    def resident(self) -> int:
        """Return how many programs are in memory."""
        self._forget_gone()
        return len(self._residency.sizes)

    @property
    def resident_bytes(self) -> int:
        """Return what programs and idle instances hold in memory, as it is estimated."""
        self._forget_gone()
        return self._residency.total_bytes

    def add(self, loaded: Program, load: Load) -> DroppableProgram:
        """Return a program that is in memory now, and again by `load` whenever it was dropped."""
        program = self.add_cold(loaded.type, load)
        program.take(loaded)
        return program

    def add_cold(self, component: ComponentType, load: Load) -> DroppableProgram:
        """Return a program that comes into memory by `load` when it is first used."""
        number = next(self._numbers)
        program = DroppableProgram(self, number, load, component)
        self._known[number] = weakref.ref(program, lambda _: self._gone.append(number))
        return program

    def is_newest(self, number: int) -> bool:
        """Tell whether a program was used last, so that another use of it changes nothing."""
        return self._residency.newest == number

    def used(self, number: int, size_bytes: int) -> None:
        """Note that a program in memory is used; the least recently used go to make room."""
        self._forget_gone()
        for dropped in self._residency.use(number, size_bytes):
            log.debug("program %d leaves memory", dropped)
            if (program := self._known[dropped]()) is not None:
                program.drop()

    def resized(self, number: int, size_bytes: int) -> None:
        """Note what a program in memory and its idle instances hold now."""
        self._residency.resize(number, size_bytes)

    def _forget_gone(self) -> None:
        while self._gone:
            number = self._gone.popleft()
            self._known.pop(number, None)
            self._residency.drop(number)


class DroppableProgram:
    """A `hosts.engine.base.Program` that need not be in memory."""

    def __init__(
        self, programs: Programs, number: int, load: Load, component: ComponentType
    ) -> None:
        self._programs = programs
        self._number = number
        self._load = load
        self._type = component
        self._loaded: Program | None = None
        self._idle: dict[object, int] = {}
        self._on_drop: dict[object, Callable[[], None]] = {}

    @property
    def type(self) -> ComponentType:
        """Return what remains imported and what is exported after composition."""
        return self._type

    @property
    def is_resident(self) -> bool:
        """Tell whether the program is in memory."""
        return self._loaded is not None

    @property
    def footprint_bytes(self) -> int:
        """Return what the program and its idle instances hold in memory, roughly."""
        if self._loaded is None:
            return 0
        own = self._loaded.footprint_bytes
        return own + (INSTANCE_BYTES + own // INSTANCE_SHARE) * sum(self._idle.values())

    def instantiate(
        self, imports: Mapping[str, Import], world: World
    ) -> Coroutine[Any, Any, Instance]:
        """Return a new instance; `Raises:` as `hosts.engine.base.Program` and `Engine.load`."""
        if self._loaded is not None and self._programs.is_newest(self._number):
            return self._loaded.instantiate(imports, world)
        return self._use(imports, world)

    async def _use(self, imports: Mapping[str, Import], world: World) -> Instance:
        # Two calls may both find it gone: the engine loads once for both.
        loaded = self._loaded or await self._load()
        self.take(loaded)
        return await loaded.instantiate(imports, world)

    def take(self, loaded: Program) -> None:
        """Have `loaded` in memory, as the program used last."""
        self._loaded = loaded
        self._programs.used(self._number, self.footprint_bytes)

    def keeps(self, owner: object, idle: int, on_drop: Callable[[], None]) -> None:
        """Note that `owner` keeps so many idle instances, and closes them by `on_drop`.

        That is called at once when the program left memory while they were at work.
        """
        if idle and self._loaded is None:
            on_drop()
            return
        if idle:
            self._idle[owner] = idle
            self._on_drop[owner] = on_drop
        else:
            self._idle.pop(owner, None)
            self._on_drop.pop(owner, None)
        self._programs.resized(self._number, self.footprint_bytes)

    def drop(self) -> None:
        """Leave memory: close the idle instances, and let the code go with the last instance."""
        self._loaded = None
        closing, self._on_drop = self._on_drop, {}
        for close in closing.values():
            close()
