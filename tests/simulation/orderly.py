"""A last act without faults: everything gets a new generation, and a call wakes what sleeps.

Only without faults can it be said how many replicas there must be at every moment of a rollout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lattice.wire.messages import TargetItem
from scheduler.generations import Wanted
from scheduler.rollout import bounds

WAKE_S = 3.0
"""Seconds from the call to a replica that takes it: a plan, a write, a start, their messages."""

BOUNDED = ("rolling", "canary")
"""Strategies with bounds on how many there are; `recreate` has none, but one generation at a
time."""


class Orderly:
    """The bounds of the updates of one world, while no faults happen."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._wanted = {each.name: each for each in wanted if not _is_special(each)}
        self.woken_s: float | None = None

    def look(
        self,
        targets: Mapping[str, Sequence[TargetItem]],
        running: Counter[tuple[str, int]],
        failing: Counter[str],
    ) -> Iterator[str]:
        """Yield the bounds that do not hold now. `running` counts replicas by generation.

        One of the `failing` may be listed twice while it is moved: where it failed, and where it is
        tried next.
        """
        listed: Counter[str] = Counter()
        for items in targets.values():
            for item in items:
                listed[item.deployment] += item.count
        for name, wanted in self._wanted.items():
            generations = sorted(g for (n, g), count in running.items() if n == name and count)
            if wanted.update.strategy not in BOUNDED:
                if len(generations) > 1:
                    yield f"{name} is to be recreated and runs in generations {generations}"
                continue
            unavailable_max, surge_max = bounds(wanted.update)
            available = sum(running[name, generation] for generation in generations)
            if available < wanted.replicas - unavailable_max:
                yield f"{name}: {available} of {wanted.replicas} run during an update"
            if listed[name] - failing[name] > wanted.replicas + surge_max:
                yield f"{name}: {listed[name]} for {wanted.replicas} during an update"


def _is_special(wanted: Wanted) -> bool:
    """Tell whether a deployment's replicas are not counted by a number of its own."""
    special = (wanted.daemon, wanted.job, wanted.scale)
    return wanted.is_singleton or any(each is not None for each in special)
