"""Starts what suites measure against each other: a whole lattice, and a bare NATS with an echo.

Everything runs in processes of its own on loopback, in folders that are removed afterwards, and
leaves the settings of whoever runs the bench alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import anyio
import nats
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from nats.aio.client import Client

from bench.case import UnavailableError
from lattice.bus.broker_files import find_binary
from lattice.config import HOME_VARIABLE, Settings

START_S = 60.0
"""Seconds until a lattice or a server must be up."""

STOP_S = 15.0
"""Seconds until what was asked to end is killed; `lattice up` promises ten."""

LINE_BYTES_MAX = 1 << 20

ECHO_SUBJECT = "bench.echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLattice:
    """A lattice that is up."""

    settings: Settings
    pids: Mapping[str, int]  # by the name of the process: nats-server, scheduler, host-1, ...
    folder: Path  # for images and manifests
    environment: Mapping[str, str]  # of further processes that belong to it


@asynccontextmanager
async def lattice_up(hosts: int, *options: str) -> AsyncIterator[RunningLattice]:
    """Yield a lattice of so many hosts on this machine.

    Raises:
        UnavailableError: it does not start; the end of what it said is shown.
    """
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        words = ["up", "--hosts", str(hosts), "--dir", str(folder / "up"), "--output", "json"]
        environment = {**os.environ, HOME_VARIABLE: str(folder / "config")}
        command = [sys.executable, "-m", "lattice", *words, *options]
        async with running(command, environment) as process:
            facts = json.loads(await first_line(process, "lattice up"))
            yield RunningLattice(
                settings=Settings(
                    lattice=facts["lattice"], servers=(facts["nats"],), nkey=Path(facts["nkey"])
                ),
                pids={each["name"]: each["pid"] for each in facts["processes"]},
                folder=folder,
                environment=environment,
            )


@asynccontextmanager
async def bare_echo(loop: str = "uvloop") -> AsyncIterator[tuple[Client, Mapping[str, int]]]:
    """Yield a client of a plain nats-server, on which a process echoes `ECHO_SUBJECT`.

    `loop` is what the echo runs on, `uvloop` or `asyncio`.
    """
    async with bare_server() as (url, server_pid):
        command = [sys.executable, "-m", "bench.echo", url, ECHO_SUBJECT, loop]
        async with running(command) as echo:
            await first_line(echo, "the echo")
            client = await nats.connect(url)
            try:
                yield client, {"nats-server": server_pid, "echo": echo.pid}
            finally:
                await client.close()


@asynccontextmanager
async def bare_server() -> AsyncIterator[tuple[str, int]]:
    """Yield the URL and the process id of a plain nats-server, without users or streams."""
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        words = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder)]
        async with running([str(find_binary()), *words]) as server:
            yield await _url_of_server(folder), server.pid


@asynccontextmanager
async def running(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    says_on: Literal["stdout", "stderr"] = "stdout",
) -> AsyncIterator[Process]:
    """Yield a process of which one output can be read; it is told to end afterwards."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, says_on: subprocess.PIPE}
    process = await anyio.open_process(
        command, stdin=None, stdout=pipes["stdout"], stderr=pipes["stderr"], env=environment
    )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            with anyio.move_on_after(STOP_S):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def first_line(process: Process, what: str, timeout_s: float = START_S) -> bytes:
    """Return the first line that a process says, without its end.

    Raises:
        UnavailableError: it says nothing in time, or ended.
    """
    output = process.stdout or process.stderr
    assert output is not None, "one of them was opened as a pipe"
    try:
        with anyio.fail_after(timeout_s):
            return await BufferedByteReceiveStream(output).receive_until(b"\n", LINE_BYTES_MAX)
    except (TimeoutError, anyio.EndOfStream, anyio.IncompleteRead):
        message = f"{what} did not start within {timeout_s:g} s, or ended"
        raise UnavailableError(message) from None


async def _url_of_server(folder: Path) -> str:
    with anyio.move_on_after(START_S):
        while True:
            if url := _written_url(folder):
                return url
            await anyio.sleep(0.01)
    message = f"nats-server did not start within {START_S:g} s"
    raise UnavailableError(message)


def _written_url(folder: Path) -> str:
    for path in folder.glob("*.ports"):
        try:
            return str(json.loads(path.read_text())["nats"][0])
        except (ValueError, KeyError):
            continue  # It is being written.
    return ""
