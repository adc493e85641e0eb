"""Makes a report small: as it is, or only what changed; a core.

A host with more than a few replicas tells the scheduler what it does not know yet, so that a report
without news costs both sides little. Of thousands it tells the most important first and as much as
fits into a message; the rest follows as soon as that was answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lattice.model.host import ReplicaReport, Report
from lattice.model.ids import ReplicaId
from lattice.wire.changes import NOTHING, Told
from lattice.wire.codec import encode

REPORT_BYTES_MAX = 256 * 1000
"""Bytes of a report: a quarter of a message, so that reports never hold up calls for long."""

WHOLE_REPLICAS_MAX = 16
"""Replicas that are always told in full: two kilobytes, which are read in less time than it takes
to find out what they change."""

GONE_BYTES = 4
"""What an id takes beside its text."""

OPEN_MAX = 8
"""Reports without an answer, after which the host tells everything anew."""


class Differences:
    """What the scheduler knows of one host's replicas."""

    def __init__(self) -> None:
        self._told = Told()
        self._open: dict[int, tuple[Told, bool]] = {}  # after the report; is there more to tell

    def encoded(self, report: Report) -> bytes:
        """Return a report as it is sent: in full when it is small, else as changes."""
        if len(report.replicas) <= WHOLE_REPLICAS_MAX:
            body = encode(report)
            if len(body) <= REPORT_BYTES_MAX:
                self._begin_anew()
                return body
        if len(self._open) >= OPEN_MAX:
            self._begin_anew()
        return encode(self._changes(report))

    def answered(self, sequence: int, *, is_base_unknown: bool) -> bool:
        """Note what the scheduler made of a report; True: there is more to tell at once."""
        sent = self._open.pop(sequence, None)
        if sent is None:
            return False
        self._open = {number: each for number, each in self._open.items() if number > sequence}
        if is_base_unknown:
            self._begin_anew()
            return True
        self._told, is_partial = sent
        return is_partial

    def _begin_anew(self) -> None:
        self._told = Told()
        self._open.clear()

    def _changes(self, report: Report) -> Report:
        known = self._told.replicas
        news = self._news(report.replicas)
        urgent = [r for r in news.values() if _essence(known.get(r.replica)) != _essence(r)]
        urgent_ids = {r.replica for r in urgent}
        # The longest untold first, which is the order of what is known.
        lesser = [news[r] for r in known if r in news and r not in urgent_ids] if news else []
        now = {replica.replica for replica in report.replicas}
        gone = [replica for replica in known if replica not in now]
        left = REPORT_BYTES_MAX - len(encode(replace(report, replicas=())))
        told_gone, left = _fitting_gone(gone, left)
        told_urgent, left = _fitting(urgent, left)
        told_lesser, _ = _fitting(lesser, left)
        told = [*told_urgent, *told_lesser]
        after = self._told.changed(told, told_gone) if told or told_gone else self._told
        is_partial = len(told_urgent) < len(urgent) or len(told_gone) < len(gone)
        self._open[report.sequence] = after, is_partial
        return replace(
            report,
            replicas=tuple(told),
            gone=tuple(told_gone),
            base=self._told.digest if known else NOTHING,
            digest=after.digest,
            is_partial=is_partial,
        )

    def _news(self, replicas: Sequence[ReplicaReport]) -> dict[ReplicaId, ReplicaReport]:
        """Return what the scheduler may not know as it is now.

        It may have taken in each report that has no answer yet, and a digest does not tell two
        states apart that differ in counters: so what counts is what is the same in all of them.
        """
        states = [self._told.replicas, *(after.replicas for after, _ in self._open.values())]
        if all(state is states[0] for state in states):
            known = states[0]
            return {r.replica: r for r in replicas if known.get(r.replica) != r}
        return {r.replica: r for r in replicas if any(s.get(r.replica) != r for s in states)}


def _essence(report: ReplicaReport | None) -> tuple[str, str, int] | None:
    """Return what decisions are made by."""
    return None if report is None else (report.state, report.reason, report.restarts)


def _fitting(replicas: Iterable[ReplicaReport], left: int) -> tuple[list[ReplicaReport], int]:
    found: list[ReplicaReport] = []
    for replica in replicas:
        left -= len(encode(replica))
        if left < 0:
            break
        found.append(replica)
    return found, left


def _fitting_gone(gone: Iterable[ReplicaId], left: int) -> tuple[list[ReplicaId], int]:
    found: list[ReplicaId] = []
    for replica in gone:
        left -= len(replica.encode()) + GONE_BYTES
        if left < 0:
            break
        found.append(replica)
    return found, left
