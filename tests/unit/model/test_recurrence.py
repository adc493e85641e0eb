"""When schedules are due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lattice.errors import InvalidError
from lattice.model.recurrence import parse_recurrence

START = datetime(2026, 2, 27, 13, 59, 30, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("@every 90s", ["2026-02-27T14:01:00", "2026-02-27T14:02:30"]),
        ("@hourly", ["2026-02-27T14:00:00", "2026-02-27T15:00:00"]),
        ("@daily", ["2026-02-28T00:00:00", "2026-03-01T00:00:00"]),
        ("@weekly", ["2026-03-01T00:00:00", "2026-03-08T00:00:00"]),
        ("*/20 9-10 * * 1-5", ["2026-03-02T09:00:00", "2026-03-02T09:20:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]),
        ("15 12 1 * 7", ["2026-03-01T12:15:00", "2026-03-08T12:15:00"]),
        ("5,10 3 * * *", ["2026-02-28T03:05:00", "2026-02-28T03:10:00"]),
    ],
)
def test_the_next_times_of_a_schedule(text: str, times: list[str]) -> None:
    recurrence, found, at_s = parse_recurrence(text), [], START.timestamp()
    for _ in times:
        at_s = recurrence.after(at_s)
        found.append(datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None).isoformat())
    assert found == times


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "0 fields"),
        ("@every 10ms", "at least 1 s"),
        ("60 * * * *", "minute '60' is not within 0 to 59"),
        ("x * * * *", "minute 'x' is no number"),
        ("5-1 * * * *", "minute '5-1'"),
        ("*/0 * * * *", "minute"),
        ("0 0 30 2 *", "no time that fits"),
        ("@never", "1 fields"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidError, match=fault):
        parse_recurrence(text)
