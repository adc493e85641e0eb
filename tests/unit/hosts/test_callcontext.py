"""A call's context: how deep it is, and how its way is told."""

from __future__ import annotations

import pytest

from hosts.callcontext import CALL_DEPTH_MAX, CallContext, told
from lattice.errors import ConflictError


def test_a_chain_within_one_deployment_names_parts_only() -> None:
    steps = (("docs", "index", "add"), ("docs", "rank", "score"), ("docs", "index", "add"))
    assert told(steps) == "index#add -> rank#score -> index#add"
    assert told((*steps[:1], ("dict", "look", "up"))) == "docs/index#add -> dict/look#up"


def test_the_middle_of_a_long_chain_is_left_out() -> None:
    steps = tuple(("docs", f"p{number}", "f") for number in range(30))
    assert "p5#f -> (18 more) -> p24#f" in told(steps)


def test_the_deepest_call_works_and_one_more_is_a_conflict_that_tells_the_chain() -> None:
    context = CallContext(deadline_at_s=1.0, holds=("s",))
    for _ in range(CALL_DEPTH_MAX):
        context = context.into(("docs", "a", "f"))
    assert context.holds == ("s",)
    with pytest.raises(ConflictError, match=f"{CALL_DEPTH_MAX + 1} deep") as caught:
        context.into(("docs", "b", "g"))
    assert caught.value.message.endswith("a#f -> b#g")


def test_what_is_called_reports_its_hops_to_the_caller() -> None:
    context = CallContext(deadline_at_s=1.0)
    assert context.into(("docs", "a", "f")).inside("s").legs is context.legs
