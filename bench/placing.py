"""What the benchmarks of placement measure: plans of large fleets, and their memory.

As a command, `python -m bench.placing REPLICAS HOSTS` plans once in a process of its own and prints
the peak of its memory above what demands and hosts take.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.fleets import demands, fleet
from lattice.model.ids import HostId
from scheduler.placement.model import Candidate, Changes, Demand, Plan
from scheduler.placement.plan import State, plan

DEPLOYMENTS = 1000
"""Deployments that the replicas belong to, in every case."""

UTILISATION = 0.7
"""Part of the fleet's capacity that all replicas together ask for."""


@dataclass(slots=True)
class Situation:
    """A fleet, its demands, and the plan of them once it was made."""

    hosts: list[Candidate]
    demands: list[Demand]
    state: State
    made: Plan | None = None

    @classmethod
    def of(cls, replicas: int, hosts: int) -> Situation:
        """Return the situation in which nothing is placed yet."""
        candidates = fleet(hosts)
        wanted = demands(DEPLOYMENTS, replicas // DEPLOYMENTS, candidates, UTILISATION)
        return cls(candidates, wanted, State.empty())

    def everything(self) -> Changes:
        """Return all hosts and demands, as a scheduler that takes over finds them."""
        return Changes(
            hosts={host.id: host for host in self.hosts},
            demands={demand.key: demand for demand in self.demands},
        )

    def again(self) -> Changes:
        """Return all hosts and demands once more, equal to those known but other objects."""
        hosts = (replace(host, labels=dict(host.labels)) for host in self.hosts)
        wanted = (replace(demand, placement=replace(demand.placement)) for demand in self.demands)
        return Changes(
            hosts={host.id: host for host in hosts},
            demands={demand.key: demand for demand in wanted},
        )

    def place(self) -> None:
        """Plan everything, and keep the plan."""
        self.state, self.made = plan(State.empty(), self.everything())

    def lose(self, hosts: Iterable[HostId]) -> Plan:
        """Return the plan after some hosts are lost; the situation stays as it was."""
        candidates = (self.state.fleet.candidates[self.state.fleet.rows[host]] for host in hosts)
        lost = {each.id: replace(each, state="lost") for each in candidates}
        return plan(self.state, Changes(hosts=lost))[1]

    def churn(self, after: Plan, gone: Collection[HostId]) -> tuple[int, int]:
        """Return how many replicas were on the hosts that are lost, and how many came to others."""
        assert self.made is not None
        before = self.made.assignments
        lost = sum(sum(before[host].values()) for host in gone)
        moved = 0
        for host in after.changed - set(gone):
            was, now = before[host], after.assignments[host]
            assert all(now.get(key, 0) >= count for key, count in was.items()), "one moved away"
            moved += sum(now.values()) - sum(was.values())
        return lost, moved


def peak_bytes(replicas: int, hosts: int) -> tuple[int, int]:
    """Return the memory that a plan takes at its peak above the situation, and what it keeps."""
    situation = Situation.of(replicas, hosts)
    everything = situation.everything()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = _status("VmRSS")
    state, _ = plan(State.empty(), everything)
    assert len(state.placed)
    return _status("VmHWM") - before, _status("VmRSS") - before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


if __name__ == "__main__":
    peak, kept = peak_bytes(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps({"peak_mib": peak / (1 << 20), "kept_mib": kept / (1 << 20)}))
