"""What must hold after every event, and at the end: the claims that the simulation checks."""

from __future__ import annotations

from collections import Counter

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Placement
from lattice.wire.messages import Target, TargetItem
from scheduler.generations import Wanted
from tests.simulation.actors import CAPACITY, HostActor, SchedulerActor
from tests.simulation.mutants import host_actor, scheduler_actor
from tests.simulation.world import World

SETTLE_S = 35.0
"""Quiet seconds after which nothing may move any more: leases, losses and backoffs are over."""

CPU_MILLI = 1000


class Lattice:
    """Hosts, schedulers and deployments in one world, with their invariants."""

    def __init__(
        self, seed: int, mutant: str = "", *, hosts: int = 5, schedulers: int = 2,
        chaos_s: float = 90.0, quiet_s: float = 75.0,
    ) -> None:  # fmt: skip
        self.world = World(seed, chaos_s=chaos_s, quiet_s=quiet_s)
        self.wanted: dict[str, Wanted] = {}
        self.hosts: dict[str, HostActor] = {
            f"h{i}": host_actor(mutant)(self.world, f"h{i}") for i in range(hosts)
        }
        self.schedulers: dict[str, SchedulerActor] = {
            f"s{i}": scheduler_actor(mutant)(self.world, f"s{i}") for i in range(schedulers)
        }
        for name, actor in (self.hosts | self.schedulers).items():
            self.world.add(name, actor)
        for i in range(4):
            self.desire(f"d{i}", generation=1, replicas=self.world.random.randint(1, 4))
        self.world.edit, self.world.check = self.edit, self.check
        self.moves_at_settling: int | None = None
        self.moves = 0
        self.seen_log = 0
        self.items: dict[str, list[TargetItem]] = {}
        self.adopted: dict[str, tuple[str, int]] = {}

    def desire(self, name: str, *, generation: int, replicas: int) -> None:
        wanted = Wanted(
            name=DeploymentName(name),
            generation=generation,
            replicas=replicas,
            placement=Placement(cpu_milli=CPU_MILLI),
        )
        self.wanted[name] = wanted
        self.world.write(f"desired.{name}", wanted)

    def edit(self) -> None:
        name = self.world.random.choice(sorted(self.wanted))
        step = self.world.random.choice([0, 1])
        replicas = self.world.random.randint(0, 4)
        self.desire(name, generation=self.wanted[name].generation + step, replicas=replicas)

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
            if not isinstance(value, Target):
                continue
            epoch = self.world.kv.get("term")[1]
            if value.epoch != epoch:
                self.fail(f"{key} was written at {revision} in term {value.epoch}, not {epoch}")
            used = sum(item.count * item.cpu_milli for item in value.items)
            if used > CAPACITY.cpu_milli:
                self.fail(f"{key} at {revision} lists {used}m of {CAPACITY.cpu_milli}m")
            self.moves += self.items.get(key, []) != value.items
            self.items[key] = value.items
        self.seen_log = len(log)

    def check_hosts(self) -> None:
        for name, actor in self.hosts.items():
            if self.world.nodes[name].is_down:
                continue
            last = self.adopted.get(name)
            boot, sequence = actor.core.boot, actor.core.adopted.sequence
            if last is not None and last[0] == boot and sequence < last[1]:
                self.fail(f"{name} went back from revision {last[1]} to {sequence}")
            self.adopted[name] = (boot, sequence)

    # --- at the end ---------------------------------------------------------------------------

    def check_end(self) -> None:
        running: Counter[tuple[str, int]] = Counter()
        others: list[str] = []
        for name, actor in self.hosts.items():
            if self.world.nodes[name].is_down:
                continue
            for slot in actor.core.slots.values():
                if slot.state == "running":
                    running[slot.deployment, slot.generation] += 1
                else:
                    others.append(f"{slot.replica} is {slot.state}")
        wanted = Counter({(w.name, w.generation): w.replicas for w in self.wanted.values()})
        if +running != +wanted or others:
            self.fail(f"not converged: runs {dict(running)}, wanted {dict(wanted)}, {others}")
        if self.moves != self.moves_at_settling:
            self.fail(f"moved after settling: {self.moves} != {self.moves_at_settling}")

    def fail(self, what: str) -> None:
        self.world.errors.append(f"{self.world.now_s:.3f} s: {what}")
