"""`lattice dev` as a process for tests: where it answers, what it says, and its end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lattice.testing import eventually
from tests.guests.languages import building

FIRST_S = 240.0
"""Seconds until the first answer: the first one of a machine builds the C library, or compiles."""

CHANGE_S = 30.0
"""Seconds until a change is seen, on a machine with other work to do; one is usual."""

END_S = 3.0
"""Seconds within which Ctrl-C ends everything."""

_URL = re.compile(rb"(https?)://localhost:(\d+)")


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_DATA_HOME": str(home / "data"),
        # What was made once stays made: a component for Python takes some seconds.
        "XDG_CACHE_HOME": str(building.BUILD / "cache"),
        "PYTHONUNBUFFERED": "1",
    }


def lattice(home: Path, *words: str | Path, folder: Path) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "lattice", *words],
        cwd=folder, env=environment(home), timeout=FIRST_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Dev:
    """One process of `lattice dev`."""

    process: subprocess.Popen[bytes]
    log: Path
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    async def find_ports(self) -> None:
        def found() -> bool:
            assert self.process.poll() is None, self.said
            self.ports = {k.decode(): int(p) for k, p in _URL.findall(self.log.read_bytes())}
            return len(self.ports) == 2

        await eventually(found, FIRST_S, what="the addresses are told")

    def get(self, path: str, *, accept: str = "text/plain") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=FIRST_S)
        try:
            connection.request("GET", path, headers={"accept": accept})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/.lattice/state")[1])
        return found

    async def until_answers(self, path: str, text: str, timeout_s: float = CHANGE_S) -> None:
        await eventually(lambda: text in self.get(path)[1], timeout_s, what=f"{path} says {text}")

    async def until_phase(self, phase: str, *, is_first: bool = False) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            state = self.state()
            assert not is_first or state["phase"] != "failed", state["problem"]
            return state if state["phase"] == phase else None

        patience_s = FIRST_S if is_first else CHANGE_S
        return await eventually(reached, patience_s, what=f"the phase is {phase}") or {}

    def follow(self) -> socket.socket:
        """Return a connection to which changes are told, as an open page has it."""
        following = socket.create_connection(("127.0.0.1", self.ports["http"]), timeout=FIRST_S)
        following.sendall(b"GET /.lattice/changes HTTP/1.1\r\nhost: localhost\r\n\r\n")
        told = b""
        while b"data: " not in told:
            told += following.recv(4096)
        return following

    async def end(self) -> None:
        """Press Ctrl-C: all of it ends in time, and nothing is left running."""
        self.process.send_signal(signal.SIGINT)
        await eventually(lambda: self.process.poll() is not None, END_S, what="it has ended")
        assert self.process.returncode == 0, self.said
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)


@contextmanager
def developing(home: Path, folder: Path) -> Iterator[Dev]:
    log = home / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lattice", "dev", folder, "--port", "0", "--https-port", "0"],
            env=environment(home), stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield Dev(process, log)
    finally:
        process.kill()
        process.wait()


class Hammer:
    """A client that asks again and again over one connection, and counts what it gets."""

    def __init__(self, dev: Dev, path: str) -> None:
        self._dev = dev
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failures: list[str] = []
        self.count = 0

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._dev.ports["http"], timeout=30)
        while not self._stop.is_set():
            try:
                connection.request("GET", self._path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.failures.append(f"{answer.status}: {body[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self.count += 1
        connection.close()
