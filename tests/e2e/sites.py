"""Sites that answer over HTTP, and a client that asks them as any does: the standard library's.

A site is a deployment on a lattice, or `lattice serve` in a process of its own. Nothing here
decides what is right.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.conftest import Cli, Lattice

ANSWER_S = 30.0
"""Seconds for one answer; machines of tests are busy."""

APPLY_S = 240
"""Seconds until large guests are compiled for the first time, by several hosts at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has come whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class Site:
    """Where to ask: an address, and the name that requests are for."""

    address: str
    port: int
    name: str = "localhost"

    @classmethod
    def at(cls, url: str, name: str = "localhost") -> Site:
        found = urlsplit(url)
        assert found.hostname, url
        assert found.port, url
        return cls(found.hostname, found.port, name)

    @contextlib.contextmanager
    def request(
        self, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield an answer whose body is still to be read."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=ANSWER_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, target, body, {"host": self.name} | named)
            yield connection.getresponse()

    def ask(self, target: str, body: bytes | None = None, **headers: str) -> Answer:
        """Return the whole answer; a body makes it a POST."""
        method = "GET" if body is None else "POST"
        with self.request(method, target, body, **headers) as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())


def apply_manifest(lattice: Lattice, manifest: Path) -> None:
    """Apply a manifest and wait until everything in it runs."""
    words = ("apply", "-f", str(manifest), "--wait", "--timeout", f"{APPLY_S}s")
    outcome = lattice.run(*words, timeout_s=APPLY_S + 30)
    assert outcome.status == 0, outcome.err


@contextlib.contextmanager
def served(cli: Cli, *words: str | Path) -> Iterator[Site]:
    """Run `lattice serve` on a free port; on exit it must end by itself after SIGINT."""
    log = cli.home / "serve.err"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "lattice", "serve", "--port", "0", "--output", "json",
             *map(str, words)],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=cli.env,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"lattice serve did not start: {log.read_text()[-3000:]}"
            yield Site.at(json.loads(line)["url"])
        finally:
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
        assert process.returncode == 130, log.read_text()[-3000:]
