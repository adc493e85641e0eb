"""Durable jobs as their stream keeps them: what is to be called, and how it ended.

A durable job is a typed call that is stored first and answered by a stored outcome; the `job:` of
a manifest, a workload that runs to completion, is another thing. The rules of change are those of
`lattice.wire.messages`; every message has a golden vector in tests/golden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lattice.wire.messages import VERSION

Ending = Literal["done", "dead", "cancelled"]
"""How a job ended: with a value, with an error that is kept as a dead letter, or cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A durable job: one typed call, and how often it may be tried."""

    op: str  # `<interface>#<function>`, `#<function>` at the root
    args: list[Any] = field(default_factory=list[Any])
    timeout_ms: int = 60_000  # of one attempt
    attempts_max: int = 5
    pause_ms: int = 1000  # before the second attempt; doubled before each further one
    pause_max_ms: int = 60_000
    type: str = ""  # fingerprint of the function's type as the submitter knows it
    trace: str = ""  # W3C traceparent
    caller: str = ""  # deployment (or client id) that submitted it
    chain: list[str] = field(default_factory=list[str])
    hops: int = 0
    submitted_s: float = 0.0  # seconds since the Unix epoch, by the submitter's clock
    due_s: float = 0.0  # of one to come: when it is to be run
    schedule: str = ""  # of one that comes again and again: when, as its author wrote it
    replaces: int = 0  # sequence of the dead letter that this is another try of
    made: int = 0  # attempts that were made before this message was stored
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a durable job ended: the first one that is stored is the only one."""

    state: Ending
    ok: list[Any] | None = None
    err: dict[str, Any] | None = None
    op: str = ""
    host: str = ""  # who ran it last
    attempts: int = 0
    submitted_s: float = 0.0
    ended_s: float = 0.0
    job: StoredJob | None = None  # of a dead letter, so that it can be tried again
    v: int = VERSION
