"""Requests to the lattice's own parts: one question, one typed answer or one typed error.

A question is a body of `lattice.wire.requests`. This module knows how it is put on the bus, who
should have answered when nobody does, for how long it is repeated, and how pages become one list.
It must not know what the questions mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from lattice.bus.base import Bus, Connection
from lattice.clock import Clock, SystemClock
from lattice.errors import DeadlineExceededError, DecodeError, NoRouteError
from lattice.wire import codec
from lattice.wire.requests import Listing, ReplicaListing
from lattice.wire.subjects import Names

T = TypeVar("T")

REQUEST_TIMEOUT_S = 5.0
"""Seconds for one answer: far above what a healthy lattice needs, short enough for a person."""

LEADER_PATIENCE_S = 4.0
"""Seconds for which a question to the active scheduler is repeated while nobody leads: a change
of leaders in the fast profile, or the time until a person would rather be told."""

PAGES_MAX = 1000
"""Pages of one answer: a page holds some hundred entries, so these are far more than there are."""

RETRY_FIRST_S = 0.05
"""Seconds before the first repetition; each further wait is twice the one before."""

RETRY_LONGEST_S = 0.5
"""Seconds between repetitions at most: what a caller waits in vain after the answer is there."""


class Asker:
    """Puts questions to the schedulers and hosts of one lattice."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self.names = Names(connection.lattice)
        self.bus: Bus = connection.bus
        self.clock: Clock = clock or SystemClock()
        self._lattice = connection.lattice
        self._timeout_s = timeout_s

    async def api(
        self, verb: str, question: object, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Return what a scheduler answers. `Raises:` NoRouteError when none runs, and as `ask`."""
        return await self.ask(
            self.names.api(verb), question, nobody=self._no_scheduler(), timeout_s=timeout_s
        )

    async def lead(self, verb: str, question: object) -> dict[str, Any]:
        """Return what the active scheduler answers, waiting for one `LEADER_PATIENCE_S` at most.

        Raises:
            NoRouteError: nobody leads now. Others as `ask`.
        """
        patience_s = min(LEADER_PATIENCE_S, self._timeout_s)
        return await self.ask(
            self.names.lead(verb), question, nobody=self._no_scheduler(), patience_s=patience_s
        )

    async def host(self, host: str, verb: str, question: object) -> dict[str, Any]:
        """Return what one host answers, by its id. `Raises:` NoRouteError when it is not there."""
        nobody = f"host {host} does not answer: it stopped or lost its connection"
        return await self.ask(self.names.host_control(host, verb), question, nobody=nobody)

    async def ask(
        self,
        subject: str,
        question: object,
        *,
        nobody: str,
        patience_s: float = 0.0,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Return the `ok` of the answer to one question.

        While nobody listens the question is repeated for `patience_s`: it was not delivered, so
        repeating it is safe. `nobody` is the message when nobody ever did. `timeout_s` replaces
        the asker's own limit for one answer.

        Raises:
            LatticeError: what the answer's `err` says.
            NoRouteError: nobody listens.
            DeadlineExceededError: no answer within the time limit.
            DecodeError: the answer is not `{ok}` or `{err}`.
        """
        body = codec.encode(question)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        give_up_s = self.clock.monotonic_s() + patience_s
        pause_s = RETRY_FIRST_S
        while True:
            try:
                packet = await self.bus.request(subject, body, timeout_s=limit_s)
                break
            except NoRouteError:
                if self.clock.monotonic_s() + pause_s > give_up_s:
                    raise NoRouteError(nobody, lattice=self._lattice) from None
            except DeadlineExceededError:
                raise DeadlineExceededError(
                    f"no answer to {subject} within {limit_s:.3g} s", subject=subject
                ) from None
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_LONGEST_S)
        return codec.answer_of(packet.body, as_json=codec.is_json(packet.headers))

    def _no_scheduler(self) -> str:
        return (
            f"no scheduler answers for lattice {self._lattice!r}: start one with "
            "`lattice scheduler`, or check --lattice (`lattice doctor` shows what is reached)"
        )


Paged = TypeVar("Paged", Listing, ReplicaListing)


async def all_pages(
    ask: Callable[[Paged], Awaitable[dict[str, Any]]], question: Paged, *keys: str
) -> dict[str, Any]:
    """Return the lists under `keys` of all pages of an answer, each as one list.

    Raises:
        DecodeError: a list is none, or there are more pages than any lattice has.
    """
    found: dict[str, list[Any]] = {key: [] for key in keys}
    for _ in range(PAGES_MAX):
        answer = await ask(question)
        for key in keys:
            found[key] += list_of(answer, key, object)
        after = answer.get("next")
        if not after:
            return dict(found)
        question = replace(question, after=str(after))
    raise DecodeError(f"answer has more than {PAGES_MAX} pages")


def list_of(answer: Mapping[str, Any], key: str, cls: type[T]) -> list[T]:
    """Return the values under `key` of an answer as the given dataclass.

    Raises:
        DecodeError: one of them is malformed; its place is named.
    """
    values = answer.get(key, [])
    if not isinstance(values, list):
        raise DecodeError(f"answer's {key} is {type(values).__name__}, expected a list")
    return [codec.convert(value, cls) for value in values]
