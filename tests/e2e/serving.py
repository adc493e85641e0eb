"""A running `lattice serve` for a test, and a client that keeps its connection."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from lattice.testing import eventually
from tests.guests import web_guests

PATIENCE_S = 60.0
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
HELLO = b"Hello, world!\n"


class Serving:
    """A running `lattice serve`."""

    def __init__(self, process: subprocess.Popen[str], log: Path, facts: dict[str, Any]) -> None:
        self.process = process
        self.facts = facts
        self._log = log

    @property
    def port(self) -> int:
        return int(self.facts["port"])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    @property
    def variables(self) -> str:
        """Return the environment that the process was started with."""
        return Path(f"/proc/{self.process.pid}/environ").read_text()

    def children(self) -> set[int]:
        """Return the processes of the workers."""
        pid = self.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    @asynccontextmanager
    async def connected(self, address: str = "127.0.0.1") -> AsyncIterator[Client]:
        async with await anyio.connect_tcp(address, self.port) as stream:
            yield Client(stream)

    async def get(self, path: str = "/") -> bytes:
        """Return the body of an answer on a connection of its own."""
        async with self.connected() as client:
            return await client.get(path)


class Client:
    """A connection that is kept."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def get(self, path: str = "/") -> bytes:
        head, body = await self.ask(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path.encode())
        assert head.startswith(b"HTTP/1.1 200 "), head
        return body

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Return head and body of the answer."""
        await self.stream.send(request)
        return await self.answer()

    async def answer(self) -> tuple[bytes, bytes]:
        head = await self._until(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.lower().split(b"\r\n")]
        fields = {name: value for name, _, value in lines}
        if b"content-length" in fields:
            return head, await self._take(int(fields[b"content-length"]))
        if head[9:10] == b"1" or head[9:12] == b"204":
            return head, b""
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += await self._take(size)
            await self._take(2)
        await self._take(2)
        return head, body

    async def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._buffer += await self.stream.receive()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await self.stream.receive()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with guests, where what is compiled stays for all tests of this module."""
    folder = tmp_path_factory.mktemp("serve")
    for name in ("hello", "paths", "seer", "layer", "front", "asker"):
        (folder / f"{name}.wasm").write_bytes(getattr(web_guests, name)())
    return folder


def environment(home: Path, cache: str = "cache") -> dict[str, str]:
    return {
        **os.environ,
        "XDG_CACHE_HOME": str(home / cache),
        "XDG_DATA_HOME": str(home / "data"),
        "LATTICE_NATS": "nats://nobody.invalid:1",
    }


def command(home: Path, *words: str, code: str = "") -> list[str]:
    """Return the command line; `code` is run first in the process, but not in its workers."""
    program = (
        ["-c", f"{code}; from lattice.cli import main; raise SystemExit(main())"]
        if code
        else ["-m", "lattice"]
    )
    files = [str(home / word) if word.endswith(".wasm") else word for word in words]
    return [sys.executable, *program, "serve", *files]


@contextmanager
def serving(home: Path, *words: str, cache: str = "cache", code: str = "") -> Iterator[Serving]:
    """Run it until it can be asked; what is left of it at the end is killed."""
    log = home / f"{os.urandom(4).hex()}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command(home, *words, code=code), "--port", "0", "--output", "json"],
            stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(home, cache),
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Serving(process, log, json.loads(line))
    finally:
        if process.poll() is None:
            process.terminate()  # a supervisor takes its workers along
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def refused(home: Path, *words: str) -> tuple[int, str]:
    """Return exit status and error output of a start that must fail."""
    done = subprocess.run(
        command(home, *words), capture_output=True, text=True, env=environment(home),
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


async def until_refused(port: int) -> None:
    """Return when nobody listens any more."""

    async def is_refused() -> bool:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                return False
        except OSError:
            return True

    await eventually(is_refused, timeout_s=PATIENCE_S, what="nobody listens")
