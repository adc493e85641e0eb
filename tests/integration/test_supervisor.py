"""The supervisor's shell with real processes, which are small scripts in place of hosts."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from hosts.supervisor import Supervisor
from lattice.model.ids import Digest
from lattice.testing import eventually

A = Digest(f"sha256:{'a' * 64}")

WORKER = """
import json, os, sys
from hosts.blackbox import BlackBox
box = BlackBox(int(sys.argv[2]))
def say(**facts):
    print(json.dumps({"worker": int(sys.argv[1]), "pid": os.getpid(), **facts}), flush=True)
"""
"""What the scripts begin with: they are called with their number, the black box, and `after`."""

LIVES = WORKER + "say(after=sys.argv[3])\nsys.stdin.read()\n"
FAILS = WORKER + "sys.exit(4)\n"
DEAF = f"""{WORKER}
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say()
while True:
    signal.pause()
"""
WORKS = WORKER + f"box.mark(['{A}']).__enter__()\nsay()\nsys.stdin.read()\n"


STALLS = WORKER + "box.tick()\nsay(after=sys.argv[3])\nwhile True: pass\n"
HELD = f"""{WORKER}
import signal
box.tick()
say()
if sys.argv[1] == "0":
    os.kill(os.getpid(), signal.SIGSTOP)
while True:
    signal.pause()
"""


class Crowd:
    """A supervisor of scripts, and what its workers said."""

    def __init__(self, script, path, count=2):
        self.said = []
        self.status = None
        self.path = path
        self.supervisor = Supervisor(
            count,
            words=lambda number, box, after: [
                sys.executable, "-c", script, str(number), str(box), after
            ],
            quarantine=path,
            tell=lambda _, line: self.said.append(json.loads(line)),
        )  # fmt: skip

    async def run(self):
        self.status = await self.supervisor.run()

    async def until_said(self, count):
        await eventually(lambda: len(self.said) >= count, what=f"{count} workers have joined")

    @property
    def pids(self):
        return [each["pid"] for each in self.said]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def path(tmp_path):
    return tmp_path / "quarantine.json"


async def test_a_killed_worker_is_started_again_and_told_why(path):
    crowd = Crowd(LIVES, path)
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.run)
        await crowd.until_said(2)
        first = next(each for each in crowd.said if each["worker"] == 0)
        os.kill(first["pid"], signal.SIGKILL)
        await crowd.until_said(3)
        assert crowd.said[-1]["worker"] == 0
        assert crowd.said[-1]["after"] == "was ended by SIGKILL"
        group.cancel_scope.cancel()
    assert not any(map(is_alive, crowd.pids))


async def test_a_supervisor_that_is_stopped_at_once_starts_nobody(path):
    crowd = Crowd(LIVES, path)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await crowd.run()
    assert crowd.said == []


async def test_workers_that_cannot_start_end_the_supervisor_with_their_status(path):
    crowd = Crowd(FAILS, path)
    await crowd.run()
    assert crowd.status == 4


async def test_a_program_that_is_not_there_ends_the_supervisor(path):
    supervisor = Supervisor(
        1, words=lambda *_: [str(path.parent / "nothing")], quarantine=path, tell=lambda *_: None
    )
    assert await supervisor.run() == 71


async def test_workers_that_end_by_themselves_with_status_0_are_not_started_again(path):
    crowd = Crowd(WORKER + "say()\n", path)
    await crowd.run()
    assert crowd.status == 0
    assert len(crowd.said) <= 2


async def test_workers_that_do_not_end_in_time_are_killed(path, monkeypatch):
    monkeypatch.setattr("hosts.supervision.STOP_S", 0.05)
    crowd = Crowd(DEAF, path)
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.run)
        await crowd.until_said(2)
        group.cancel_scope.cancel()
    assert not any(map(is_alive, crowd.pids))


async def test_all_workers_can_be_killed_in_one_breath(path):
    crowd = Crowd(DEAF, path)
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.run)
        await crowd.until_said(2)
        group.cancel_scope.cancel()  # they do not listen to that
        crowd.supervisor.kill_all()
    assert not any(map(is_alive, crowd.pids))


async def test_a_worker_whose_event_loop_stands_still_is_started_again(path, monkeypatch):
    monkeypatch.setattr("hosts.supervisor.LOOK_S", 0.01)
    crowd = Crowd(STALLS, path, count=1)
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.run)
        await crowd.until_said(2)
        group.cancel_scope.cancel()
    assert crowd.said[1]["after"] == "was ended by SIGABRT because its event loop stood still"


async def test_a_worker_that_somebody_holds_is_not_aborted(path, monkeypatch):
    monkeypatch.setattr("hosts.supervisor.LOOK_S", 0.01)
    crowd = Crowd(HELD, path)
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.run)
        await crowd.until_said(4)
        assert [each["worker"] for each in crowd.said].count(0) == 1
        crowd.supervisor.kill_all()
        group.cancel_scope.cancel()


async def test_a_component_at_work_in_three_aborts_is_written_down_until_the_end(path):
    path.write_text('{"old": "of a supervisor that was killed"}')
    crowd = Crowd(WORKS, path, count=3)
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.run)
        await crowd.until_said(3)
        assert not path.exists()
        for pid in crowd.pids:
            os.kill(pid, signal.SIGABRT)
        await eventually(path.exists)
        found = json.loads(path.read_bytes())
        assert list(found) == [A]
        assert "3 of this machine's host processes" in found[A]
        await crowd.until_said(6)
        group.cancel_scope.cancel()
    assert not path.exists()


async def test_workers_end_when_the_supervisor_is_killed(path):
    script = f"""
import sys, anyio
from pathlib import Path
from hosts.supervisor import Supervisor
words = lambda number, box, after: [sys.executable, "-c", {LIVES!r}, str(number), str(box), after]
tell = lambda _, line: print(line, flush=True)
anyio.run(Supervisor(2, words=words, quarantine=Path({str(path)!r}), tell=tell).run)
"""
    async with await anyio.open_process([sys.executable, "-c", script], stderr=None) as supervisor:
        assert supervisor.stdout is not None
        lines = BufferedByteReceiveStream(supervisor.stdout)
        pids = [json.loads(await lines.receive_until(b"\n", 1000))["pid"] for _ in range(2)]
        supervisor.kill()
    await eventually(lambda: not any(map(_runs, pids)), what="both workers are gone")


def _runs(pid):
    """Tell whether a process that is no child of ours runs; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
