"""Events about jobs: some one by one, of a flood the numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice.model.durable_events import BURST, COUNTED_MAX, COUNTED_S, EACH_S, JobEvents


@given(st.lists(st.floats(0, 20), min_size=1, max_size=400))
def test_every_event_is_told_or_counted_and_floods_are_bounded(pauses: list[float]) -> None:
    events, now_s, told = JobEvents(), 1000.0, []
    for pause_s in pauses:
        now_s += pause_s
        told += events.take(now_s, "job-completed", "d", {"job": "a"})
    told += events.due(now_s + COUNTED_S)
    single = sum("count" not in data for _, data in told)
    counted = sum(data["count"] for _, data in told if "count" in data)
    assert single + counted == len(pauses)
    assert single <= BURST + sum(pauses) / EACH_S + 1


def test_kinds_and_deployments_are_counted_apart_up_to_a_limit() -> None:
    events = JobEvents()
    for _ in range(BURST):
        assert len(events.take(1000.0, "job-completed", "d", {})) <= 1
    for number in range(COUNTED_MAX + 5):
        events.take(1000.0, "job-failed", f"d{number}", {})
    told = events.due(1000.0 + COUNTED_S)
    assert len(told) == COUNTED_MAX + 1
    assert [data["count"] for _, data in told if not data["deployment"]] == [5]
    assert not events.due(5000.0)
