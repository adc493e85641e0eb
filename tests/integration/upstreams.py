"""A way out for guests that is answered by functions of a test, without connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from hosts.engine.webvalues import Answer, Body, Headers, OutgoingHead


class Upstream:
    """A way out that is answered by functions of the test, without connections."""

    def __init__(self, answer: Callable[[OutgoingHead], Awaitable[Answer]]) -> None:
        self.heads: list[OutgoingHead] = []
        self.bodies: list[bytes] = []
        self.cancelled = 0
        self.is_closed = False
        self._answer = answer

    def begin(self, head: OutgoingHead, body: Body, *, traceparent: str = "") -> UpstreamCall:
        assert not traceparent
        self.heads.append(head)
        return UpstreamCall(self, head, body)

    def close(self) -> None:
        self.is_closed = True

    async def answer(self, head: OutgoingHead) -> Answer:
        return await self._answer(head)


class UpstreamCall:
    """Takes the whole body of the request, and then echoes it."""

    def __init__(self, upstream: Upstream, head: OutgoingHead, body: Body) -> None:
        self._upstream, self._head, self._body = upstream, head, body
        self.trailers: Headers = ()

    async def answered(self) -> Answer:
        if not isinstance(self._body, bytes):
            whole = b""
            while data := await self._body.read(65536):
                whole += data
            self._body = whole
        return await self._upstream.answer(self._head)

    async def read(self, limit_bytes: int) -> bytes:
        assert isinstance(self._body, bytes), "the answer came first"
        part, self._body = self._body[:limit_bytes], self._body[limit_bytes:]
        return part

    def cancel(self) -> None:
        self._upstream.cancelled += 1


def answered_last_first(paths: list[str]) -> Upstream:
    """Return what answers each path when the next one was asked, the last one at once."""
    asked = {f"/{path}": anyio.Event() for path in paths}
    after = dict(zip(asked, [*list(asked)[1:], ""], strict=True))

    async def answer(head: OutgoingHead) -> Answer:
        asked[head.target].set()
        if after[head.target]:
            await asked[after[head.target]].wait()
        return Answer(status=200, headers=())

    return Upstream(answer)
