"""Calls from the bus whose callers may leave: then they are ended, so that no guest works in vain.

A caller that is cancelled says so under the id of its call, to all hosts of the deployment, as
it does not know which of them has it. One that is killed says nothing: while a call takes long, it
is asked whether anybody listens at the inbox where its answer would go, and the server knows. A
call that ends without waiting for anything is not noted.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.opencalls import OpenCalls
from lattice.bus.base import Bus
from lattice.errors import DeadlineExceededError, LatticeError, NoRouteError

T = TypeVar("T")

EARLY_MAX = 1024
"""Calls that are remembered whose callers left before they began: they lie in a queue meanwhile.
One that is forgotten runs to its end."""

ID_LENGTH_MAX = 64
"""Characters of a call's id; a longer one is not noted."""

LOOK_S = 1.0
"""Seconds between looks whether callers are there. A call is looked at when it was open at the look
before, and ended when nobody listened at two looks, so 2 s to 3 s after its caller was killed: the
servers of a cluster may know of an inbox a moment later than of the call."""

HEARD_S = 0.5
"""Seconds for the server to say that nobody listens, which it does at once. Who listens says
nothing."""

LOOKS_MAX = 256
"""Callers that are looked for at once; the others come next time."""

INBOX_TOKENS = 3
"""Tokens of an inbox that has an address for each request below it, at least. Any other one may be
the address of the answer alone, which a question there would be taken for."""

NO_ADDRESS = "0"
"""The last token of no address: they are counted from 1."""

log = logging.getLogger(__name__)


class Departures:
    """What runs for callers that may leave, by the ids of their calls."""

    def __init__(
        self, bus: Bus, subject_of: Callable[[str], str], *, look_s: float = LOOK_S
    ) -> None:
        """`subject_of` names for a deployment where it is told that callers left."""
        self._bus = bus
        self._subject_of = subject_of
        self._look_s = look_s
        self._calls = OpenCalls()
        self._early: dict[str, None] = {}
        self._users: dict[str, int] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen for what is open until cancelled."""
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._look_for_callers)
            task_status.started()
            await anyio.sleep_forever()

    def open(self, deployment: str) -> None:
        """Listen for a deployment soon; each replica opens once and closes once."""
        assert self._group is not None, "what is opened runs"
        self._users[deployment] = self._users.get(deployment, 0) + 1
        if self._users[deployment] == 1:
            scope = self._scopes[deployment] = anyio.CancelScope()
            self._group.start_soon(self._listen, deployment, scope)

    def close(self, deployment: str) -> None:
        """Give up what `open` gave."""
        self._users[deployment] -= 1
        if not self._users[deployment]:
            del self._users[deployment]
            self._scopes.pop(deployment).cancel()

    async def ended_when_left(self, call: str, work: Awaitable[T], reply_to: str = "") -> T:
        """Return what a call returns, which is ended when its caller leaves, or is gone from where
        the answer goes.

        Raises:
            DeadlineExceededError: its caller left; nobody reads this.
        """
        if not call or len(call) > ID_LENGTH_MAX:
            return await work
        return await self._calls.run(work, _left, call, reply_to)

    def require_there(self, call: str) -> None:
        """Return when the caller of a call is not known to have left.

        Raises:
            DeadlineExceededError: it left before the call began.
        """
        if self._early and call in self._early:
            del self._early[call]
            raise _left()

    def left(self, call: str) -> None:
        """End a call, now or when it begins."""
        if not self._calls.end(call) and len(call) <= ID_LENGTH_MAX:
            if len(self._early) >= EARLY_MAX:
                del self._early[next(iter(self._early))]
            self._early[call] = None

    async def _look_for_callers(self) -> None:
        """End the calls whose callers are gone, until cancelled."""
        before: set[str] = set()
        missed: set[str] = set()
        while True:
            await anyio.sleep(self._look_s)
            open_calls = self._calls.callers()
            inboxes = {call: inbox_of(open_calls[call]) for call in open_calls if call in before}
            before = set(open_calls)
            wanted = sorted({inbox for inbox in inboxes.values() if inbox})
            # Those that were missed come first, so that many callers do not put off their ends.
            wanted.sort(key=lambda inbox: inbox not in missed)
            empty = await self._empty(wanted[:LOOKS_MAX])
            for call, inbox in inboxes.items():
                if inbox in empty and inbox in missed:
                    log.info("the caller of %s is gone: the call is ended", call)
                    self._calls.end(call)
            missed = empty

    async def _empty(self, inboxes: Sequence[str]) -> set[str]:
        """Return those where nobody listens."""
        empty: set[str] = set()
        if not inboxes:
            return empty  # as ever on a host at rest, which looks once a second

        async def look(inbox: str) -> None:
            try:
                await self._bus.request(f"{inbox}.{NO_ADDRESS}", timeout_s=HEARD_S)
            except NoRouteError:
                empty.add(inbox)
            except LatticeError:
                return  # somebody listens, or the server is not there to say

        async with anyio.create_task_group() as group:
            for inbox in inboxes:
                group.start_soon(look, inbox)
        return empty

    async def _listen(self, deployment: str, scope: anyio.CancelScope) -> None:
        subject = self._subject_of(deployment)
        with scope:
            try:
                async with self._bus.subscribe(subject) as packets:
                    async for packet in packets:
                        self.left(packet.subject.rpartition(".")[2])
            except LatticeError as error:
                log.warning("callers of %s that leave are not heard of: %s", deployment, error)


def inbox_of(reply_to: str) -> str:
    """Return the inbox that an address for an answer belongs to, "" when it may be only that."""
    inbox, _, address = reply_to.rpartition(".")
    return inbox if inbox.count(".") >= INBOX_TOKENS - 2 and address != NO_ADDRESS else ""


def _left() -> DeadlineExceededError:
    return DeadlineExceededError("the caller has left; the call was ended", has_left=True)
