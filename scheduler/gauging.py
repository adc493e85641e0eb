"""What a scheduler tells when metrics are collected. It only looks."""

from __future__ import annotations

from collections.abc import Callable

from lattice.telemetry import Readings
from scheduler.outbox import Outbox
from scheduler.reconciler import Reconciler


def scheduler_readings(leading: Callable[[], Reconciler | None], outbox: Outbox) -> Readings:
    """Return how the gauges of one scheduler are read; `leading` is its term's core, if it leads.

    A standby has no figures of the lattice: they are 0.
    """

    def of_core(count: Callable[[Reconciler], int]) -> Callable[[], float]:
        def read() -> float:
            core = leading()
            return 0 if core is None else count(core)

        return read

    return {
        "lattice.events.waiting": lambda: outbox.waiting,
        "lattice.scheduler.leading": of_core(lambda core: 1),
        "lattice.scheduler.hosts": of_core(lambda core: len(core.membership.members())),
        "lattice.scheduler.deployments": of_core(lambda core: len(core.wanted)),
        "lattice.scheduler.replicas.unplaced": of_core(
            lambda core: sum(each.count for each in core.unplaced.values())
        ),
    }
