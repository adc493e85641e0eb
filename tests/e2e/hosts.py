"""Hosts of a running lattice that a test kills, stops and starts again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from signal import Signals

from tests.e2e.conftest import Lattice
from tests.e2e.running import seed_of, send


class Hosts:
    """The hosts of a lattice: those that `up` started, and those that took their places."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.pids: dict[str, int] = {
            p["name"]: p["pid"] for p in lattice.facts["processes"] if p["id"]
        }
        self.again: list[subprocess.Popen[str]] = []

    def start(self, name: str) -> None:
        """Run `lattice host` in the directory and under the key of a host that is gone."""
        directory = Path(self.lattice.facts["directory"]) / "hosts" / name
        process = subprocess.Popen(
            [sys.executable, "-m", "lattice", "host", "--name", name, "--dir", str(directory),
             "--lattice", self.lattice.facts["lattice"], "--nats", self.lattice.facts["nats"],
             "--nkey", str(seed_of(self.lattice, name))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=self.lattice.env,
        )  # fmt: skip
        self.again.append(process)
        self.pids[name] = process.pid

    def send(self, name: str, number: Signals) -> None:
        send(self.pids[name], number)

    def end(self) -> None:
        for process in self.again:
            if process.poll() is None:
                process.terminate()
        for process in self.again:
            process.wait(20)
