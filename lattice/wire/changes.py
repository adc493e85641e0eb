"""What a host runs, told in changes: for reports that are larger than a message may be. Pure.

Both sides keep what was told and name it by a digest, so that a change is never applied to
something else. The digest covers which replicas there are, their states and restarts, not their
counters: those may be a report behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from lattice.model.host import ReplicaReport
from lattice.model.ids import ReplicaId

MARK_BYTES = 8
"""Bytes of a digest: it guards against mistakes, not against malice; each host has its own."""

NOTHING = "0" * (2 * MARK_BYTES)
"""The digest of no replicas, with which the telling begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The replicas that one side told and the other one knows, the longest untold first."""

    replicas: Mapping[ReplicaId, ReplicaReport] = field(
        default_factory=dict[ReplicaId, ReplicaReport]
    )
    mark: int = 0

    @property
    def digest(self) -> str:
        """Return the name of this state."""
        return f"{self.mark:0{2 * MARK_BYTES}x}"

    def changed(self, replicas: Iterable[ReplicaReport], gone: Iterable[ReplicaId]) -> Told:
        """Return the state after a change; what is gone and was not there changes nothing."""
        found, mark = dict(self.replicas), self.mark
        for replica in gone:
            if (before := found.pop(replica, None)) is not None:
                mark ^= _mark(before)
        for report in replicas:
            if (before := found.pop(report.replica, None)) is not None:
                mark ^= _mark(before)
            found[report.replica] = report
            mark ^= _mark(report)
        return Told(replicas=found, mark=mark)


def _mark(report: ReplicaReport) -> int:
    text = f"{report.replica} {report.state} {report.restarts}"
    return int.from_bytes(blake2b(text.encode(), digest_size=MARK_BYTES).digest(), "big")
