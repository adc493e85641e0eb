"""When what comes again and again is due: `@every 90s`, `@daily`, or five cron fields. Pure.

Times are seconds since the Unix epoch, fields are in UTC. The fields are minute, hour, day of the
month, month and day of the week (0 or 7 is Sunday), each `*`, a number, `a-b`, `*/n`, `a-b/n`, or a
list of these; as in crontab(5), a time fits when both day fields do, or either of them if neither
begins with `*`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lattice.errors import InvalidError
from lattice.model.quantity import parse_duration

EVERY_MIN_S = 1.0
"""Shortest distance of two times: more often is a loop, not a schedule."""

YEARS_MAX = 8
"""Years that are looked through for a time that fits: the way from one 29th of February to the next
may take as long."""

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_RANGES = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """Times that come again and again: every so many seconds, or those that fit all fields."""

    every_s: float = 0.0
    fields: tuple[frozenset[int], ...] = ()
    is_either_day: bool = False  # one of the two day fields has to fit

    def after(self, time_s: float) -> float:
        """Return the first time after the given one; `every_s` counts from that.

        Raises:
            InvalidError: no time fits, such as the 30th of February.
        """
        if self.every_s:
            return time_s + self.every_s
        minutes, hours, *_ = self.fields
        day = datetime.fromtimestamp(time_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(YEARS_MAX * 366):
            if self._fits_day(day):
                for hour in sorted(hours):
                    for minute in sorted(minutes):
                        found_s = day.replace(hour=hour, minute=minute).timestamp()
                        if found_s > time_s:
                            return found_s
            day += timedelta(days=1)
        raise InvalidError(f"schedule has no time that fits within {YEARS_MAX} years")

    def _fits_day(self, day: datetime) -> bool:
        _, _, days, months, weekdays = self.fields
        is_day, is_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        fits = is_day or is_weekday if self.is_either_day else is_day and is_weekday
        return day.month in months and fits


def parse_recurrence(text: str) -> Recurrence:
    """Return what a schedule says.

    Raises:
        InvalidError: it is none; the field at fault is named.
    """
    if text.startswith("@every "):
        every_s = parse_duration(text.removeprefix("@every ").strip())
        if every_s < EVERY_MIN_S:
            raise InvalidError(f"schedule {text!r}: expected at least {EVERY_MIN_S:g} s")
        return Recurrence(every_s=every_s)
    words = _NAMED.get(text, text).split()
    if len(words) != len(_RANGES):
        raise InvalidError(
            f"schedule {text!r} has {len(words)} fields, expected minute hour day month weekday, "
            f"'@every DURATION' or one of {', '.join(_NAMED)}"
        )
    fields = [
        _field(word, name, first, last)
        for word, (name, first, last) in zip(words, _RANGES, strict=True)
    ]
    fields[4] = frozenset(day % 7 for day in fields[4])
    found = Recurrence(
        fields=tuple(fields),
        is_either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    found.after(0.0)  # which refuses what never comes
    return found


def _field(text: str, name: str, first: int, last: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        low_text, dash, high_text = span.partition("-")
        try:
            step = int(step_text) if slash else 1
            low = first if span == "*" else int(low_text)
            high = int(high_text) if dash else (last if span == "*" or slash else low)
        except ValueError:
            raise InvalidError(f"schedule's {name} {part!r} is no number, range or *") from None
        if not (first <= low <= high <= last and step >= 1):
            raise InvalidError(f"schedule's {name} {part!r} is not within {first} to {last}")
        found.update(range(low, high + 1, step))
    return frozenset(found)
