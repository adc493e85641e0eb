"""How many replicas of the new and of the older generations are wanted now; a core.

One turn takes what is wanted, what is seen of each group of replicas and what is remembered, and
returns the counts to go for next. Turns are repeated as reports come in; each keeps the bounds of
the update whatever order the writes before it took effect in. It decides counts, never hosts, and
it neither reads nor writes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lattice.model.scheduling import Canary, Update

CANARY_CALLS_MIN = 10
"""Calls of a canary before its gates may end it early: one bad call of two says little."""

BAD_HOSTS_MIN = 3
"""Hosts on which a generation failed, without running anywhere, that make it a bad one: one host
may be at fault, three are not."""

Phase = Literal["steady", "rolling", "canary", "paused", "stuck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Replicas that are judged together. Counts hold whatever writes are still in flight:
    `assigned` is the most that may be listed by targets, `ready` the fewest that take calls."""

    assigned: int = 0
    ready: int = 0
    useless: int = 0  # on hosts where none of them is ready: to withdraw them costs nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the replicas of a generation say of their calls."""

    calls: int = 0
    errors: int = 0
    busy_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is of a deployment."""

    wanted: int  # replicas
    new: Group = Group()  # of the wanted generation, on hosts where they may stay
    leaving: Group = Group()  # of the wanted generation, on hosts that are being emptied
    old: Group = Group()  # of all other generations
    lingering: int = 0  # old ones that a host still reports although no target lists them
    trial: Trial = Trial()
    bad_hosts: int = 0  # on which the wanted generation failed lately
    gives_way: bool = False  # new replicas lack room: one old replica is to give way


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is remembered of a rollout from turn to turn."""

    generation: int
    phase: Phase
    moved_s: float  # when it last came forward
    ready_max: int = 0  # most new replicas that were ready at a time
    canary_s: float | None = None  # since when the canary is ready
    is_canary_over: bool = False
    held: int | None = None  # while paused: the replicas of the wanted generation
    reason: str = ""  # why it is stuck


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The counts to go for. `withdrawn` ones are of the group `old` or `leaving`."""

    progress: Progress
    new: int
    old_withdrawn: int = 0
    leaving_withdrawn: int = 0
    is_good: bool = False  # the wanted generation is rolled out in full
    wake_s: float | None = None  # when the next turn is due although nothing changed


def turn(
    now_s: float,
    generation: int,
    update: Update,
    seen: Seen,
    was: Progress | None,
    *,
    is_paused: bool = False,
) -> Turn:
    """Return the next counts. `was` is the progress that the turn before returned."""
    if was is None or was.generation != generation:
        was = Progress(generation=generation, phase="rolling", moved_s=now_s)
    if is_paused:
        return _paused(now_s, seen, was)
    if was.phase == "paused":
        was = replace(was, phase="rolling", moved_s=now_s, held=None)
    is_done = not seen.old.assigned and seen.new.ready >= seen.wanted
    if is_done or (was.phase == "steady" and not seen.old.assigned):
        return _steady(now_s, update, seen, was, is_good=is_done and seen.wanted > 0)
    was = _advanced(now_s, seen, was)
    if update.strategy == "canary" and not was.is_canary_over:
        was = _judged(now_s, update.canary, seen, was)
    was = _timed(now_s, update, seen, was)
    if update.strategy == "recreate":
        made = _recreated(seen, was)
    else:
        made = _rolled(update, seen, was, is_trial=update.strategy == "canary")
    return replace(made, wake_s=_wake_s(update, was))


def bounds(update: Update) -> tuple[int, int]:
    """Return `unavailable_max` and `surge_max`; at least one of them is above 0."""
    surge_max = update.surge_max if update.surge_max or update.unavailable_max else 1
    return update.unavailable_max, surge_max


# --- phases -----------------------------------------------------------------------------------


def _paused(now_s: float, seen: Seen, was: Progress) -> Turn:
    held = was.held if was.held is not None else seen.new.assigned + seen.leaving.assigned
    progress = replace(was, phase="paused", held=held, moved_s=now_s, canary_s=None)
    return Turn(progress=progress, new=max(0, held - seen.leaving.assigned))


def _steady(now_s: float, update: Update, seen: Seen, was: Progress, *, is_good: bool) -> Turn:
    ready_max = max(was.ready_max, seen.new.ready)
    progress = replace(
        was, phase="steady", moved_s=now_s, ready_max=ready_max, canary_s=None, reason=""
    )
    made = (
        _recreated(seen, progress)
        if update.strategy == "recreate"
        else _rolled(update, seen, progress, is_trial=False)
    )
    return replace(made, is_good=is_good)


def _advanced(now_s: float, seen: Seen, was: Progress) -> Progress:
    """Note that more new replicas are ready than ever before; then it is not stuck either."""
    phase: Phase = "rolling" if was.phase == "steady" else was.phase
    if seen.new.ready <= was.ready_max:
        return replace(was, phase=phase)
    return replace(
        was,
        ready_max=seen.new.ready,
        moved_s=now_s,
        phase="rolling" if phase == "stuck" else phase,
        reason="",
    )


def _judged(now_s: float, canary: Canary, seen: Seen, was: Progress) -> Progress:
    """Judge the first replica of a new generation; without an older one there is no trial."""
    if was.phase == "stuck":
        return was
    is_rolling = was.canary_s is None and seen.new.assigned > 1  # a scheduler before got so far
    if not seen.old.ready or not seen.wanted or is_rolling:
        return replace(was, phase="rolling", is_canary_over=True)
    if not seen.new.ready:
        return replace(was, phase="canary", canary_s=None)
    since_s = now_s if was.canary_s is None else was.canary_s
    is_over = now_s >= since_s + canary.hold_s
    if fault := _fault(canary, seen.trial, calls_min=1 if is_over else CANARY_CALLS_MIN):
        return replace(was, phase="stuck", canary_s=None, reason=fault)
    if is_over:
        return replace(was, phase="rolling", is_canary_over=True, moved_s=now_s, canary_s=None)
    return replace(was, phase="canary", canary_s=since_s, moved_s=now_s)


def _fault(canary: Canary, trial: Trial, *, calls_min: int) -> str:
    if trial.calls < calls_min:
        return ""
    percent, percent_max = 100 * trial.errors / trial.calls, canary.errors_max_percent
    if percent_max is not None and percent > percent_max:
        return f"canary: {percent:.1f} % of {trial.calls} calls failed, at most {percent_max} may"
    mean_s, mean_max_s = trial.busy_ms / 1000 / trial.calls, canary.latency_max_s
    if mean_max_s is not None and mean_s > mean_max_s:
        return f"canary: calls took {mean_s:.3f} s on average, at most {mean_max_s:g} s are allowed"
    return ""


def _timed(now_s: float, update: Update, seen: Seen, was: Progress) -> Progress:
    if was.phase == "stuck":
        return was
    if seen.bad_hosts >= BAD_HOSTS_MIN and not seen.new.ready:
        reason = f"it failed on {seen.bad_hosts} hosts and runs on none"
        return replace(was, phase="stuck", reason=reason, canary_s=None)
    if now_s - was.moved_s >= update.progress_deadline_s:
        reason = (
            f"no progress for {update.progress_deadline_s:g} s: "
            f"{seen.new.ready + seen.leaving.ready} of {seen.wanted} replicas are ready"
        )
        return replace(was, phase="stuck", reason=reason, canary_s=None)
    return was


def _wake_s(update: Update, was: Progress) -> float | None:
    if was.phase == "stuck":
        return None
    if was.canary_s is not None:
        return was.canary_s + update.canary.hold_s
    return was.moved_s + update.progress_deadline_s


# --- counts -----------------------------------------------------------------------------------


def _rolled(update: Update, seen: Seen, progress: Progress, *, is_trial: bool) -> Turn:
    """Fill up to the surge, and withdraw what the ready ones allow.

    What is withdrawn counts as ready, unless its host has no ready one; what is to come counts as
    there. So both bounds hold in whatever order the targets are adopted.
    """
    new, leaving, old = seen.new, seen.leaving, seen.old
    is_trial = is_trial and not progress.is_canary_over
    new_max = min(1, seen.wanted) if is_trial else seen.wanted
    unavailable_max, surge_max = bounds(update)
    room = seen.wanted + surge_max - leaving.assigned - old.assigned
    count = max(0, min(new_max, max(room, new.assigned)))
    least = seen.wanted - unavailable_max
    dropped = max(0, new.assigned - count)
    total = new.assigned - dropped + leaving.assigned + old.assigned
    allowed = max(0, total - least - (new.assigned - new.ready))
    useless_old = 0 if is_trial else min(allowed, old.useless)
    useless_leaving = min(allowed - useless_old, leaving.useless)
    ready = new.ready + leaving.ready + old.ready
    spare = min(allowed - useless_old - useless_leaving, ready - min(dropped, new.ready) - least)
    if is_trial:
        # The others wait for its judgement, except for one that must make room for it.
        spare = min(spare, 1 - max(room, new.assigned))
    spare_old = min(max(0, spare), old.assigned - useless_old)
    if seen.gives_way and not spare_old and not useless_old and (old.assigned > 1 or new.ready):
        spare_old = min(1, old.assigned)
    spare_leaving = min(max(0, spare - spare_old), leaving.assigned - useless_leaving)
    return Turn(
        progress=progress,
        new=count,
        old_withdrawn=useless_old + spare_old,
        leaving_withdrawn=useless_leaving + spare_leaving,
    )


def _recreated(seen: Seen, progress: Progress) -> Turn:
    """End the old ones, and begin when no host runs one any more."""
    is_clear = not seen.old.assigned and not seen.lingering
    count = seen.wanted - seen.leaving.assigned if is_clear else min(seen.wanted, seen.new.assigned)
    return Turn(
        progress=progress,
        new=max(0, count),
        old_withdrawn=seen.old.assigned,
        leaving_withdrawn=seen.leaving.assigned,
    )
