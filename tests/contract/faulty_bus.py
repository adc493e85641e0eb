"""A bus that loses and repeats messages, or is cut off as that of a killed process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

import anyio

from lattice.bus.base import Bus, ConnectionState, Handler, Packet

Fate = Literal["fine", "lost", "twice"]


def all_fine(_subject: str, _body: bytes) -> Fate:
    return "fine"


class FaultyBus:
    """See `Bus`. `fate` decides over what is published; once `cut`, nothing comes and goes."""

    def __init__(self, inner: Bus, fate: Callable[[str, bytes], Fate] = all_fine) -> None:
        self._inner = inner
        self._fate = fate
        self._cut = anyio.Event()

    def cut(self) -> None:
        """Be gone from now on, for others: what runs here does not know."""
        self._cut.set()

    @property
    def state(self) -> ConnectionState:
        return self._inner.state

    async def publish(
        self, subject: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> None:
        fate = "lost" if self._cut.is_set() else self._fate(subject, body)
        for _ in range({"lost": 0, "twice": 2}.get(fate, 1)):
            await self._inner.publish(subject, body, headers=headers)

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Packet:
        return await self._inner.request(subject, body, timeout_s=timeout_s, headers=headers)

    def request_many(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Packet, None]:
        return self._inner.request_many(subject, body, timeout_s=timeout_s, headers=headers)

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", pending_max: int = 1024
    ) -> AsyncIterator[AsyncIterator[Packet]]:
        async with self._inner.subscribe(subject, queue=queue, pending_max=pending_max) as packets:
            yield self._passing(packets)

    async def _passing(self, packets: AsyncIterator[Packet]) -> AsyncIterator[Packet]:
        async for packet in packets:
            if not self._cut.is_set():
                yield packet

    @asynccontextmanager
    async def serve(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> AsyncIterator[None]:
        """Stop to serve when cut, as a server forgets who is gone."""

        async def answer(packet: Packet) -> bytes | Packet | None:
            said = await handler(packet)
            return None if self._cut.is_set() else said

        async with anyio.create_task_group() as group:
            await group.start(self._serve, subject, answer, queue, concurrency)
            yield
            group.cancel_scope.cancel()

    async def _serve(
        self,
        subject: str,
        answer: Handler,
        queue: str,
        concurrency: int,
        *,
        task_status: anyio.abc.TaskStatus[None],
    ) -> None:
        serving: AbstractAsyncContextManager[None] = self._inner.serve(
            subject, answer, queue=queue, concurrency=concurrency
        )
        async with serving:
            task_status.started()
            await self._cut.wait()

    async def flush(self) -> None:
        await self._inner.flush()
