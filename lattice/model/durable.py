"""What becomes of a durable job at each step: the rules, without clock, bus or guest. Pure.

A durable job (a stored typed call) is not the `job:` of a manifest, a workload that runs to
completion; see docs/reference/glossary.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lattice.errors import InvalidError

PARTITIONS = 16
"""Lanes for jobs with a key: as many keys of one deployment can be worked on at once."""

NO_KEY = "_"
"""The lane of jobs without a key, which run in any order."""

LANES = (NO_KEY, *(str(number) for number in range(PARTITIONS)))

ID_CHARACTERS_MAX = 128
"""Characters of an id: it becomes a part of a subject, up to three times as long."""

ATTEMPTS_MAX = 1000
"""Attempts that a submitter may ask for: with pauses of a minute, most of a day."""

PAUSE_MAX_S = 3600.0
"""Longest pause between attempts: a worker's memory of the count outlives it by far."""

TIMEOUT_MAX_S = 24 * 3600.0
"""Longest time of one attempt, as for any call."""

BODY_BYTES_MAX = 512 * 1024
"""Bytes of a job with its arguments: a dead letter holds it beside the error in one message."""

KEEP_S = 24 * 3600
"""Seconds for which an outcome is kept; until then its id is taken."""

DEAD_KEEP_S = 7 * 24 * 3600
"""Seconds for which a dead letter is kept: somebody has to come and look."""

WAIT_S = 30 * 24 * 3600
"""Seconds for which a job that nobody runs is kept, from its submission or its due time."""

AHEAD_MAX_S = 10 * 366 * 24 * 3600.0
"""Seconds from now for which a job may be meant at most."""

_LASTING = frozenset({"invalid", "not-found", "denied", "conflict", "incompatible"})
# Kinds of errors that no repetition mends. Among the conflicts is a chain of calls that is too
# long, which would multiply if each durable link of it were tried again.


def lane_of(key: str | None) -> str:
    """Return the lane of a job: jobs of one lane run in the order of their submission."""
    return NO_KEY if key is None else str(zlib.crc32(key.encode()) % PARTITIONS)


def check_id(job: str) -> None:
    """Refuse what is no id.

    Raises:
        InvalidError: it is empty, too long, or `*`.
    """
    if not job or len(job) > ID_CHARACTERS_MAX or job == "*":
        raise InvalidError(
            f"id of a job is {job[:40]!r} with {len(job)} characters, expected 1 to "
            f"{ID_CHARACTERS_MAX}, not '*'"
        )


def split_id(text: str) -> tuple[str, str]:
    """Return deployment and id of `deployment/id`.

    Raises:
        InvalidError: it is not of that form.
    """
    deployment, slash, job = text.partition("/")
    if not slash or not deployment or not job:
        raise InvalidError(f"{text!r} names no job, expected deployment/id")
    check_id(job)
    return deployment, job


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a job is tried, and how long the pauses are. They double up to the longest."""

    attempts: int = 5
    first_s: float = 1.0
    longest_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InvalidError: all faults are listed.
        """
        faults = []
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            faults.append(f"attempts: {self.attempts}, expected 1 to {ATTEMPTS_MAX}")
        if not 0 <= self.first_s <= PAUSE_MAX_S:
            faults.append(f"first_s: {self.first_s:g}, expected 0 to {PAUSE_MAX_S:g}")
        if not self.first_s <= self.longest_s <= PAUSE_MAX_S:
            faults.append(f"longest_s: {self.longest_s:g}, expected first_s to {PAUSE_MAX_S:g}")
        if faults:
            raise InvalidError("retry is wrong", faults)


def check_times(delay_s: float, at_s: float | None, timeout_s: float, *, now_s: float) -> None:
    """Refuse times that make no sense together.

    Raises:
        InvalidError: all faults are listed.
    """
    faults = []
    if not 0 <= delay_s <= AHEAD_MAX_S or (delay_s and at_s is not None):
        faults.append(f"delay_s: {delay_s:g}, expected 0 to {AHEAD_MAX_S:g}, and none beside at_s")
    if at_s is not None and not 0 <= at_s <= now_s + AHEAD_MAX_S:
        faults.append(f"at_s: {at_s:g}, expected at most {AHEAD_MAX_S:g} s from now")
    if not 0 < timeout_s <= TIMEOUT_MAX_S:
        faults.append(f"timeout_s: {timeout_s:g}, expected more than 0 to {TIMEOUT_MAX_S:g}")
    if faults:
        raise InvalidError("job is wrong", faults)


def pause_s(attempt: int, first_s: float, longest_s: float) -> float:
    """Return the seconds between an attempt that failed, counted from 1, and the next one."""
    return min(first_s * 2.0 ** min(attempt - 1, 32), longest_s)


# --- what a worker does with a delivery -------------------------------------------------------

Begin = Literal["run", "ended", "bury"]
"""Run it; take it off, because it has an outcome; or make it a dead letter without another try."""


def begin(*, number: int, attempts_max: int, has_ended: bool) -> Begin:
    """Return what becomes of a delivery, the `number`th attempt of its job.

    Deliveries count as attempts, also those of workers that died: a job that kills its host ends
    as a dead letter like one that fails.
    """
    if has_ended:
        return "ended"
    return "bury" if number > min(attempts_max, ATTEMPTS_MAX) else "run"


@dataclass(frozen=True, slots=True)
class Store:
    """Store the reply as the outcome."""

    state: Literal["done", "dead"]


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Have it delivered again, to whoever asks then."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class TryHere:
    """Ask again on this host: nobody began it, so this is no attempt."""


Next = Store | GiveBack | TryHere


def after_reply(
    *,
    err: Mapping[str, Any] | None,
    was_begun: bool,
    number: int,
    attempts_max: int,
    first_s: float,
    longest_s: float,
) -> Next:
    """Return what follows from the answer to the `number`th attempt.

    1. A value is the outcome, also one that tells of an error in the guest's own terms.
    2. A call that nobody began is no attempt.
    3. An error that stays is the outcome at once.
    4. Any other error is tried again, until the attempts are used up.
    """
    if err is None:
        return Store("done")
    if not was_begun:
        return TryHere()
    if err.get("kind") in _LASTING or number >= min(attempts_max, ATTEMPTS_MAX):
        return Store("dead")
    return GiveBack(pause_s(number, first_s, min(longest_s, PAUSE_MAX_S)))
