"""A command line that finds a scripted lattice in place of a NATS server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from lattice.cli import main
from lattice.client import LatticeClient
from tests.unit.cli.scripted import Script, scripted


@dataclass
class Ran:
    status: int
    out: str
    err: str


@dataclass
class Shell:
    """Runs `lattice ...` in this process; `answers` and `prepare` make the lattice it finds."""

    capsys: pytest.CaptureFixture[str]
    answers: dict[str, Any] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    prepare: Any = None
    script: Script | None = None
    settings: Any = None

    def __call__(self, *words: str) -> Ran:
        status = main(words)
        captured = self.capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    @asynccontextmanager
    async def connect(self, settings, *, client_id="client"):
        self.settings = settings
        async with scripted(self.answers, hosts=self.hosts) as self.script:
            if self.prepare is not None:
                async with self.prepare(self.script):
                    yield LatticeClient(self.script.connection, client_id=client_id)
            else:
                yield LatticeClient(self.script.connection, client_id=client_id)


@pytest.fixture
def shell(capsys, monkeypatch) -> Shell:
    """The shell of a test. It enters at the one place where verbs connect."""
    shell = Shell(capsys)
    monkeypatch.setattr("lattice.client.connect", shell.connect)
    return shell
