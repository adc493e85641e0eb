"""Which events a reader wants to see, as a value; a core.

Filters are applied where events are read and not by the server, because a reader that is sent only
some events of a source cannot tell which are missing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lattice.wire.continuity import MISSING
from lattice.wire.messages import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What an event must be; what is empty asks for nothing."""

    kinds: Collection[str] = ()
    entity: str = ""  # what the event is about, in full
    deployment: str = ""  # it is about this deployment, or one of its replicas or jobs
    host: str = ""  # it is about this host or what runs there: its id or its name
    source: str = ""  # who told it: the end of the source, such as the id of a host

    def covers(self, event: Event) -> bool:
        """Tell whether an event is wanted. That some are missing always is, whatever they were."""
        if self.source and not _ends_with(event.source, self.source):
            return False
        if event.kind == MISSING:
            return True
        return (
            (not self.kinds or event.kind in self.kinds)
            and self.entity in ("", event.entity)
            and (not self.deployment or is_about_deployment(event, self.deployment))
            and (not self.host or _is_about_host(event, self.host))
        )


def is_about_deployment(event: Event, name: str) -> bool:
    """Tell whether an event is about a deployment or something of it."""
    told = event.data.get("deployment")
    if told is not None:
        return bool(told == name)
    ranges = event.data.get("ranges")  # of many replicas, see `lattice.wire.past.ranges_of`
    if isinstance(ranges, list):
        return any(isinstance(each, list) and each[:1] == [name] for each in ranges)
    is_own = event.kind.partition("-")[0] not in ("host", "leader")
    return is_own and (event.entity == name or event.entity.startswith(f"{name}/"))


def _is_about_host(event: Event, host: str) -> bool:
    data = event.data
    if host in (event.entity, data.get("host"), data.get("host_name")):
        return True
    if _ends_with(event.source, f"host/{host}"):
        return True
    return event.kind.startswith("host-") and data.get("name") == host


def _ends_with(source: str, end: str) -> bool:
    return source == end or source.endswith(f"/{end}")
