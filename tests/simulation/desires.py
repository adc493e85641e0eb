"""What people want of the simulated lattice: a deployment of each kind, and how they change it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Canary, Daemon, Job, Placement, Scale, Spread, Update
from scheduler.generations import Wanted
from tests.simulation.host_actor import JOB, SINGLETON

RISKY, DAEMON, SLEEPY, CROWD = "risky", "each", "sleepy", "crowd"
"""The deployment some of whose generations never start, the one that is wanted everywhere, the one
that runs only when it is called, and the one of large worlds that has very many replicas."""

CROWD_REPLICAS, CROWD_CPU_MILLI = 240, 500

IDLE_S = 12.0
"""Seconds without a call after which the one that sleeps has no replica."""

CPU_MILLI = 1000

DEADLINE_S = 12.0
"""Progress deadline of what may be reverted."""


def desires(random: Random, *, is_large: bool) -> Iterator[Wanted]:
    """Yield what is wanted at the beginning."""
    spread = Placement(cpu_milli=CPU_MILLI, spread=(Spread(key="zone", is_hard=True),))
    yield _wanted("plain", replicas=random.randint(1, 4))
    yield _wanted("wide", replicas=random.randint(1, 4), placement=spread)
    yield _wanted("swap", replicas=random.randint(1, 3), update=Update(strategy="recreate"))
    canary = Update(strategy="canary", canary=Canary(hold_s=4.0))
    yield _wanted("web", replicas=random.randint(1, 3), update=canary)
    yield _wanted(RISKY, replicas=2, update=Update(progress_deadline_s=DEADLINE_S))
    yield _wanted(SINGLETON, replicas=1, is_singleton=True)
    yield _wanted(DAEMON, replicas=1, daemon=Daemon(per_host=1))
    yield _wanted(SLEEPY, replicas=0, scale=Scale(minimum=0, maximum=2, idle_s=IDLE_S))
    if is_large:
        small = Placement(cpu_milli=CROWD_CPU_MILLI)
        many = Update(unavailable_max=40, surge_max=60)
        yield _wanted(CROWD, replicas=CROWD_REPLICAS, placement=small, update=many)
    yield _wanted(JOB, replicas=1, job=Job(completions=4, parallelism=2, attempts=30))


def edited(random: Random, current: Wanted, newest: int) -> Wanted:
    """Return a deployment after somebody changed it: its program, its number, or both."""
    generation = random.choice([current.generation, newest + 1])
    if current.name in (JOB, CROWD):
        return current
    if current.name in (SINGLETON, DAEMON, SLEEPY):
        return replace(current, generation=newest + 1)
    replicas = random.randint(0 if current.name == "plain" else 1, 4)
    return replace(current, generation=generation, replicas=replicas, reverted=0, reason="")


def _wanted(name: str, *, replicas: int, **given: object) -> Wanted:
    fields: dict[str, object] = {"placement": Placement(cpu_milli=CPU_MILLI)} | given
    return Wanted(name=DeploymentName(name), generation=1, replicas=replicas, **fields)  # type: ignore[arg-type]  # checked by its tests
