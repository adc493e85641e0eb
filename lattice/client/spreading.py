"""Spreads calls that leave over the hosts of a deployment: by load, around those that are full.

`lattice.routing.loads` decides; this gives it time and chance, and reads what replies tell. It
sends nothing.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable

from lattice.clock import Clock
from lattice.errors import DeadlineExceededError, NoRouteError, OverloadedError
from lattice.routing.loads import Loads
from lattice.wire.messages import CallReply

REFUSALS_MAX = 3
"""Hosts that one call is refused by before its caller is told: were all full, a call tried at each
of many would be one more load for each."""

FULL = "full"
"""The detail of an `overloaded` that names the queue which was full: the call was not begun."""

REPLICA_AT = 0
"""The generation in the subject of a call to a host that leaves the choice of the replica to it."""


class Spread:
    """How calls of one sender are spread."""

    def __init__(self, clock: Clock, loads: Loads | None = None) -> None:
        self._clock = clock
        self._loads = loads if loads is not None else Loads(random.randrange)

    def aim(self, deployment: str, refused: list[str]) -> tuple[str, int] | None:
        """Return the host that takes the next attempt, None: any of the group.

        `refused` are the hosts that the call was refused by.
        """
        host = self._loads.pick(deployment, self._now_ms(), refused)
        return (host, REPLICA_AT) if host else None

    def counted(
        self, deployment: str, aim: tuple[str, int] | None, attempt: Awaitable[CallReply]
    ) -> Awaitable[CallReply]:
        """Return the attempt, while which the host it is aimed at, if any, has one call more."""
        return attempt if aim is None else self._counted(deployment, aim[0], attempt)

    async def _counted(
        self, deployment: str, host: str, attempt: Awaitable[CallReply]
    ) -> CallReply:
        self._loads.began(deployment, host)
        try:
            return await attempt
        finally:
            self._loads.ended(deployment, host)

    def gone(self, deployment: str, host: str) -> None:
        """Note that nobody answers for the deployment at a host."""
        self._loads.gone(deployment, host)

    def is_refused(self, deployment: str, reply: CallReply, refused: list[str]) -> bool:
        """Take in a reply, and tell whether another host is to be tried, since this one was full.

        It is told so when there is none that did not refuse, or that is known not to.
        """
        if reply.err is None or reply.err.get("kind") != OverloadedError.kind:
            if reply.host:
                self._loads.heard(deployment, reply.host, reply.load, self._now_ms())
            return False
        details = reply.err.get("details")
        details = details if isinstance(details, dict) else {}
        if reply.host and FULL not in details:
            return False  # the callee itself was told so, by somebody whom it called
        details.pop(FULL, None)
        is_again, at = reply.host in refused, reply.host
        refused.append(at)
        if at:
            hint = details.get("retry_after_ms")
            hint_ms = hint if isinstance(hint, int) else 0
            self._loads.refused(deployment, at, hint_ms, self._now_ms())
        return not is_again and len(refused) < REFUSALS_MAX

    def _now_ms(self) -> int:
        return int(self._clock.monotonic_s() * 1000)


def is_unrun(reply: CallReply) -> bool:
    """Tell whether the call was turned down before it began.

    A host that has no ready replica (any more) answers without its name. With its name, the callee
    itself found no route for a call that it made.
    """
    return not reply.host and (reply.err or {}).get("kind") == NoRouteError.kind


def was_ended(reply: CallReply) -> bool:
    """Tell whether a host that stops ended the call, before its time was over."""
    err = reply.err
    if err is None or err.get("kind") != DeadlineExceededError.kind:
        return False
    details = err.get("details")
    return isinstance(details, dict) and bool(details.get("ended"))
