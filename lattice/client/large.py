"""Puts arguments that no message holds to the host that takes the call, and gets such results.

The parts are requests, a few at once, each repeated when it was lost: nothing runs before all of
them are there. What the words are is in `lattice.wire.large`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio

from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    DecodeError,
    InvalidError,
    LatticeError,
    NoRouteError,
    UnavailableError,
    first_cause,
)
from lattice.wire.codec import answer_of, is_json
from lattice.wire.large import (
    HEADER,
    LARGE_BYTES_MAX,
    Kept,
    Word,
    is_large_place,
    part_of,
    part_size,
    parts_of,
)

WINDOW = 4
"""Parts of one body on the way at once: more do not make it faster."""

PARTS_MAX = 32
"""Parts of all bodies on the way at once: 16 MiB. A server cuts off whoever lets 64 MiB wait."""

PART_S = 3.0
"""Seconds for one part before it counts as lost: on a slow network 2 MiB take one."""

TRIES_MAX = 3
"""Times that a part is sent: a network that loses each of them loses the next call as well."""

LAST_WORD_S = 0.2
"""Seconds for telling a host that a body is not needed any more; it finds out by itself later."""


class LargeBodies:
    """Carries large bodies of calls over one bus."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._places = anyio.Semaphore(PARTS_MAX)

    async def put(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, give_up_s: float
    ) -> tuple[str, Mapping[str, str]]:
        """Return the subject and the headers of the empty message that runs the call.

        The arguments are then with one host, which takes the call. Cancelling frees them there.

        Raises:
            InvalidError: the body is larger than `LARGE_BYTES_MAX`.
            NoRouteError: nobody takes the call, or parts of it were lost; nothing was run.
            OverloadedError: the host holds too many large bodies; nothing was run.
            LatticeError: as `Bus.request`.
        """
        if len(body) > LARGE_BYTES_MAX:
            raise InvalidError(
                f"arguments of {len(body)} bytes, at most {LARGE_BYTES_MAX} can be passed"
            )
        left_ms = max(int((give_up_s - self._clock.monotonic_s()) * 1000), 1)
        opening = Word("open", (len(body), left_ms))
        answer = await self._ask(subject, opening, headers=headers, give_up_s=give_up_s)
        place = answer_of(answer.body, as_json=is_json(headers))
        at, window = place.get("at"), place.get("window")
        if not isinstance(at, str) or not is_large_place(at) or not isinstance(window, int):
            raise DecodeError(f"a place for a large body cannot be read: {place!r}"[:300])

        async def one(number: int) -> None:
            part = part_of(body, number)
            async with self._places:
                reply = await self._ask(at, Word("put", (number,)), part, give_up_s=give_up_s)
            answer_of(reply.body)

        try:
            await _all(one, parts_of(len(body)), max(min(window, WINDOW), 1))
        except BaseException:
            await self._done(at)
            raise
        return at, {**headers, HEADER: str(Word("run"))}

    async def get(self, kept: Kept, *, give_up_s: float) -> bytes:
        """Return a result that a host keeps. It is freed there, also on failure.

        Raises:
            DeadlineExceededError: parts of it were lost, or are no longer kept; the call did run.
            LatticeError: as `Bus.request`.
        """
        body = bytearray(kept.size)

        async def one(number: int) -> None:
            async with self._places:
                packet = await self._ask(kept.at, Word("get", (number,)), give_up_s=give_up_s)
            if packet.headers.get(HEADER) != str(Word("put", (number,))):
                answer_of(packet.body)  # which has an error
                raise DecodeError(f"part {number} of a result came without its number")
            size = part_size(kept.size, number)
            if len(packet.body) != size:
                raise DecodeError(
                    f"part {number} of a result has {len(packet.body)} bytes, expected {size}"
                )
            start = number * part_size(kept.size, 0)
            body[start : start + size] = packet.body

        try:
            await _all(one, parts_of(kept.size), WINDOW)
        except (NoRouteError, DeadlineExceededError) as error:
            raise DeadlineExceededError(
                f"the call did run, but its result of {kept.size} bytes was lost: {error.message}"
            ) from None
        finally:
            await self._done(kept.at)
        return bytes(body)

    async def _ask(
        self,
        subject: str,
        word: Word,
        body: bytes = b"",
        *,
        give_up_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Packet:
        """Return the answer to a word; asking twice does no harm.

        Raises:
            NoRouteError: nobody is there, or each of the tries was lost.
            DeadlineExceededError: the time is over.
        """
        said = {**(headers or {}), HEADER: str(word)}
        for _ in range(TRIES_MAX):
            left_s = give_up_s - self._clock.monotonic_s()
            if left_s <= 0:
                raise DeadlineExceededError(f"no time is left for {word} of a large body")
            try:
                return await self._bus.request(
                    subject, body, timeout_s=min(left_s, PART_S), headers=said
                )
            except DeadlineExceededError:
                continue
        raise NoRouteError(f"{word} of a large body was not answered {TRIES_MAX} times")

    async def _done(self, at: str) -> None:
        with anyio.move_on_after(LAST_WORD_S, shield=True):
            try:
                await self._bus.request(
                    at, timeout_s=LAST_WORD_S, headers={HEADER: str(Word("done"))}
                )
            except (NoRouteError, DeadlineExceededError, UnavailableError):
                return  # it is freed when nobody asks for it


async def _all(one: Callable[[int], Awaitable[None]], count: int, at_once: int) -> None:
    """Do something for each number, some at once. `Raises:` the first error of any."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(at_once, count)):
                group.start_soon(work)
    except* LatticeError as failures:
        raise first_cause(failures) from None
