"""Hosts killed while they answer requests over HTTP that another host took."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lattice.testing import eventually
from tests.e2e.conftest import Lattice, lattice_up
from tests.e2e.running import (
    client_of,
    deploy,
    is_alive,
    seed_of,
    send,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import web_guests

pytestmark = [
    pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow, pytest.mark.timeout(180),
]  # fmt: skip

NOTICED_S = 15.0
"""The promise: within this time a request whose host was killed has ended. Five seconds of silence
count; machines of tests are busy."""


class Asked(threading.Thread):
    """One request of a client, and what came of it: a status, or the name of an error."""

    def __init__(self, port: int, method: str, target: str, host: str) -> None:
        super().__init__(daemon=True)
        self.came: int | str = "nothing"
        self.received = 0
        self.begun = threading.Event()
        self.took_s = 0.0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._words = (method, target, None, {"host": host})
        self.start()

    def run(self) -> None:
        began_s = time.monotonic()
        try:
            self._connection.request(*self._words)
            answer = self._connection.getresponse()
            self.came = answer.status
            self.begun.set()
            while part := answer.read1(65536):
                self.received += len(part)
        except (OSError, http.client.HTTPException) as error:
            self.came = type(error).__name__
        finally:
            self.took_s = time.monotonic() - began_s
            self._connection.close()


@contextmanager
def entrance(lattice: Lattice, name: str) -> Iterator[int]:
    """Run a host in the place of one that has ended, and yield the port where it takes requests."""
    directory = Path(lattice.facts["directory"]) / "hosts" / name
    process = subprocess.Popen(
        [sys.executable, "-m", "lattice", "host", "--name", name, "--dir", str(directory),
         "--lattice", lattice.facts["lattice"], "--nats", lattice.facts["nats"],
         "--nkey", str(seed_of(lattice, name)), "--http", "0", "--http-dev", "--output", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=lattice.env,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = urlsplit(json.loads(process.stdout.readline())["http"][0]).port
        assert port is not None
        yield port
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def lattice(tmp_path: Path) -> Iterator[Lattice]:
    """Three hosts, of which one has replicas, another may have, and the third takes requests."""
    labels = ("--host-label", "1:killed=yes", "--host-label", "1:web=yes")
    with lattice_up(
        tmp_path / "lattice", "--hosts", "3", *labels, "--host-label", "2:web=yes"
    ) as running:
        yield running


async def test_requests_to_a_killed_host_end_or_go_elsewhere(lattice: Lattice) -> None:
    async with client_of(lattice) as client:
        await until_leading(client)
        send(lattice.pid("host-3"), signal.SIGTERM)
        await eventually(lambda: not is_alive(lattice.pid("host-3")))
        with entrance(lattice, "host-3") as port:
            await until_host(client, "host-3", "ready")
            for name, label, replicas in (("one", "killed=yes", 1), ("two", "web=yes", 2)):
                await deploy(
                    client, name, {"guest": web_guests.paths()}, limits={"deadline": "4s"},
                    replicas=replicas, http=[{"host": f"{name}.example"}],
                    placement={"require": {"labels": [label]}},
                )  # fmt: skip
                await until_placed(client, name, replicas)

            def is_answered(name: str) -> bool:
                asked = Asked(port, "GET", "/headers", f"{name}.example")
                asked.join()
                return asked.came == 200

            for name in ("one", "two"):
                await eventually(lambda name=name: is_answered(name))
            once = [Asked(port, "POST", "/forever", "one.example") for _ in range(3)]
            again = [Asked(port, "GET", "/forever", "two.example") for _ in range(6)]
            body = Asked(port, "GET", "/large?900000000", "one.example")
            assert body.begun.wait(10)
            send(lattice.pid("host-1"), signal.SIGKILL)
            for each in (*once, *again, body):
                each.join(60)
                assert not each.is_alive()
            # What may not run twice ends, and says so; nothing of an answer is made up.
            assert [each.came for each in once] == [502] * 3
            assert max(each.took_s for each in once) < NOTICED_S
            assert body.came == "IncompleteRead" or body.received < 900_000_000
            # What may run again does, on the other host, where it takes all of its time.
            assert [each.came for each in again] == [504] * 6
            assert is_answered("two")
