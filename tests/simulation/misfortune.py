"""What goes wrong, and when: one mix of faults for each world, drawn from its seed.

Faults come alone or in bursts, because in a real lattice they do: a switch takes several hosts
with it, and somebody edits while the leader dies. It knows processes by name only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from tests.simulation.world import World

EVERY_S = 3.0
"""Mean time between two faults, or two bursts of them."""

BURST, BURST_S = 0.25, 1.0
"""Share of faults that another one follows within so many seconds."""

AIMED = 0.4
"""Share of faults that aim at who leads or runs the strict singleton."""

HARD_TIMES = 0.3
"""Share of withdrawals of a strict singleton at which its host stops hearing and the leader dies:
what a leader knew and did not finish is what the next one must find out."""

DRILLS = ("withdrawal", "late for a host", "late for a leader", "deposed", "", "")
"""What happens first in a world, in a network without faults, so that nothing hides what it does:
the singleton's host is drained and hears nothing of it while the leader dies; a connection stalls
and breaks while a lease is on its way; or leader and host are split off together, and the leader
stands still and finds that host's reports when another one leads."""

DEPOSED_S = (11.0, 16.0)
"""How long such a leader stands still."""

DRILL_S, DRILL_AGAIN_S = (8.0, 12.0), 0.5
"""How early it begins, and how often it is tried while there is nobody to happen to."""

DRILL_LEASES, DRILL_LASTS_S = 2.0, 20.0
"""How many leases of hosts it takes until it is over, and how long at least."""

DRILL_STALL = (0.3, 0.6)
"""How long a connection holds back what comes in such a case, as a share of the lease."""

LASTS_S = (1.0, 15.0)
"""How long a cut, a pause, and the time between a crash and the next start are."""

WEIGHTS = (0, 1, 1, 2, 4)
"""How often one kind of fault comes, of which each world has a mix of its own."""

FLAP_S = (0.05, 0.5)
"""How long a connection that is made again at once is away."""

STALL_S = (0.5, 8.0)
"""How long a stalled connection holds back what comes."""

KINDS = (
    "cut", "deaf", "mute", "stall", "split", "outage", "sever", "flap", "pause", "hitch",
    "crash", "edit",
)  # fmt: skip
"""`deaf`: nothing reaches a process any more, `mute`: nothing leaves it, `cut`: both, and nobody
knows; `stall`: what comes is late, not lost, and then nothing leaves it: who counts a lease from an
answer's arrival counts too much; `split`: some are parted from the others and from the bucket,
`outage`: messages get through, but nothing to the bucket and from it; `sever`: its connection
ended, and it cannot make another one for a while, `flap`: it does at once; `pause`: it stands
still, `hitch`: it does while an answer is on its way to it; `edit`: people change what is
desired."""


class Misfortune:
    """The faults of one world."""

    def __init__(self, world: World, edit: Callable[[], None], drain: Callable[[], None]) -> None:
        self.world, self.edit, self.drain = world, edit, drain
        self._drilled_s = 0.0  # when the drill is over
        self._is_drill = False  # what is withdrawn next is what the drill waits for
        self.mix = mixture(world.random)

    def begin(self) -> None:
        """Let the first fault come."""
        world, drill = self.world, self.world.random.choice(DRILLS)
        begins_s = world.random.uniform(*DRILL_S)
        lasts_s = max(DRILL_LASTS_S, DRILL_LEASES * world.profile.host_lease_s)
        self._drilled_s = begins_s + lasts_s
        if not drill or self._drilled_s > world.chaos_s:
            world.at(self.pause_s(), "chaos", self.strike)
            return
        world.is_faulty = False
        world.at(begins_s, "drill", lambda: self.rehearse(drill))
        world.at(self._drilled_s, "chaos", self.unleash)

    def unleash(self) -> None:
        """Let the network be faulty, and the first fault come."""
        self.world.is_faulty = True
        self.strike()

    def rehearse(self, drill: str) -> None:
        """Let happen to who leads or runs the singleton what seldom happens by itself."""
        world = self.world
        kind = "s" if drill in ("late for a leader", "deposed") else "h"
        found = [name for name in world.holders() if name.startswith(kind)]
        if not found:
            if world.now_s < self._drilled_s:
                world.at(DRILL_AGAIN_S, "drill", lambda: self.rehearse(drill))
        elif drill == "withdrawal":
            self._is_drill = True
            self.drain()
        elif drill == "deposed":
            world.pause(found[0], world.random.uniform(*DEPOSED_S))
            self.split({*world.holders()}, self._drilled_s - world.now_s)
        else:
            profile = world.profile
            lease_s = profile.leader_lease_s if kind == "s" else profile.host_lease_s
            lasts_s = world.random.uniform(*DRILL_STALL) * lease_s
            self.stall(found[0], lasts_s, mute_s=self._drilled_s - world.now_s)

    def stall(self, name: str, lasts_s: float, *, mute_s: float) -> None:
        """Hold back what is on its way to a process, and lose what it sends."""
        world = self.world

        def break_off() -> None:
            world.stall(name, lasts_s)
            world.mute.add(name)
            world.at(mute_s, f"mend {name}", lambda: world.mute.discard(name))

        world.ambush(name, break_off)

    def split(self, names: set[str], lasts_s: float) -> None:
        """Part some processes from all others and from the bucket, unless some are already."""
        minority = self.world.minority
        if not minority:
            minority |= names
            self.world.at(lasts_s, "heal", minority.clear)

    def strike(self) -> None:
        """Let one thing go wrong, and the next one come."""
        world = self.world
        if not world.is_faulty:
            return
        (kind,) = world.random.choices(tuple(self.mix), tuple(self.mix.values()))
        self.suffer(kind, self.victim())
        is_burst = world.random.random() < BURST
        next_s = world.random.uniform(0, BURST_S) if is_burst else self.pause_s()
        world.at(next_s, "chaos", self.strike)

    def withdrawn(self, host: str, leaders: list[str]) -> None:
        """Perhaps let a withdrawal of a strict singleton be the last thing that its leader did, and
        its host not hear of it."""
        is_drill, self._is_drill = self._is_drill, False
        if is_drill or (self.world.is_faulty and self.world.random.random() < HARD_TIMES):
            self.suffer("deaf", host)
            for leader in leaders:
                in_s = self.world.random.uniform(0, BURST_S)
                self.world.at(in_s, "last words", lambda name=leader: self.suffer("crash", name))  # type: ignore[misc]  # bound now

    def victim(self) -> str:
        """Return who suffers: anybody, or somebody whose fault matters most."""
        world = self.world
        holders = world.holders() if world.random.random() < AIMED else []
        return world.random.choice(holders or sorted(world.nodes))

    def pause_s(self) -> float:
        """Return the time until the next fault."""
        return self.world.random.expovariate(1 / EVERY_S)

    def suffer(self, kind: str, name: str) -> None:
        """Let one kind of fault happen to a process."""
        world = self.world
        lasts_s = world.random.uniform(*LASTS_S)
        match kind:
            case "cut" | "deaf" | "mute":
                ways = [world.deaf] * (kind != "mute") + [world.mute] * (kind != "deaf")
                for way in ways:
                    way.add(name)
                    world.at(lasts_s, f"mend {name}", lambda way=way: way.discard(name))  # type: ignore[misc]  # bound now
            case "stall":
                self.stall(name, world.random.uniform(*STALL_S), mute_s=lasts_s)
            case "pause":
                world.pause(name, lasts_s)
            case "hitch":
                world.ambush(name, lambda: world.pause(name, lasts_s))
            case "crash":
                world.kill(name)
                world.at(lasts_s, f"revive {name}", lambda: world.revive(name))
            case "flap":
                world.disconnect(name, world.random.uniform(*FLAP_S))
            case "split":
                others = world.random.sample(sorted(world.nodes), 2)
                self.split({name, *others}, lasts_s)
            case "outage":
                world.is_stored = False
                world.at(lasts_s, "store", lambda: setattr(world, "is_stored", True))
            case "sever":
                world.disconnect(name, lasts_s)
            case _:
                self.edit()


def mixture(random: Random) -> Mapping[str, int]:
    """Return how often each kind of fault comes; people edit in every world."""
    drawn = {kind: random.choice(WEIGHTS) for kind in KINDS}
    return {**drawn, "edit": max(1, drawn["edit"])}
