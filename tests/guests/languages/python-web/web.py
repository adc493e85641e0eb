"""Answers HTTP with the bindings that componentize-py makes of `wasi:http`."""

import asyncio

from componentize_py_types import Ok
from polling import PollLoop
from wit_world import exports
from wit_world.imports import outgoing_handler
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    IncomingResponse,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
)

READ_BYTES = 65536
WRITE_BYTES = 4096


class IncomingHandler(exports.IncomingHandler):
    """Sends the body of a request back, or says which path it is, or asks others at once."""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path, _, query = (request.path_with_query() or "/").partition("?")
        body = f"hello from {request.path_with_query()}\n".encode()
        if path == "/echo":
            with request.consume() as incoming:
                body = self._body_of(incoming)
        elif path == "/all":
            loop = PollLoop()
            asked = (ask(loop, each) for each in query.split(","))
            body = b"\n".join(loop.run_until_complete(gathered(asked)))
        fields = Fields.from_list([("content-type", b"text/plain")])
        response = OutgoingResponse(fields)
        outgoing = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with outgoing.write() as stream:
            for start in range(0, len(body), WRITE_BYTES):
                stream.blocking_write_and_flush(body[start : start + WRITE_BYTES])
        OutgoingBody.finish(outgoing, None)

    def _body_of(self, incoming) -> bytes:
        parts = []
        with incoming.stream() as stream:
            try:
                while True:
                    parts.append(stream.blocking_read(READ_BYTES))
            except Exception:  # noqa: BLE001 (the toolchain's error for the end of a stream)
                return b"".join(parts)


async def gathered(asked):
    """Return what several coroutines return, in their order."""
    return await asyncio.gather(*asked)


async def ask(loop: PollLoop, path: str) -> bytes:
    """Return status and body of what another server answers."""
    request = OutgoingRequest(Fields.from_list([]))
    request.set_scheme(Scheme_Http())
    request.set_authority("upstream.test")
    request.set_path_with_query(f"/{path}")
    future = outgoing_handler.handle(request, None)
    while (found := future.get()) is None:
        await loop.until_ready(future.subscribe())
    response: IncomingResponse = found.value.value
    answer = f"{response.status()} ".encode()
    with response.consume() as incoming, incoming.stream() as stream:
        try:
            while True:
                await loop.until_ready(stream.subscribe())
                answer += stream.read(READ_BYTES)
        except Exception:  # noqa: BLE001 (the toolchain's error for the end of a stream)
            return answer
