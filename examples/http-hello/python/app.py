"""Answers HTTP in Python, with the bindings that componentize-py makes of `wasi:http`."""

import json
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import monotonic_clock
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

READ_BYTES = 65536
WRITE_BYTES = 4096
"""As much as WASI takes at once."""

TEXT = "text/plain; charset=utf-8"


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        status, kind, parts = answer(request)
        response = OutgoingResponse(Fields.from_list([("content-type", kind.encode())]))
        response.set_status_code(status)
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            for part in parts:
                data = part.encode()
                for start in range(0, len(data), WRITE_BYTES):
                    stream.blocking_write_and_flush(data[start : start + WRITE_BYTES])
        OutgoingBody.finish(body, None)


def answer(request: IncomingRequest) -> tuple[int, str, Iterable[str]]:
    """Return the status, the type and the parts of the answer."""
    path = (request.path_with_query() or "/").partition("?")[0]
    if path == "/":
        return 200, TEXT, ["Hello, world! This is Python.\n"]
    if path.startswith("/hello/"):
        return 200, TEXT, [f"Hello, {unquote(path.removeprefix('/hello/'))}! This is Python.\n"]
    if path == "/echo" and isinstance(request.method(), Method_Post):
        try:
            sent = json.loads(body_of(request))
        except ValueError as error:
            return 400, TEXT, [f"This is no JSON: {error}\n"]
        return 200, "application/json", [json.dumps({"language": "python", "you_sent": sent})]
    if path == "/ticks":
        return 200, "text/event-stream", ticks(5)
    return 404, TEXT, ["There is /, /hello/NAME, /ticks, and POST /echo.\n"]


def ticks(count: int) -> Iterator[str]:
    """Server-sent events: one each fifth of a second, in which the host is free for others."""
    for tick in range(1, count + 1):
        yield f"data: tick {tick}\n\n"
        if tick < count:
            monotonic_clock.subscribe_duration(200_000_000).block()


def body_of(request: IncomingRequest) -> bytes:
    parts: list[bytes] = []
    with request.consume() as body, body.stream() as stream:
        try:
            while True:
                parts.append(stream.blocking_read(READ_BYTES))
        except Err:  # the end of the stream
            return b"".join(parts)
