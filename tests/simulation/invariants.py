"""What must hold after every event, and at the end: the claims that the simulation checks.

| | claim |
|---|---|
| leaders | never two at once |
| fence | no target is written in a term that is over |
| capacity | no target lists more than its host has room for |
| revisions | no host goes back to an older target |
| singleton | never at work on two hosts at once |
| job | no completion is counted that did not take place, and none twice |
| end | exactly what is desired runs, nothing is lost or left over, drained hosts are empty |
| rest | nothing moves any more once all is settled, not even for a new leader |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from hosts.lifecycle import Slot
from lattice.model.ids import replica_id
from lattice.wire.messages import DeploymentStatus, Target, TargetItem
from scheduler.generations import Wanted
from scheduler.profile import DEFAULT, Profile
from tests.simulation.desires import DAEMON, RISKY, desires, edited
from tests.simulation.host_actor import CAPACITY, JOB, SINGLETON, HostActor
from tests.simulation.mutants import host_actor, scheduler_actor
from tests.simulation.scheduler_actor import SchedulerActor
from tests.simulation.world import SLOW_S_MAX, World

SETTLE_S = 50.0
"""Quiet seconds after which nothing may move any more: leases, losses and backoffs are over."""

PATIENT = Profile(
    heartbeat_s=2.0, lost_after_s=14.0, host_lease_s=14.0, leader_lease_s=2.5, tick_s=0.25
)
"""Times at the other end: leaders change quickly, hosts are waited for."""

TIMINGS: tuple[tuple[Profile, float], ...] = ((DEFAULT, SLOW_S_MAX), (PATIENT, 14.0))
"""Profiles, each with the longest delay of a message; seeds take turns."""


class Lattice:
    """Hosts, schedulers and deployments in one world, with their invariants."""

    def __init__(
        self, seed: int, mutant: str = "", *, hosts: int = 5, schedulers: int = 2,
        chaos_s: float = 90.0, quiet_s: float = 95.0,
    ) -> None:  # fmt: skip
        profile, slow_s_max = TIMINGS[seed % len(TIMINGS)]
        self.world = World(
            seed, chaos_s=chaos_s, quiet_s=quiet_s, profile=profile, slow_s_max=slow_s_max
        )
        self.hosts: dict[str, HostActor] = {
            f"h{i}": host_actor(mutant)(self.world, f"h{i}") for i in range(hosts)
        }
        self.schedulers: dict[str, SchedulerActor] = {
            f"s{i}": scheduler_actor(mutant)(self.world, f"s{i}") for i in range(schedulers)
        }
        for name, actor in (self.hosts | self.schedulers).items():
            self.world.add(name, actor)
        self.generations: Counter[str] = Counter()
        for wanted in desires(self.world.random):
            self.desire(wanted)
        self.world.edit, self.world.calm, self.world.check = self.edit, self.calm, self.check
        self.moves_at_settling: int | None = None
        self.moves = 0
        self.seen_log = 0
        self.items: dict[str, list[TargetItem]] = {}
        self.adopted: dict[str, tuple[str, int]] = {}

    # --- what people do -----------------------------------------------------------------------

    def desire(self, wanted: Wanted) -> None:
        self.generations[wanted.name] = max(wanted.generation, self.generations[wanted.name])
        self.world.write(f"history.{wanted.name}.{wanted.generation}", wanted)
        self.world.write(f"desired.{wanted.name}", wanted)

    def wanted(self) -> Iterator[Wanted]:
        for key, (value, _) in list(self.world.kv.values.items()):
            if key.startswith("desired."):
                yield value

    def edit(self) -> None:
        """Change a deployment, or take a host out of service and back."""
        random = self.world.random
        if random.random() < 0.2:
            actor = self.hosts[random.choice(sorted(self.hosts))]
            actor.mark(cordoned=random.random() < 0.5, draining=random.random() < 0.3)
            return
        current = random.choice(sorted(self.wanted(), key=lambda wanted: wanted.name))
        wanted = edited(random, current, self.generations[current.name])
        is_new = wanted.generation > self.generations[wanted.name]
        if wanted.name == RISKY and is_new and random.random() < 0.5:
            self.world.broken.add((RISKY, wanted.generation))
        self.desire(wanted)

    def calm(self) -> None:
        """Bring hosts back into service, but one, and mend what has no good generation to revert
        to."""
        for name, actor in self.hosts.items():
            actor.mark(cordoned=False, draining=name == "h1")
        risky = self.world.kv.get(f"desired.{RISKY}")[0]
        if (RISKY, risky.generation) in self.world.broken:
            good = self.status(RISKY).good_generation
            if not good or (RISKY, good) in self.world.broken:
                self.desire(replace(risky, generation=self.generations[RISKY] + 1))

    def status(self, name: str) -> DeploymentStatus:
        found = self.world.kv.get(f"status.{name}")[0]
        return found if found is not None else DeploymentStatus(name=name)

    # --- the run ------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Return what went wrong, nothing when all held."""
        world = self.world
        # One host never comes back, and late in the quiet the leader is restarted once.
        world.at(world.chaos_s + 1, "kill h0", lambda: world.kill("h0"))
        world.at(world.chaos_s + SETTLE_S, "settled", self.settled)
        world.at(world.chaos_s + SETTLE_S + 1, "restart leader", self.restart_leader)
        world.run()
        if not world.errors:
            self.check_end()
        return world.errors

    def settled(self) -> None:
        self.moves_at_settling = self.moves

    def restart_leader(self) -> None:
        for name, actor in self.schedulers.items():
            if actor.term is not None:
                self.world.kill(name)
                self.world.revive(name)

    # --- after every event --------------------------------------------------------------------

    def check(self) -> None:
        self.check_leaders()
        self.check_writes()
        self.check_hosts()

    def check_leaders(self) -> None:
        leaders = [
            name
            for name, actor in self.schedulers.items()
            if actor.election.lease_until_s > self.world.clock(name)
        ]
        if len(leaders) > 1:
            self.fail(f"two leaders at once: {leaders}")

    def check_writes(self) -> None:
        log = self.world.kv.log
        for revision, key, value in log[self.seen_log :]:
            if isinstance(value, DeploymentStatus):
                self.check_job(value)
            if not isinstance(value, Target):
                continue
            epoch = self.world.kv.get("term")[1]
            if value.epoch != epoch:
                self.fail(f"{key} was written at {revision} in term {value.epoch}, not {epoch}")
            used = sum(self.at_work(value.host, item) * item.cpu_milli for item in value.items)
            if used > CAPACITY.cpu_milli:
                self.fail(f"{key} at {revision} lists {used}m of {CAPACITY.cpu_milli}m")
            self.moves += self.items.get(key, []) != value.items
            self.items[key] = value.items
        self.seen_log = len(log)

    def at_work(self, host: str, item: TargetItem) -> int:
        """Return how many replicas of an item may be at work: what ended of a job stays listed."""
        if item.deployment != JOB:
            return item.count
        ids = (
            replica_id(JOB, item.generation, host, item.assignment, n) for n in range(item.count)
        )
        return sum(replica not in self.world.over for replica in ids)

    def check_job(self, status: DeploymentStatus) -> None:
        if status.name == JOB and status.completed > len(self.world.ended):
            ended = len(self.world.ended)
            self.fail(f"{status.completed} completions are counted, {ended} took place")

    def check_hosts(self) -> None:
        at_work: list[str] = []
        for name, actor in self.hosts.items():
            if self.world.nodes[name].is_down:
                continue
            last = self.adopted.get(name)
            boot, sequence = actor.core.boot, actor.core.adopted.sequence
            if last is not None and last[0] == boot and sequence < last[1]:
                self.fail(f"{name} went back from revision {last[1]} to {sequence}")
            self.adopted[name] = (boot, sequence)
            now_s = self.world.clock(name)
            for replica, slot in actor.core.slots.items():
                if slot.deployment == SINGLETON and actor.core.may_call(replica, now_s):
                    at_work.append(name)
        if len(set(at_work)) > 1:
            self.fail(f"the singleton is at work on {at_work}")

    # --- at the end ---------------------------------------------------------------------------

    def check_end(self) -> None:
        running: Counter[tuple[str, int]] = Counter()
        others: list[str] = []
        alive = [name for name in self.hosts if not self.world.nodes[name].is_down]
        for name in alive:
            for slot in self.hosts[name].core.slots.values():
                if slot.state == "running":
                    running[slot.deployment, slot.generation] += 1
                else:
                    others.append(_told(slot))
            if self.hosts[name].is_draining and self.hosts[name].core.slots:
                self.fail(f"{name} is drained and runs {sorted(self.hosts[name].core.slots)}")
        serving = [name for name in alive if not self.hosts[name].is_draining]
        wanted = Counter(
            {
                (w.name, w.generation): len(serving) if w.name == DAEMON else w.replicas
                for w in self.wanted()
                if w.name != JOB
            }
        )
        if +running != +wanted or others:
            self.fail(f"not converged: runs {dict(running)}, wanted {dict(wanted)}, {others}")
        if self.moves != self.moves_at_settling:
            self.fail(f"moved after settling: {self.moves} != {self.moves_at_settling}")
        if not self.status(JOB).verdict:
            self.fail(f"the job did not end: {self.status(JOB)}")

    def fail(self, what: str) -> None:
        self.world.errors.append(f"{self.world.now_s:.3f} s: {what}")


def _told(slot: Slot) -> str:
    return f"{slot.replica} is {slot.state}: {slot.reason}"
