"""Streams of jobs with a fault: signs of life that do not arrive, answers that get lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lattice.bus.durable import JobStream, Lane, Pulling, Taken
from lattice.errors import OutcomeUnknownError


class Silent:
    """All of a `JobStream`, but for signs of life, as of a worker that the system has stopped."""

    def __init__(self, stream: JobStream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @asynccontextmanager
    async def pull(self, lane: Lane) -> AsyncIterator[Pulling]:
        async with self._stream.pull(lane) as pulling:
            yield _SilentPulling(pulling)


class _SilentPulling:
    def __init__(self, pulling: Pulling) -> None:
        self._pulling = pulling

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pulling, name)

    async def working(self, taken: Taken) -> None:
        return


class Unheard:
    """All of a `JobStream`, but that the answer to each first write and removal gets lost."""

    def __init__(self, stream: JobStream) -> None:
        self._stream = stream
        self._lost: set[object] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def put(self, subject: str, body: bytes, **conditions: Any) -> int:
        sequence = await self._stream.put(subject, body, **conditions)
        self._lose((subject, body))
        return sequence

    async def remove(self, sequence: int) -> bool:
        was_there = await self._stream.remove(sequence)
        self._lose(sequence)
        return was_there

    def _lose(self, what: object) -> None:
        if what not in self._lost:
            self._lost.add(what)
            raise OutcomeUnknownError("the answer got lost")
