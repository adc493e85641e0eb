"""What a client is told of what happened, and of what stood at a moment.

Part of `LatticeClient`. All of it comes from the event log, no scheduler is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from lattice.bus.base import Connection, Log
from lattice.client import observing
from lattice.client.asking import Asker
from lattice.client.past import Moment, read_past
from lattice.wire.messages import Event
from lattice.wire.selecting import Selection


class Watching:
    """Events, and the past."""

    connection: Connection
    _asker: Asker

    def events(
        self,
        *,
        follow: bool = False,
        since_s: float | None = None,
        after: int = 0,
        kinds: Collection[str] = (),
        entity: str = "",
        deployment: str = "",
        host: str = "",
        source: str = "",
    ) -> AsyncIterator[Event]:
        """Yield events in recorded order, each once (see `observing.read_events`).

        `since_s` is a time in seconds since the Unix epoch, `after` the `position` of an event
        that was seen before. Of the others all that are given must hold: `entity` is what an event
        is about, `deployment` and `host` (id or name) take what is about something of them too,
        `source` is the end of who told it. An event of the kind `events-missing` comes where the
        numbers of a source have a gap, or the log holds something no longer.
        """
        wanted = Selection(
            kinds=kinds, entity=entity, deployment=deployment, host=host, source=source
        )
        log: Log = self.connection.events
        return observing.read_events(
            log, self._asker, follow=follow, since_s=since_s, after=after, wanted=wanted
        )

    async def state_at(self, time_s: float | None = None) -> Moment:
        """Return what stood at a time, in seconds since the Unix epoch, None for now.

        Raises:
            NotFoundError: the log does not reach back so far; its message says how far it does.
        """
        return await read_past(self.connection.events, self._asker.names, at_s=time_s)
