"""Answers HTTP with the bindings that componentize-py makes of `wasi:http`."""

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

READ_BYTES = 65536
WRITE_BYTES = 4096


class IncomingHandler(exports.IncomingHandler):
    """Sends the body of a request back, or says which path it is."""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path = request.path_with_query() or "/"
        body = self._body_of(request) if path == "/echo" else f"hello from {path}\n".encode()
        fields = Fields.from_list([("content-type", b"text/plain")])
        response = OutgoingResponse(fields)
        outgoing = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with outgoing.write() as stream:
            for start in range(0, len(body), WRITE_BYTES):
                stream.blocking_write_and_flush(body[start : start + WRITE_BYTES])
        OutgoingBody.finish(outgoing, None)

    def _body_of(self, request: IncomingRequest) -> bytes:
        parts = []
        with request.consume() as incoming, incoming.stream() as stream:
            try:
                while True:
                    parts.append(stream.blocking_read(READ_BYTES))
            except Exception:  # noqa: BLE001 (the toolchain's error for the end of a stream)
                return b"".join(parts)
