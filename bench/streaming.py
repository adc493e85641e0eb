"""A client that sends and takes very long bodies, in little memory and little time of its own.

It checks the status and counts bytes; what else there is to HTTP is for tests.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

PART = bytes(range(256)) * 4096
"""What is sent over and over: a megabyte."""

TAKEN_BYTES = 1 << 20
"""What is taken at once."""

SILENCE_S = 60.0
"""Seconds in which a server may send nothing, or take nothing."""

LAST_BYTES = 64
"""Of the answer, what is kept: all of a short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What went through a server."""

    elapsed_s: float
    taken_bytes: int  # of the answer's body, with the frames of its chunks
    last: bytes


def stream(port: int, target: str, sent_bytes: int) -> Passed:
    """Return what came of a request with so long a body, sent while the answer is taken.

    Raises:
        AssertionError: the answer is no success, or has no end.
        OSError: the server left, or was silent for too long.
    """
    began_s = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        sending = threads.submit(_send, connection, target, sent_bytes)
        taken, last = _take(connection)
        sending.result()
    return Passed(elapsed_s=time.perf_counter() - began_s, taken_bytes=taken, last=last)


def _send(connection: socket.socket, target: str, length: int) -> None:
    method, field = ("POST", f"content-length: {length}\r\n") if length else ("GET", "")
    head = f"{method} {target} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n{field}\r\n"
    connection.sendall(head.encode())
    part = memoryview(PART)
    for start in range(0, length, len(PART)):
        connection.sendall(part[: length - start])


def _take(connection: socket.socket) -> tuple[int, bytes]:
    """Return how much came after the head until the server closed, and the end of it."""
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(TAKEN_BYTES)
        assert received, f"the answer ends within its head: {head!r}"
        head += received
    head, _, last = head.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200", f"the answer is no success: {head!r}"
    taken, buffer = len(last), bytearray(TAKEN_BYTES)
    while size := connection.recv_into(buffer):
        taken += size
        last = (last + buffer[max(0, size - LAST_BYTES) : size])[-LAST_BYTES:]
    if b"chunked" in head.lower():
        assert last.endswith(b"0\r\n\r\n"), "the answer breaks off"
    return taken, bytes(last)
