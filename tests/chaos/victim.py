"""`lattice serve` in processes of its own, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.tree import ProcessTree

ANSWER_S = 30.0
"""Seconds for one answer; machines of tests are busy."""

GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Victim:
    """A server at work."""

    port: int
    tree: ProcessTree
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S)

    def ask(self, *parts: bytes) -> bytes:
        """Send each part by itself, and return all that comes until the server closes."""
        with self.connect() as client:
            with contextlib.suppress(ConnectionError):  # it may refuse before it has all
                for part in parts:
                    client.sendall(part)
            return rest(client)

    def path(self, target: str) -> bytes:
        return self.ask(f"GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())

    def is_well(self) -> bool:
        """Tell whether an ordinary request gets its answer."""
        return self.ask(GET).startswith(b"HTTP/1.1 204 ")

    def descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.tree.pids())

    def resident_bytes(self) -> int:
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for pid in self.tree.pids()
        )

    def until(self, claim: Callable[[], bool]) -> None:
        """Ask until a claim holds; the server answers all the while."""
        deadline_s = time.monotonic() + ANSWER_S
        while not claim():
            assert self.is_well()
            assert time.monotonic() < deadline_s, "it does not come to be so"

    def complaints(self) -> list[str]:
        """Return the lines of its log that tell of a mistake of the server's own."""
        words = ("Traceback", "CRITICAL", "never retrieved", "was never awaited", "Task was destr")
        return [
            line
            for line in self.log.read_text().splitlines()
            if any(word in line for word in words)
        ]


def rest(client: socket.socket) -> bytes:
    """Return what comes until the end, or a reset."""
    data = bytearray()
    try:
        while part := client.recv(65536):
            data += part
    except ConnectionError:
        data += b"<reset>"
    return bytes(data)


def reset(client: socket.socket) -> None:
    """Leave without a word."""
    # Closing with a linger time of zero sends a reset.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextlib.contextmanager
def serving(guest: Path, home: Path, *words: str) -> Iterator[Victim]:
    """Run `lattice serve`; on exit it must end by itself, and well."""
    log = home / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "lattice", "serve", str(guest), "--port", "0",
             "--output", "json", *words],
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        with process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line, f"lattice serve did not start: {log.read_text()[-3000:]}"
                yield Victim(json.loads(line)["port"], ProcessTree(process.pid), log)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
    assert process.returncode == 143, log.read_text()[-3000:]
