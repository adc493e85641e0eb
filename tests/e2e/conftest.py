"""A whole lattice of real processes for a test: started by `lattice up`, used by the `lattice`
command, ended by a signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

COMMAND_TIMEOUT_S = 60


@dataclass
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs `lattice` commands with settings of their own, away from the person's."""

    home: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "LATTICE_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "NO_COLOR": "1",
            **self.extra,
        }

    def run(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "lattice", *words],
            capture_output=True, text=True, timeout=timeout_s, env=self.env, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str) -> Outcome:
        outcome = self.run(*words)
        assert outcome.status == 0, f"lattice {' '.join(words)}: {outcome.err or outcome.out}"
        return outcome


@dataclass
class Lattice(Cli):
    """A running lattice."""

    facts: dict[str, Any] = field(default_factory=dict)

    def pid(self, name: str) -> int:
        return next(p["pid"] for p in self.facts["processes"] if p["name"] == name)

    def host_id(self, name: str) -> str:
        return next(p["id"] for p in self.facts["processes"] if p["name"] == name)

    def replicas(self, deployment: str) -> list[dict[str, Any]]:
        found = self.ok("get", "replicas", "--output", "json").json
        return [r for r in found["replicas"] if r["deployment"] == deployment]

    def event_kinds(self) -> list[str]:
        lines = self.ok("events", "--output", "json").out.splitlines()
        return [json.loads(line)["kind"] for line in lines]


@contextlib.contextmanager
def lattice_up(home: Path, *words: str, ends: bool = True) -> Iterator[Lattice]:
    """Run `lattice up` in a directory; on exit it must end by itself after SIGINT."""
    home.mkdir(parents=True, exist_ok=True)
    lattice = Lattice(home)
    with (home / "up.err").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lattice", "up", "--dir", str(home / "up"),
             "--output", "json", *words],
            stdout=subprocess.PIPE, stderr=log, text=True, env=lattice.env,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"lattice up did not start: {(home / 'up.err').read_text()[-3000:]}"
            lattice.facts = json.loads(line)
            yield lattice
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            finally:
                assert process.stdout is not None
                process.stdout.close()
        assert process.returncode == 0 or not ends, (home / "up.err").read_text()[-3000:]


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    """A lattice of two hosts that tests of one module share; they must not harm its hosts."""
    home = tmp_path_factory.mktemp("lattice")
    with lattice_up(home, "--hosts", "2", "--host-label", "1:zone=eu", "--host-label", "2:zone=us",
                    "--host-label", "1:disk=ssd") as running:  # fmt: skip
        yield running


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line where no lattice runs."""
    return Cli(tmp_path)
