"""`lattice events`: what happened in the lattice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter, Token

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

HIDDEN = frozenset({"boot", "sequence"})
"""Facts for programs, which the lines for people leave out."""


def _moment(_: object, tokens: Sequence[Token]) -> float:
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


async def events_(
    *,
    follow: Annotated[bool, Parameter(alias="-f")] = False,
    since: Annotated[float | None, Parameter(converter=_moment, metavar="TIME")] = None,
    kind: list[str] | None = None,
    options: Options = DEFAULT,
) -> None:
    """Show what happened in the lattice.

    Events are kept, so nothing is missed between two looks. With --output json each line is one
    event.

    Parameters
    ----------
    follow
        Go on with new events until Ctrl-C.
    since
        Only events of the last while (such as 5m) or after a time (2026-01-31T12:00:00).
    kind
        Only events of this kind, such as host-joined; may be repeated.
    """
    async with client_of(options) as client:
        async for event in client.events(follow=follow, since_s=since, kinds=kind or ()):
            if options.is_json:
                print_json_line(event)
            else:
                print(_line(event), flush=True)


def _line(event: Event) -> str:
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
