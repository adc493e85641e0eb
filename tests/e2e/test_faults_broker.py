"""NATS and the scheduler killed, stopped and started again under a lattice that goes on.

The lattice is one of `lattice up --restart`; each test leaves it whole.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from lattice.errors import DeadlineExceededError, LatticeError, UnavailableError
from lattice.testing import eventually
from tests.e2e.conftest import lattice_up
from tests.e2e.running import (
    PATIENCE_S,
    answers_itself,
    client_of,
    deploy,
    is_alive,
    seed_of,
    send,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow]

CALL_S = 1.0
"""Deadline of the calls made while something is away."""

RECOVERY_S = 10.0
"""Calls are answered again within this time after what was away is back."""

MARGIN_S = 2.0
"""How much later than its deadline a call may end on a busy machine."""


@pytest.fixture(scope="module")
def mending(tmp_path_factory):
    """A lattice that starts again what dies, with two replicas of a deployment."""
    home = tmp_path_factory.mktemp("mending")
    with lattice_up(home, "--hosts", "2", "--restart") as running:
        yield running


@pytest.fixture
async def client(mending):
    async with client_of(mending) as client:
        await until_leading(client)
        await deploy(client, "math", {"add": components.add()}, replicas=2)
        yield client


def running_pid(lattice, name):
    """Return the process id of a part now; `up` has started it again when it died."""
    log = (lattice.home / "up.err").read_text()
    again = [line for line in log.splitlines() if f"{name} runs again, pid " in line]
    return int(again[-1].rpartition(" ")[2]) if again else lattice.pid(name)


async def until_runs_again(lattice, name, before):
    """Return its new process id, once `up` says that it runs again."""
    return await eventually(
        lambda: (pid := running_pid(lattice, name)) != before and is_alive(pid) and pid,
        timeout_s=PATIENCE_S, what=f"{name} runs again",
    )  # fmt: skip


async def until_answers(client):
    """Return the seconds until a call is answered."""
    began_s = time.monotonic()

    async def answers():
        try:
            return await client.call("math", "add", [40, 2], deadline_s=CALL_S) == 42
        except LatticeError:
            return False

    await eventually(answers, timeout_s=PATIENCE_S, what="math answers")
    return time.monotonic() - began_s


class Calls:
    """Calls one after the other, and how each ended; every one ends within its time."""

    def __init__(self, client):
        self.client = client
        self.ends: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def once(self):
        began_s = time.monotonic()
        try:
            assert await self.client.call("math", "add", [40, 2], deadline_s=CALL_S) == 42
            self.ends["ok"] += 1
        except LatticeError as exc:
            self.ends[exc.kind] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)

    async def until_cancelled(self):
        while True:
            await self.once()
            await anyio.lowlevel.checkpoint()


@contextmanager
def standby(lattice):
    """Run a second scheduler beside the one of `up`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lattice", "scheduler", "--lattice", lattice.facts["lattice"],
         "--nats", lattice.facts["nats"], "--nkey", str(seed_of(lattice, "scheduler"))],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=lattice.env,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "serves lattice" in process.stdout.readline()
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


async def leaders(client):
    """Return how many leaders were elected so far."""
    return len([event async for event in client.events(kinds={"leader-elected"})])


async def host_of(client, name):
    return next(host for host in await client.hosts() if host.name == name)


async def test_killed_scheduler_is_replaced_by_a_standby_without_a_move_or_a_lost_call(
    mending, client
):
    before = await until_placed(client, "math", 2)
    elected, pid = await leaders(client), running_pid(mending, "scheduler")

    async def is_elected():
        return await leaders(client) > elected

    calls = Calls(client)
    await calls.once()
    with standby(mending):
        async with anyio.create_task_group() as group:
            group.start_soon(calls.until_cancelled)
            send(pid, signal.SIGKILL)
            await eventually(is_elected, timeout_s=PATIENCE_S)
            group.cancel_scope.cancel()
        assert await until_placed(client, "math", 2) == before
    assert set(calls.ends) == {"ok"}
    await until_runs_again(mending, "scheduler", pid)
    await until_leading(client)
    await deploy(client, "math", {"add": components.add()}, replicas=3)
    assert before.items() <= (await until_placed(client, "math", 3)).items()


async def test_stopped_leader_is_replaced_and_on_its_return_changes_nothing(mending, client):
    before = await until_placed(client, "math", 2)
    elected, pid = await leaders(client), running_pid(mending, "scheduler")

    async def is_elected():
        return await leaders(client) > elected

    with standby(mending):
        send(pid, signal.SIGSTOP)
        try:
            await eventually(is_elected, timeout_s=PATIENCE_S)
            await until_leading(client)
        finally:
            send(pid, signal.SIGCONT)
        await deploy(client, "math", {"add": components.add()}, replicas=3)
        after = await until_placed(client, "math", 3)
        assert before.items() <= after.items()
        await deploy(client, "math", {"add": components.add()}, replicas=2)
        await until_placed(client, "math", 2)
    await until_leading(client)
    assert is_alive(pid), "who was deposed stands by"


async def test_killed_broker_comes_back_with_everything_and_nothing_is_moved(mending, client):
    before = await until_placed(client, "math", 2)
    pid = running_pid(mending, "nats-server")
    send(pid, signal.SIGKILL)
    await until_runs_again(mending, "nats-server", pid)
    assert await until_answers(client) < RECOVERY_S
    await until_leading(client)
    assert [d.name for d in await client.deployments()] == ["math"]
    assert await until_placed(client, "math", 2) == before
    await deploy(client, "later", {"echo": components.echo()})
    assert await client.call("later", "echo", ["new"]) == "new"
    await client.delete("later")
    assert await until_placed(client, "math", 2) == before


async def test_paused_broker_gives_typed_errors_in_time_and_nothing_is_moved(mending, client):
    before = await until_placed(client, "math", 2)
    pid = running_pid(mending, "nats-server")
    calls = Calls(client)
    began_s = time.monotonic()
    send(pid, signal.SIGSTOP)
    try:
        while time.monotonic() - began_s < 8:
            await calls.once()
    finally:
        send(pid, signal.SIGCONT)
    assert set(calls.ends) <= {"deadline", "unavailable", "outcome-unknown"}
    assert calls.slowest_s < CALL_S + MARGIN_S
    assert await until_answers(client) < RECOVERY_S
    await until_leading(client)
    for name in ("host-1", "host-2"):
        await until_host(client, name, "ready")
    assert await until_placed(client, "math", 2) == before


async def test_host_that_is_killed_and_starts_again_runs_what_no_other_host_may(mending, client):
    one_each = {"maxPerHost": 1}
    await deploy(client, "math", {"add": components.add()}, replicas=2, placement=one_each)
    before = await until_placed(client, "math", 2)
    pid, boot = running_pid(mending, "host-1"), (await host_of(client, "host-1")).boot
    send(pid, signal.SIGKILL)
    await until_runs_again(mending, "host-1", pid)
    assert await until_answers(client) < RECOVERY_S

    async def is_back():
        host = await host_of(client, "host-1")
        return host.boot != boot and await answers_itself(client, host.id, "math")

    await eventually(is_back, timeout_s=PATIENCE_S)
    placed = await until_placed(client, "math", 2)
    assert sorted(placed.values()) == sorted(before.values())


async def test_a_stream_goes_on_when_the_broker_is_killed_and_starts_again(mending, client):
    await deploy(client, "streams", {"streams": components.streams()})
    size = 200_000_000
    async with client.stream("streams", "produce", [size, 100_000]) as call:
        found = len(await anext(call))
        pid = running_pid(mending, "nats-server")
        send(pid, signal.SIGKILL)
        await until_runs_again(mending, "nats-server", pid)
        found += sum([len(part) async for part in call])
        assert (found, await call.value()) == (size, size)
    await until_leading(client)


async def test_a_stream_of_a_host_that_is_killed_ends_with_an_error(mending, client):
    await deploy(client, "streams", {"streams": components.streams()})
    [place] = set((await until_placed(client, "streams", 1)).values())
    pid = running_pid(mending, place)
    async with client.stream("streams", "produce", [1 << 40, 100_000]) as call:
        await anext(call)
        send(pid, signal.SIGKILL)
        with pytest.raises(DeadlineExceededError, match="its host was lost while bytes moved"):
            await call.value()
    await until_runs_again(mending, place, pid)
    await until_answers(client)


async def test_host_started_while_the_broker_is_away_says_so_and_ends(mending, tmp_path):
    outcome = mending.run("host", "--nats", "nats://127.0.0.1:1", "--dir", str(tmp_path / "h"))
    assert outcome.status == 3
    assert "cannot reach NATS" in outcome.err
    assert "Traceback" not in outcome.err


async def test_client_that_was_cut_off_for_ever_is_told_at_once(mending):
    async with client_of(mending) as client:
        await client.deployments()
    with pytest.raises(UnavailableError, match="closed"):
        await client.deployments()


def test_logs_of_all_parts_hold_no_traceback(mending):
    """Last in this module: whatever was killed, nobody met an error that was not foreseen."""
    for log in (Path(mending.facts["directory"]) / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(), log
    assert "Traceback" not in (mending.home / "up.err").read_text()
