"""What must hold after every event, and at the end: the claims that the simulation checks.

Here are those about leaders, targets, hosts, singletons, jobs, and about the end. Plans, events,
the pace of starts and the bounds of updates have modules of their own;
`docs/explanation/simulation.md` has the table of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hosts.lifecycle import Announce, Slot
from lattice.model.ids import DeploymentName, ReplicaId, replica_id
from lattice.wire.messages import DeploymentStatus, Target, TargetItem
from scheduler.announcements import Emit
from scheduler.generations import Wanted
from scheduler.placement.model import Counts
from scheduler.placement.plan import State
from scheduler.profile import DEFAULT, Profile
from scheduler.wishes import Woken
from tests.simulation.desires import CROWD, DAEMON, RISKY, SLEEPY, desires, edited
from tests.simulation.host_actor import CAPACITY, JOB, SINGLETON, HostActor
from tests.simulation.misfortune import Misfortune
from tests.simulation.mutants import host_actor, scheduler_actor
from tests.simulation.orderly import WAKE_S, Orderly
from tests.simulation.planning import Plans
from tests.simulation.scheduler_actor import SchedulerActor
from tests.simulation.telling import Telling
from tests.simulation.world import SLOW_S_MAX, World

SETTLE_S = 50.0
"""Quiet seconds after which nothing may move any more: leases, losses and backoffs are over."""

MARKS = 0.3
"""Share of edits that take a host out of service or back; half of them aim at the singleton's."""

CALLS = 0.1
"""Share of the other edits that are none, but a call to what sleeps."""

SINGLETON_EDITS = 3
"""How much more often the singleton is changed than others: each change may move it."""

REST_S, ORDERLY_S, UPDATES_S = 30.0, 50.0, 10.0
"""Seconds in which nothing may move, then of the last act, and in which its updates begin."""

LARGE_EVERY, LARGE_HOSTS, NEWCOMERS = 19, 16, 2
"""One world in so many is large: in it half of the hosts go at once, and some come only in the last
act, so that replicas are moved to them."""

PATIENT = Profile(
    heartbeat_s=2.0, lost_after_s=14.0, host_lease_s=14.0, leader_lease_s=2.5, tick_s=0.25
)
"""Times at the other end: leaders change quickly, hosts are waited for."""

STEADY = replace(PATIENT, leader_lease_s=DEFAULT.leader_lease_s, tick_s=DEFAULT.tick_s)
"""Leaders stay for as long as by default, hosts are waited for."""

TIMINGS = ((DEFAULT, SLOW_S_MAX), (PATIENT, 14.0), (STEADY, 14.0))
"""Profiles, each with the longest delay of a message; seeds take turns."""


class Lattice:
    """Hosts, schedulers and deployments in one world, with their invariants."""

    def __init__(
        self, seed: int, mutant: str = "", *, hosts: int = 5, schedulers: int = 2,
        chaos_s: float = 90.0, quiet_s: float = SETTLE_S + REST_S + ORDERLY_S,
    ) -> None:  # fmt: skip
        is_large = seed % LARGE_EVERY == LARGE_EVERY - 1
        hosts = LARGE_HOSTS if is_large else hosts
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
        self.world.late |= {f"h{i}" for i in range(hosts - NEWCOMERS, hosts) if is_large}
        self.generations: Counter[str] = Counter()
        for wanted in desires(self.world.random, is_large=is_large):
            self.desire(wanted)
        self.misfortune = Misfortune(self.world, self.edit, self.drain)
        self.world.begin, self.world.calm = self.misfortune.begin, self.calm
        self.world.check, self.world.holders = self.check, self.holders
        self.plans, self.telling = Plans(), Telling()
        self.world.planned, self.world.told = self.planned, self.told
        self.orderly: Orderly | None = None
        self.epoch = 0
        self.looked = (0, 0)
        self.strict: dict[str, list[ReplicaId]] = {}
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
        if random.random() < MARKS:
            at_work = [name for name in self.holders() if name in self.hosts]
            is_aimed = bool(at_work) and random.random() < 0.5
            actor = self.hosts[random.choice(at_work if is_aimed else sorted(self.hosts))]
            is_draining = random.random() < (0.7 if is_aimed else 0.3)
            actor.mark(cordoned=random.random() < 0.5, draining=is_draining)
            return
        if random.random() < CALLS:
            for actor in self.schedulers.values():
                actor.receive(Woken(name=DeploymentName(SLEEPY)))
            return
        known = sorted(self.wanted(), key=lambda wanted: wanted.name)
        weights = [SINGLETON_EDITS if wanted.name == SINGLETON else 1 for wanted in known]
        (current,) = random.choices(known, weights)
        wanted = edited(random, current, self.generations[current.name])
        is_new = wanted.generation > self.generations[wanted.name]
        if wanted.name == RISKY and is_new and random.random() < 0.5:
            self.world.broken.add((RISKY, wanted.generation))
        self.desire(wanted)

    def drain(self) -> None:
        """Take the hosts out of service that run the singleton."""
        for name in self.holders():
            if name in self.hosts:
                self.hosts[name].mark(cordoned=False, draining=True)

    def holders(self) -> list[str]:
        """Return who leads, and the hosts that run the singleton, or still do."""
        at_work = [
            name
            for name, actor in self.hosts.items()
            if any(slot.deployment == SINGLETON for slot in actor.core.slots.values())
        ]
        return sorted(self.leaders() + at_work)

    def leaders(self) -> list[str]:
        return [name for name, actor in self.schedulers.items() if actor.term is not None]

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
        world.at(world.chaos_s + SETTLE_S + REST_S, "orderly", self.update)
        if len(self.hosts) == LARGE_HOSTS:
            world.at(world.chaos_s * world.random.uniform(0.4, 0.6), "mass failure", self.lose_zone)
        world.run()
        if not world.errors:
            self.check_end()
        return world.errors

    def settled(self) -> None:
        self.moves_at_settling = self.moves

    def lose_zone(self) -> None:
        """Let all hosts of one zone go at once, and come back one by one."""
        for name in sorted(self.hosts)[::2]:
            self.world.kill(name)
            back_s = self.world.random.uniform(15, 40)
            self.world.at(back_s, f"revive {name}", lambda name=name: self.world.revive(name))  # type: ignore[misc]  # bound now

    def update(self) -> None:
        """Begin the last act: nothing moved, from now on everything does, in order."""
        self.check_rest()
        self.orderly = Orderly(self.wanted())
        for wanted in list(self.wanted()):
            if wanted.job is None and wanted.name not in (SLEEPY, CROWD):
                self.world.at(self.world.random.uniform(0, UPDATES_S), f"update {wanted.name}",
                              lambda name=wanted.name: self.renew(name))  # type: ignore[misc]  # fmt: skip  # bound now
        self.world.at(self.world.random.uniform(0, UPDATES_S), "wake", self.wake)
        for name in sorted(self.world.late):
            self.world.at(1.0, f"join {name}", lambda name=name: self.world.join(name))  # type: ignore[misc]  # bound now

    def renew(self, name: str) -> None:
        """Desire a new generation of a deployment."""
        current = self.world.kv.get(f"desired.{name}")[0]
        generation = self.generations[name] + 1
        if name == RISKY and self.status(name).good_generation and self.world.random.random() < 0.5:
            self.world.broken.add((RISKY, generation))
        self.desire(replace(current, generation=generation, reverted=0, reason=""))

    def wake(self) -> None:
        """Let a call wait for what sleeps."""
        for actor in self.schedulers.values():
            actor.receive(Woken(name=DeploymentName(SLEEPY)))
        self.world.at(WAKE_S, "awake", self.check_awake)

    def check_awake(self) -> None:
        if not self.running()[SLEEPY, self.world.kv.get(f"desired.{SLEEPY}")[0].generation]:
            self.fail(f"{SLEEPY} does not run {WAKE_S} s after a call")

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
        moment = (self.world.moves, self.world.kv.revision)
        if self.orderly is not None and moment != self.looked:
            self.looked = moment
            alive = {key: items for key, items in self.items.items()
                     if not self.world.nodes[key.partition(".")[2]].is_down}  # fmt: skip
            for what in self.orderly.look(alive, self.running(), self.failing()):
                self.fail(what)

    def running(self) -> Counter[tuple[str, int]]:
        """Return how many replicas take calls, by generation."""
        return Counter(
            (slot.deployment, slot.generation)
            for name, actor in self.hosts.items() if not self.world.nodes[name].is_down
            for slot in actor.core.slots.values() if slot.state == "running"
        )  # fmt: skip

    def failing(self) -> Counter[str]:
        """Return how many replicas failed and are tried again, by deployment."""
        return Counter(
            slot.deployment
            for name, actor in self.hosts.items() if not self.world.nodes[name].is_down
            for slot in actor.core.slots.values() if slot.failures
        )  # fmt: skip

    def told(self, source: str, event: Emit | Announce) -> None:
        found = (self.telling.emitted(int(source), event) if isinstance(event, Emit)
                 else self.telling.announced(source, event))  # fmt: skip
        for what in found:
            self.fail(what)

    def planned(self, listed: Counts, after: State, wanted: Iterable[Wanted | None]) -> None:
        for what in self.plans.look(listed, after, wanted):
            self.fail(what)

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
            if epoch < self.epoch:
                self.fail(f"term {epoch} follows term {self.epoch}")
            self.epoch = epoch
            if value.epoch != epoch:
                self.fail(f"{key} was written at {revision} in term {value.epoch}, not {epoch}")
            used = sum(self.at_work(value.host, item) * item.cpu_milli for item in value.items)
            if used > CAPACITY.cpu_milli:
                self.fail(f"{key} at {revision} lists {used}m of {CAPACITY.cpu_milli}m")
            before = self.items.get(key, [])
            self.moves += before != value.items
            if _has_singleton(before) and not _has_singleton(value.items):
                self.misfortune.withdrawn(value.host, self.leaders())
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
        if not self.world.fed:
            return
        for name in sorted(self.world.fed):
            actor = self.hosts[name]
            last = self.adopted.get(name)
            boot, sequence = actor.core.boot, actor.core.adopted.sequence
            if last is not None and last[0] == boot and sequence < last[1]:
                self.fail(f"{name} went back from revision {last[1]} to {sequence}")
            self.adopted[name] = (boot, sequence)
            self.strict[name] = [
                replica
                for replica, slot in actor.core.slots.items()
                if slot.deployment == SINGLETON
            ]
        self.world.fed.clear()
        at_work = [
            name
            for name, replicas in self.strict.items()
            if replicas and not self.world.nodes[name].is_down
            for replica in replicas
            if self.hosts[name].core.may_call(replica, self.world.clock(name))
        ]
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
        if not self.status(JOB).verdict:
            self.fail(f"the job did not end: {self.status(JOB)}")

    def check_rest(self) -> None:
        self.check_end()
        if self.moves != self.moves_at_settling:
            self.fail(f"moved after settling: {self.moves} != {self.moves_at_settling}")

    def fail(self, what: str) -> None:
        self.world.errors.append(f"{self.world.now_s:.3f} s: {what}")


def _has_singleton(items: Sequence[TargetItem]) -> bool:
    return any(item.deployment == SINGLETON for item in items)


def _told(slot: Slot) -> str:
    return f"{slot.replica} is {slot.state}: {slot.reason}"
