"""`lattice events`: what happened in the lattice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter, Token, validators

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import (
    clock_time,
    own_labels,
    print_json_line,
    printable,
    short_ids,
    text_of,
)
from lattice.errors import InvalidError
from lattice.model.quantity import parse_duration
from lattice.wire.messages import Event
from lattice.wire.past import SNAPSHOT

HIDDEN = frozenset({"boot", "paused", "ranges", "revision", "sequence"})
"""Facts for programs, which the lines for people leave out."""

PARTS_HIDDEN = frozenset({SNAPSHOT})
"""Kinds that only tell programs what stands; people see them when they ask for them."""


def moment(_: object, tokens: Sequence[Token]) -> float:
    """Return seconds since the Unix epoch of `5m` (ago) or `2026-01-31T12:00:00`."""
    text = tokens[0].value
    try:
        return time.time() - parse_duration(text)
    except InvalidError:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            message = (
                f"{text!r} is neither a duration such as 5m nor a time such as 2026-01-31T12:00"
            )
            raise ValueError(message) from None


Moment = Annotated[float | None, Parameter(converter=moment, metavar="TIME")]
"""A time of the past, as `moment` reads it."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which events are shown: those for which all that is given holds."""

    kind: tuple[str, ...] = ()
    """Only events of this kind, such as host-joined; may be repeated."""

    entity: str = ""
    """Only events about this, such as the id of a replica."""

    deployment: str = ""
    """Only events about this deployment and its replicas."""

    host: str = ""
    """Only events about this host, by name or id, and what runs there."""

    source: str = ""
    """Only events that this host or scheduler told, by its id."""


EVERY = Filters()
"""Every event."""


async def events_(
    *,
    follow: Annotated[bool, Parameter(alias="-f")] = False,
    since: Moment = None,
    after: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    filters: Filters = EVERY,
    options: Options = DEFAULT,
) -> None:
    """Show what happened in the lattice.

    Events are kept, so nothing is missed between two looks; where some are missing all the same, a
    line of the kind events-missing says so. With --output json each line is one event.

    Parameters
    ----------
    follow
        Go on with new events until Ctrl-C.
    since
        Only events of the last while (such as 5m) or after a time (2026-01-31T12:00:00).
    after
        Only events after this position of the log: go on where another look ended.
    """
    async with client_of(options) as client:
        async for event in client.events(
            follow=follow,
            since_s=since,
            after=after,
            kinds=filters.kind,
            entity=filters.entity,
            deployment=filters.deployment,
            host=filters.host,
            source=filters.source,
        ):
            if options.is_json:
                print_json_line(event)
            elif event.kind not in PARTS_HIDDEN or event.kind in filters.kind:
                print(line_of(event), flush=True)


def line_of(event: Event) -> str:
    """Return an event as one line: only facts that tell something beside kind and entity."""
    facts = {
        key: value
        for key, value in event.data.items()
        if key not in HIDDEN and value not in ("", None, event.entity)
    }
    if "host_name" in facts:
        facts.pop("host", None)
    if isinstance(labels := facts.get("labels"), dict):
        facts["labels"] = own_labels(labels)
    told = "  ".join(f"{key}={text_of(value)}" for key, value in facts.items())
    line = f"{clock_time(event.time_s)}  {event.kind:<20} {event.entity}  {told}"
    return printable(short_ids(line).rstrip())
