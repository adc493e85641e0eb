"""Say why replicas are unplaced: how many hosts each first failing reason kept away.

Texts only: the reasons come from the filters that made the decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.placement.filters import CAPACITY_KINDS, Refusal
from scheduler.placement.model import Demand, Unplaced

REASONS_MAX = 8
"""Distinct reasons in one explanation; more would hide the frequent ones."""

REASON_CHARS_MAX = 400
"""Characters of one reason: a host's own error text may be long."""


def explain(demand: Demand, count: int, refusals: Sequence[Refusal]) -> Unplaced:
    """Return `count` replicas of a demand as unplaced; `refusals` has one entry for each host."""
    reasons = reason_counts(refusals)
    counts = f"0/{len(refusals)} hosts: {'; '.join(reasons)}"
    text = counts if refusals else "no host has joined"
    return Unplaced(
        deployment=demand.deployment,
        generation=demand.generation,
        count=count,
        reasons=reasons or (text,),
        kinds=tuple(sorted({refusal.kind for refusal in refusals})),
        text=text,
    )


def reason_counts(refusals: Sequence[Refusal]) -> tuple[str, ...]:
    """Return one text for each distinct reason, the most frequent first.

    Lacks of one capacity count together, with the text of the host that has most left.
    """
    groups: dict[str, tuple[int, Refusal]] = {}
    for refusal in refusals:
        group = refusal.kind if refusal.kind in CAPACITY_KINDS else refusal.text
        number, best = groups.get(group, (0, refusal))
        groups[group] = (number + 1, max(best, refusal, key=lambda r: (r.free, r.text)))
    ordered = sorted(groups.values(), key=lambda entry: (-entry[0], entry[1].text))
    texts = [f"{number} {best.text[:REASON_CHARS_MAX]}" for number, best in ordered]
    if len(texts) > REASONS_MAX:
        rest = sum(number for number, _ in ordered[REASONS_MAX:])
        texts[REASONS_MAX:] = [f"{rest} for {len(texts) - REASONS_MAX} other reasons"]
    return tuple(texts)
