"""`lattice up` as whole processes: it becomes ready, reports deaths, and ends cleanly."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import pytest

from lattice.testing import eventually
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats]

END_S = 10.0
"""Seconds within which a whole lattice must end."""


class Up:
    """One `lattice up`, its lines as they come, and the words to ask it with."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.directory = directory
        self.environment = os.environ | {"LATTICE_CONFIG_HOME": str(directory / "config")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lattice", "up", "--dir", str(directory / "up"),
             "--output", "json", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip
        self.lines: Queue[str] = Queue()
        self.said: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, keep))
            for stream, keep in ((self.process.stdout, self.lines.put),
                                 (self.process.stderr, self.said.append))
        ]  # fmt: skip
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, keep) -> None:
        for line in stream:
            keep(line)
        keep("")

    def facts(self):
        """What it prints once hosts have joined."""
        line = self.lines.get(timeout=60)
        assert line, "".join(self.said)
        return json.loads(line)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lattice", *words],
            capture_output=True, text=True, timeout=60, check=False, env=self.environment,
        )  # fmt: skip

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(END_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_S)
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start(tmp_path):
    """Start a lattice in the directory of the test; the last words are its options."""
    started: list[Up] = []

    def begin(*words: str) -> Up:
        started.append(Up(tmp_path, *words))
        return started[-1]

    yield begin
    for up in reversed(started):
        up.close()


def pids(facts, role):
    return [process["pid"] for process in facts["processes"] if process["role"] == role]


def is_alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_everything_is_there_when_up_says_so_and_gone_when_it_ends(start, how):
    up = start("--hosts", "2", "--label", "zone=eu", "--host-label", "2:zone=us")
    facts = up.facts()
    hosts = json.loads(up.ask("get", "hosts", "-o", "json").stdout)["hosts"]
    assert [(h["name"], h["state"], h["labels"]["zone"]) for h in hosts] == [
        ("host-1", "ready", "eu"), ("host-2", "ready", "us"),
    ]  # fmt: skip
    assert up.end(how) == 0
    assert not [process for process in facts["processes"] if is_alive(process["pid"])]


def test_deployment_is_applied_called_and_survives_a_restart_of_everything(start, tmp_path):
    (tmp_path / "echo.wasm").write_bytes(components.echo())
    manifest = tmp_path / "echo.yaml"
    manifest.write_text("lattice: v1\nname: echo\ncomponents: [{name: echo, image: ./echo.wasm}]\n")
    up = start()
    up.facts()
    applied = up.ask("apply", "-f", str(manifest), "--wait")
    assert applied.returncode == 0, applied.stderr
    assert up.ask("call", "echo", "echo", "hello").stdout == "hello\n"
    assert up.end(signal.SIGTERM) == 0
    again = start()
    again.facts()
    called = again.ask("call", "echo", "echo", "again", "--deadline", "20s")
    assert called.stdout == "again\n", called.stderr


def test_second_up_in_one_directory_is_refused_and_the_first_goes_on(start):
    up = start("--hosts", "0")
    facts = up.facts()
    second = start("--hosts", "0")
    assert second.process.wait(30) == 1
    [line] = [line for line in second.said if line]
    assert str(up.process.pid) in line
    assert "another directory" in line
    assert all(is_alive(pid) for pid in pids(facts, "nats") + pids(facts, "scheduler"))


async def test_killed_host_is_reported_and_not_started_again(start):
    up = start("--hosts", "2")
    facts = up.facts()
    os.kill(pids(facts, "host")[0], signal.SIGKILL)
    await eventually(lambda: any("host-1" in line and "SIGKILL" in line for line in up.said))
    assert is_alive(pids(facts, "host")[1])
    assert up.process.poll() is None
    assert not any("runs again" in line for line in up.said)


async def test_killed_host_is_started_again_when_asked_for(start):
    up = start("--restart")
    os.kill(pids(up.facts(), "host")[0], signal.SIGKILL)
    await eventually(lambda: any("host-1 runs again" in line for line in up.said))


async def test_nothing_is_left_of_an_up_that_was_killed(start):
    up = start()
    facts = up.facts()
    up.process.kill()
    left = pids(facts, "host") + pids(facts, "scheduler")
    await eventually(lambda: not any(is_alive(pid) for pid in left), what="children end")
    again = start()
    assert pids(again.facts(), "nats") != pids(facts, "nats")


async def test_end_of_nats_ends_everything_with_a_reason(start):
    up = start()
    os.kill(pids(up.facts(), "nats")[0], signal.SIGKILL)
    assert up.process.wait(END_S) == 3
    assert any("nats-server ended" in line for line in up.said)


@pytest.mark.slow
def test_frozen_nats_does_not_keep_up_from_ending_in_time(start):
    up = start()
    facts = up.facts()
    [nats] = pids(facts, "nats")
    os.kill(nats, signal.SIGSTOP)
    assert up.end(signal.SIGINT) == 0
    assert not [process for process in facts["processes"] if is_alive(process["pid"])]


def test_host_whose_key_nobody_knows_is_told_how_to_be_let_in(start, tmp_path):
    up = start("--hosts", "0")
    up.facts()
    ran = up.ask("host", "--dir", str(tmp_path / "stranger"))
    assert ran.returncode == 4
    assert "lattice auth host U" in ran.stderr


def test_further_host_that_was_authorized_joins(start, tmp_path):
    key = tmp_path / "further" / "identity.nk"
    made = subprocess.run(
        [sys.executable, "-m", "lattice", "auth", "key", str(key)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    up = start("--hosts", "0", "--authorize", made.stdout.strip())
    up.facts()
    host = subprocess.Popen(
        [sys.executable, "-m", "lattice", "host", "--dir", str(key.parent), "--name", "further"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=up.environment,
    )  # fmt: skip
    try:
        assert host.stdout is not None
        assert host.stdout.readline().startswith("host further (U")
        again = up.ask("host", "--dir", str(key.parent))
        assert again.returncode == 1
        assert "already runs" in again.stderr
        host.terminate()
        assert host.wait(END_S) == 0
    finally:
        host.kill()
        host.wait()
        host.stdout.close()


def test_following_events_ends_quietly_on_ctrl_c(start):
    up = start("--hosts", "0")
    up.facts()
    follower = subprocess.Popen(
        [sys.executable, "-m", "lattice", "events", "--follow", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=up.environment,
    )  # fmt: skip
    try:
        assert json.loads(follower.stdout.readline())["kind"] == "leader-elected"
        follower.send_signal(signal.SIGINT)
        _, said = follower.communicate(timeout=END_S)
    finally:
        follower.kill()
        follower.wait()
    assert (follower.returncode, said) == (130, "")
