"""Jobs are counted once for each replica id, whatever targets list meanwhile."""

from __future__ import annotations

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Job
from lattice.wire.messages import DeploymentStatus
from scheduler.jobs import Ended, count, family

NAME = DeploymentName("batch")
REPLICA = "batch/1/h1/27.2"


def test_ordinal_that_is_listed_again_is_not_counted_twice() -> None:
    job, status = Job(completions=4), DeploymentStatus(name=NAME, generation=1)
    standing = frozenset({family(REPLICA)})
    found = Ended(completed=frozenset({REPLICA}))
    status = count(status, job, standing, found)
    status = count(status, job, standing, Ended())  # the assignment shrank: it is not listed
    assert count(status, job, standing, found).completed == 1


def test_what_ended_is_forgotten_with_its_assignment() -> None:
    job, status = Job(completions=4), DeploymentStatus(name=NAME, generation=1)
    status = count(status, job, frozenset(), Ended(completed=frozenset({REPLICA})))
    status = count(status, job, frozenset(), Ended())
    assert (status.completed, status.counted) == (1, [])
