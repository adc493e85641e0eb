"""What a host tells when metrics are collected. It only looks."""

from __future__ import annotations

from collections.abc import Callable

from hosts.announcer import Announcer
from hosts.lifecycle import Lifecycle
from hosts.logbook import Logbook
from hosts.programs import Programs
from hosts.runner import Runner
from lattice.telemetry import Readings


def host_readings(
    core: Lifecycle, runner: Runner, programs: Programs, logbook: Logbook, announcer: Announcer
) -> Readings:
    """Return how the gauges of one host are read."""

    def waiting() -> float:
        return float(sum(each.waiting for each in runner.figures().values()))

    readings: dict[str, Callable[[], float]] = {
        "lattice.host.calls.in_flight": lambda: runner.in_flight,
        "lattice.host.calls.waiting": waiting,
        "lattice.host.replicas": lambda: sum(slot.lives for slot in core.slots.values()),
        "lattice.host.programs": lambda: programs.resident,
        "lattice.host.programs.memory": lambda: programs.resident_bytes,
        "lattice.host.log_lines.dropped": lambda: logbook.dropped_lines,
        "lattice.events.waiting": lambda: announcer.waiting,
    }
    return readings
