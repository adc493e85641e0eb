"""Damaged streams of requests over real connections: h11 reads them as this server does."""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Iterator

import anyio
import h11
import pytest

from hosts.http.limits import Limits
from tests.chaos.scale import TIMEOUT_S, sized
from tests.integration.http_serving import GET, echo, rest, serving
from tests.property.test_http_parsing import PIECES, REQUESTS

pytestmark = pytest.mark.timeout(TIMEOUT_S)

STREAMS = int(os.environ.get("LATTICE_HTTP_STREAMS", sized(400, 50_000)))
"""Streams that are tried: a thousand take three seconds."""

TOGETHER = 16
"""Clients at once."""


DROPPED = re.compile(
    rb"(\r\n0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*?)"
    rb"(?:transfer-encoding|content-length|host):[^\r\n]*\r\n",
    re.IGNORECASE,
)
"""Trailers that would frame a message: this server drops them, h11 refuses some."""


def damaged_stream(rng: random.Random) -> bytes:
    """Return some requests one after the other, with a few bytes gone, changed or put in."""
    raw = bytearray(b"".join(rng.choices(REQUESTS, k=rng.randint(1, 4))))
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        place = rng.randrange(len(raw) + 1)
        piece = rng.choice(PIECES) if rng.random() < 0.6 else rng.randbytes(rng.randint(0, 3))
        raw[place : place + rng.randint(0, 3)] = piece
    if rng.random() < 0.2:
        del raw[rng.randrange(len(raw) + 1) :]
    return bytes(raw)


def cut(raw: bytes, rng: random.Random) -> list[bytes]:
    """Return the same bytes in up to four parts."""
    places = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.randint(0, 3)))
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True) if a < b]


def as_h11_reads(raw: bytes) -> Iterator[bytes]:
    """Yield what `echo` says to each request that h11 finds, until it finds a fault or the end."""
    while DROPPED.search(raw):
        raw = DROPPED.sub(rb"\1", raw)
    while True:
        while raw.startswith(b"\r\n"):  # h11 knows no empty lines before a request
            raw = raw[2:]
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(raw)
        body = b""
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            return
        if not isinstance(event, h11.EndOfMessage):
            return
        yield b"%b %b %b" % (request.method, request.target, body)
        options = [value.lower() for name, value in request.headers if name == b"connection"]
        if request.http_version != b"1.1" and not any(b"keep-alive" in each for each in options):
            return
        if any(option.strip() == b"close" for each in options for option in each.split(b",")):
            return
        raw = connection.trailing_data[0]


def answers(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield status and body of each answer; all have a length here."""
    while raw and raw != b"<reset>":
        head, found, raw = raw.partition(b"\r\n\r\n")
        assert found, f"an answer ends within its head: {head!r}"
        lines = head.split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        yield int(lines[0].split()[1]), raw[:length]
        raw = raw[length:]


async def test_what_is_answered_is_what_h11_reads(seed: int) -> None:
    rng = random.Random(seed)
    left = STREAMS

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            raw = damaged_stream(rng)
            answered = list(answers(await running.talk(*cut(raw, rng))))
            taken = [body for status, body in answered if status == 200]
            read = list(as_h11_reads(raw))
            assert read[: len(taken)] == taken, f"{raw!r}: {taken} are answered, h11 reads {read}"
            # A refusal is the last word, and there is at most one.
            assert all(status == 200 for status, _ in answered[:-1]), f"{raw!r}: {answered}"

    async with serving(echo) as running:
        async with anyio.create_task_group() as tasks:
            for _ in range(TOGETHER):
                tasks.start_soon(client)
        assert (await running.talk(GET)).startswith(b"HTTP/1.1 200 OK\r\n")
        await running.until("connections == 0")


async def test_a_crowd_that_drips_is_told_so_while_others_are_answered(seed: int) -> None:
    async with serving(echo, limits=Limits(head_timeout_s=1.0)) as running:
        streams = [await running.connect() for _ in range(sized(100, 450))]
        for at in range(20):
            for stream in streams:
                with contextlib.suppress(anyio.BrokenResourceError):  # this machine is slow too
                    await stream.send(GET[at : at + 1])
            assert (await running.talk(GET)).startswith(b"HTTP/1.1 200 OK\r\n")
        for stream in streams:
            async with stream:
                # Who sends on after the refusal may lose it to a reset.
                assert (await rest(stream)).startswith((b"HTTP/1.1 408 ", b"<reset>"))
        await running.until("connections == 0")
