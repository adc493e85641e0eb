"""Puts the reports of hosts together that tell only what changed; a core, one for each term.

What is decided by reports sees whole ones only. While a host has not told everything, its last
whole report counts for what runs, and the new one only for that the host is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lattice.model.host import Report, Revision
from lattice.model.ids import HostId
from lattice.wire.changes import NOTHING, Told


@dataclass(slots=True)
class _Host:
    boot: str
    # The newest state last. The one before it too, for a report that was on its way with the next.
    states: list[Told] = field(default_factory=list[Told])
    whole: Report | None = None
    whole_state: Told | None = None  # which `whole` tells


class Assembly:
    """What hosts with more than a few replicas have told in this term."""

    def __init__(self) -> None:
        self._hosts: dict[HostId, _Host] = {}
        self._known: dict[HostId, str] = {}

    def knows(self, report: Report) -> bool:
        """Tell whether the process that reports has told everything at least once in this term.

        Until then its reports say nothing of what it runs, and must not be taken as if it ran
        nothing.
        """
        return self._known.get(report.host) == report.boot

    def take(self, report: Report) -> tuple[Report, bool]:
        """Return the report to decide by, and whether its host must begin to tell anew."""
        if not report.base:
            self._hosts.pop(report.host, None)
            self._known[report.host] = report.boot
            return report, False
        host = self._hosts.get(report.host)
        if host is None or host.boot != report.boot:
            host = self._hosts[report.host] = _Host(report.boot)
        if report.base == NOTHING:
            host.states = [Told()]
        base = next((each for each in reversed(host.states) if each.digest == report.base), None)
        state = base
        if base is not None and (report.replicas or report.gone):
            state = base.changed(report.replicas, report.gone)
        if base is None or state is None or state.digest != report.digest:
            return _only_there(report, host.whole), True
        host.states = [base, state]
        if report.is_partial:
            return _only_there(report, host.whole), False
        if host.whole is not None and host.whole_state is state:
            replicas = host.whole.replicas  # the same ones, which is seen at a glance
        else:
            replicas = tuple(state.replicas.values())
        host.whole = replace(report, replicas=replicas, base="", digest="", gone=())
        host.whole_state = state
        self._known[report.host] = report.boot
        return host.whole, False


def _only_there(report: Report, whole: Report | None) -> Report:
    """Return what a report says for certain: that the host is there, and what it said before."""
    return replace(
        report,
        replicas=whole.replicas if whole else (),
        adopted=whole.adopted if whole else Revision(),
        base="",
        digest="",
        gone=(),
        is_partial=False,
    )
