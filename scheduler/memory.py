"""What the lattice's memory went through: whether its bucket was lost or is being restored; a core.

A bucket that was lost knows nothing of what runs. What the hosts run goes on meanwhile: taking it
away because nobody remembers it would turn a lost disk into an outage. Two things end this: a
restore, after which each host keeps what it runs as its target, or a deployment that is submitted
without one, with which the lattice begins anew. While a restore is under way, nothing is planned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lattice.model.host import HeldDevice, Report
from lattice.model.ids import HostId, replica_id
from lattice.wire.messages import DeviceGrant, TargetItem


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSeen:
    """A restore is running, or has ended."""

    is_running: bool


class Memory:
    """What one term knows of its bucket. Time goes in with each call."""

    def __init__(self, incarnation: str, patience_s: float) -> None:
        self._incarnation = incarnation
        self._patience_s = patience_s
        self._is_running = False
        self._restored_s: float | None = None  # since when this term knows of a restore that ended

    def restore_seen(self, now_s: float, event: RestoreSeen) -> None:
        """Take in what is said of a restore."""
        self._is_running = event.is_running
        self._restored_s = None if event.is_running else now_s

    def verdict(self, report: Report, *, is_wanted: bool) -> Literal["empty", "wait", "adopt"]:
        """Return what becomes of a host without a document: it gets an empty one, or none yet, or
        one that lists what it runs. `is_wanted`: the bucket knows of a deployment.
        """
        if not self.is_foreign(report):
            return "empty"
        if self._is_running:
            return "wait"
        if self._restored_s is not None:
            return "adopt"
        return "empty" if is_wanted else "wait"

    def is_foreign(self, report: Report) -> bool:
        """Tell whether a host runs what another bucket told it to."""
        return report.adopted.incarnation not in ("", self._incarnation) and bool(report.replicas)

    def is_waiting(
        self, now_s: float, reports: Iterable[Report], documented: Iterable[HostId]
    ) -> bool:
        """Tell whether planning would know too little: during a restore, and after it until the
        hosts that are there have a document again, for a limited time.
        """
        if self._is_running:
            return True
        if self._restored_s is None or now_s - self._restored_s > self._patience_s:
            return False
        has_document = frozenset(documented)
        return any(self.is_foreign(each) and each.host not in has_document for each in reports)


def running_items(report: Report) -> tuple[TargetItem, ...]:
    """Return the target that lets a host run what it runs, with the same replica ids and devices.

    Of two assignments of one generation the newer counts, and what is stopping does not.
    """
    held: dict[str, list[HeldDevice]] = {}
    for each in report.held:
        held.setdefault(each.replica, []).append(each)
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for replica in report.replicas:
        if replica.state == "stopping":
            continue
        assignment, _, ordinal = replica.replica.rpartition("/")[2].partition(".")
        if not assignment.isdigit() or not ordinal.isdigit():
            continue
        key = (replica.deployment, replica.generation)
        made, count = int(assignment), int(ordinal) + 1
        before_made, before_count = found.get(key, (-1, 0))
        if made > before_made:
            found[key] = made, count
        elif made == before_made:
            found[key] = made, max(count, before_count)
    return tuple(
        TargetItem(
            deployment=name, generation=generation, count=count, assignment=assignment,
            grants=[
                DeviceGrant(ordinal=ordinal, device=each.device, share_milli=each.share_milli,
                            memory_bytes=each.memory_bytes)
                for ordinal in range(count)
                for each in held.get(
                    replica_id(name, generation, report.host, assignment, ordinal), ()
                )
            ],
        )
        for (name, generation), (assignment, count) in sorted(found.items())
    )  # fmt: skip
