"""The `lead` verbs `explain`, `why-not` and `plan`: reads the questions and what is stored.

What the answers are is in `explaining` and `rehearsing`. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.clock import Clock
from lattice.errors import InvalidError
from lattice.model.ids import DeploymentName
from lattice.model.manifest import parse_deployment, to_document
from lattice.wire import codec
from lattice.wire.messages import DeploymentRecord
from lattice.wire.requests import OneDeployment, OneHost, Proposal, Rehearsal
from scheduler import explaining
from scheduler.answers import Question, Verb
from scheduler.history import readable
from scheduler.reconciler import Reconciler
from scheduler.rehearsing import Proposed, rehearse
from scheduler.sameness import runs_the_same
from scheduler.store import ControlStore, wanted_of

PROPOSALS_MAX = 100
"""Deployments in one dry run: each is read from the store and planned while others wait."""


def why_verbs(core: Reconciler, clock: Clock, store: ControlStore) -> Mapping[str, Verb]:
    """Return the verbs that tell why, and what would be; only the active scheduler answers them."""

    async def explain(question: Question) -> Mapping[str, object]:
        asked = codec.convert(question, OneDeployment)
        return explaining.explain(core, clock.monotonic_s(), asked.name)

    async def why_not(question: Question) -> Mapping[str, object]:
        asked = codec.convert(question, OneHost)
        return explaining.why_not(core, clock.monotonic_s(), asked.name, asked.host)

    async def plan(question: Question) -> Mapping[str, object]:
        asked = codec.convert(question, Rehearsal)
        if len(asked.proposals) > PROPOSALS_MAX:
            raise InvalidError(
                f"a dry run of {len(asked.proposals)} deployments, at most {PROPOSALS_MAX}"
            )
        proposed = [await _proposed(store, each) for each in asked.proposals]
        return rehearse(core, clock.monotonic_s(), proposed)

    return {"explain": explain, "why-not": why_not, "plan": plan}


async def _proposed(store: ControlStore, proposal: Proposal) -> Proposed:
    """Return what would be desired, with the generation that it would get."""
    deployment = parse_deployment(proposal.manifest)
    name = DeploymentName(deployment.name)
    standing = await store.deployment(name)
    record = standing.record if standing is not None else None
    before = readable(record)
    if record is not None and before is not None and runs_the_same(before, deployment):
        generation = record.generation
    else:
        kept = await store.generations(name)
        generation = max(record.generation if record is not None else 0, *kept, 0) + 1
    made = DeploymentRecord(
        name=name,
        generation=generation,
        manifest=to_document(deployment),
        interfaces=sorted(proposal.interfaces),
        is_paused=record is not None and record.is_paused,
    )
    return Proposed(wanted=wanted_of(made), is_changed=before != deployment)
