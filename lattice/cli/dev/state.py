"""What `lattice dev` knows and shows: the build, the last requests, the last error, log lines.

Values and one broadcast; who builds and who serves tell it, terminal and browser read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import anyio

REQUESTS_KEPT = 100
LINES_KEPT = 300
BUILDS_KEPT = 30
"""What the status page shows at most."""

Phase = Literal["starting", "building", "ready", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong now; `text` has places to go to, one a line."""

    title: str
    text: str
    time_s: float
    is_build: bool  # else of a request
    is_logged: bool = False  # the guest has written the text already


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One round of building and swapping."""

    time_s: float
    took_s: float
    what: str  # the files that had changed, or "start"
    is_good: bool
    is_first: bool = False  # nothing was in service before


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request that was answered."""

    time_s: float
    method: str
    target: str
    status: int
    took_ms: float
    leg: str
    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a guest's log."""

    time_s: float
    level: str
    deployment: str
    text: str


Told = Problem | Build | Request | Line


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """All of it, and who is told of changes."""

    name: str
    kinds: str
    urls: tuple[str, ...] = ()
    phase: Phase = "starting"
    step: str = ""  # what is being done
    version: int = 0  # counts what was put into service
    routes: tuple[tuple[str, str], ...] = ()  # what requests, and the deployment that answers
    hint: str = ""
    problem: Problem | None = None  # of the last build; cleared by a good one
    last_error: Problem | None = None  # of a request
    builds: deque[Build] = field(default_factory=lambda: deque(maxlen=BUILDS_KEPT))
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    is_closing: bool = False
    tell: Callable[[Told], None] = lambda _told: None
    on_step: Callable[[str], None] = lambda _step: None
    changes: int = 0  # counted, so that none is missed between two looks
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def note(self, told: Told) -> None:
        """Take in what happened, and tell of it."""
        match told:
            case Problem(is_build=True):
                self.problem = told
                self.phase = "failed"
            case Problem():
                self.last_error = told
            case Build():
                self.builds.append(told)
            case Request():
                self.requests.append(told)
            case Line():
                self.lines.append(told)
        self.tell(told)
        self.changed()

    def begin(self, step: str) -> None:
        """Take note of what is being done now."""
        self.step = step
        self.on_step(step)
        if self.phase in ("ready", "failed"):
            self.phase = "building"
        self.changed()

    def succeed(self) -> None:
        """Take note that what is on the disk is in service."""
        self.phase, self.step, self.problem = "ready", "", None
        self.version += 1
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for a change."""
        self.changes += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def change(self) -> None:
        """Return when something has changed."""
        await self._changed.wait()

    async def settled(self) -> None:
        """Return when something is in service, or nothing will be until the sources are mended."""
        while not self.version and self.phase != "failed" and not self.is_closing:
            await self.change()
