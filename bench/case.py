"""What is measured: a case has our way of doing something and, where there is one, a peer's way.

A case says nothing about how often or in which order it runs; that is the runner's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["time", "rate"]
"""Whether less is better (seconds for one operation) or more (operations in a second)."""

SideName = Literal["ours", "peer"]

Operation = Callable[[], object]
"""Does the thing once. When it returns an awaitable, that is awaited within the measured time."""

Clocked = Callable[[], Awaitable[float]]
"""Does the thing once and returns the seconds that count, for things with a preparation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a sample says that measures itself: a load generator's run, for one."""

    elapsed_s: float
    operations: float  # done in that time
    figures: Mapping[str, float]  # by names that end in their unit; of each less is better


Sampler = Callable[[float], Awaitable[Reading]]
"""Takes a sample by itself. Its argument is the share of the full effort that is wanted: 1 for a
measurement, less for a look, next to nothing to see that it runs."""

UNITS: Mapping[str, float] = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "op/s": 1.0, "MB/s": 1.0,
    "KiB": 1024.0, "MiB": 1048576.0, "share": 1.0,
}  # fmt: skip
"""Seconds in each unit of time, bytes in each unit of memory; rates have one operation, which is
a million bytes where the unit says so. A share is better when it is larger, as a rate is; its
operations are clocked and return one through it."""

Figures = Callable[[], Mapping[str, float]]
"""Returns further figures of a case, by names that end in their unit; asked after the samples."""


class UnavailableError(Exception):
    """A case or its peer cannot run on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A case that cannot run on this machine, and why; its suite yields it in the case's place."""

    name: str
    reason: str
    unit: str = "us"
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One comparison, or one measurement of ours alone when `peer` is None."""

    name: str
    what: str  # one sentence: what one operation does, on what input
    ours: Operation | Clocked | Sampler
    peer: Operation | Clocked | Sampler | None = None
    peer_name: str = ""  # or, without a peer, why there is none
    unit: str = "us"  # one of `UNITS`
    operations: int = 1  # that one call of `ours` or `peer` does
    is_clocked: bool = False  # both sides return their own seconds (or bytes); a sample is one call
    is_sampled: bool = False  # both sides are a `Sampler`
    warm_up: int = 10  # calls of each side before the first sample
    repetitions: int | None = None  # samples of each side, where the runner's number is wrong
    target: float | None = None  # the ratio that is wanted
    targets: Mapping[str, float] = field(default_factory=dict[str, float])  # ratios of figures
    limit: float | None = None  # in the unit: ours must stay below it
    figures: Figures = dict[str, float]
    check: Callable[[], None] = lambda: None  # that both sides do the same; not run before "cold"
    around: Callable[[float], AbstractAsyncContextManager[object]] = nullcontext  # takes the effort
    is_cold_too: bool = False  # also measure the first call in a fresh process, as `<name>_cold`
    servers: Mapping[str, int] = field(default_factory=dict[str, int])  # name -> pid, for CPU time
    peer_servers: Mapping[str, int] = field(default_factory=dict[str, int])  # the same of the peer

    def __post_init__(self) -> None:
        assert self.unit in UNITS, f"unit {self.unit!r} is none of {', '.join(UNITS)}"

    @property
    def direction(self) -> Direction:
        """Return whether less is better or more."""
        return "rate" if self.unit.endswith("/s") or self.unit == "share" else "time"

    def value(self, elapsed_s: float) -> float:
        """Return the seconds of one operation in the case's unit."""
        return 1 / elapsed_s if self.direction == "rate" else elapsed_s / UNITS[self.unit]
