"""`lattice host --workers 2`: two hosts of one machine under a supervisor, with real signals."""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from lattice.bus.identity import load_or_create_identity
from lattice.errors import LatticeError
from lattice.testing import eventually
from tests.e2e.conftest import lattice_up
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    deploy,
    is_alive,
    send,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow]

NAMES = ("m-0", "m-1")


class Machine:
    """A supervisor of two workers, and the processes that it has started so far."""

    def __init__(self, lattice, directory):
        self.log = directory.parent / "machine.err"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lattice", "host", "--name", "m", "--dir", str(directory),
                 "--workers", "2", "--cpu", "1001m", "--memory", "1001Mi",
                 "--lattice", lattice.facts["lattice"], "--nats", lattice.facts["nats"],
                 "--output", "json"],
                stdout=subprocess.PIPE, stderr=log, text=True, env=lattice.env,
            )  # fmt: skip
        self.pids: dict[str, int] = {}
        self.started: list[int] = []
        self._joins: queue.Queue[dict[str, object]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._joins.put(json.loads(line))

    def until_joined(self, count=1):
        """Wait for so many further workers to join."""
        for _ in range(count):
            facts = self._joins.get(timeout=PATIENCE_S)
            self.pids[facts["name"]] = facts["pid"]
            self.started.append(facts["pid"])

    def ended(self, number):
        """Send a signal to the supervisor, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def machine_directory(tmp_path_factory):
    return tmp_path_factory.mktemp("machine") / "m"


@pytest.fixture(scope="module")
def lattice(tmp_path_factory, machine_directory):
    ids = [load_or_create_identity(machine_directory / f"worker-{n}").id for n in range(2)]
    words = [word for each in ids for word in ("--authorize", each)]
    with lattice_up(tmp_path_factory.mktemp("workers"), "--hosts", "0", *words) as running:
        yield running


@contextmanager
def running_machine(lattice, directory):
    machine = Machine(lattice, directory)
    try:
        machine.until_joined(2)
        yield machine
    finally:
        machine.close()


@pytest.fixture
def machine(lattice, machine_directory):
    with running_machine(lattice, machine_directory) as machine:
        yield machine
    assert not any(map(is_alive, machine.started)), "no process is left"


@pytest.fixture
async def client(lattice, machine):
    async with client_of(lattice) as client:
        await until_leading(client)
        for name in NAMES:
            await until_host(client, name, "ready")
        yield client
        for deployment in await client.deployments():
            await client.delete(deployment.name)


async def test_workers_are_hosts_of_one_machine_that_divide_it(client):
    first, second = sorted(await client.hosts(), key=lambda host: host.name)
    assert (first.name, second.name) == NAMES
    assert first.id != second.id
    assert first.labels["lattice.machine"] == second.labels["lattice.machine"]
    assert (first.capacity["cpu_milli"], second.capacity["cpu_milli"]) == (501, 500)
    total = first.capacity["memory_bytes"] + second.capacity["memory_bytes"]
    assert total == 1001 * 2**20


async def test_a_killed_worker_comes_back_while_the_other_one_answers(client, machine):
    one_each = {"maxPerHost": 1}
    await deploy(client, "math", {"add": components.add()}, replicas=2, placement=one_each)
    assert set((await until_placed(client, "math", 2)).values()) == set(NAMES)
    killed = machine.pids["m-0"]
    send(killed, signal.SIGKILL)
    answers = 0
    while machine.pids["m-0"] == killed:
        answers += await answered(client)
        if not machine._joins.empty():
            machine.until_joined()
    assert answers > 0
    assert set((await until_placed(client, "math", 2)).values()) == set(NAMES)
    assert await client.call("math", "add", [40, 2]) == 42


async def test_a_component_that_is_at_work_in_three_aborts_is_quarantined(client, machine):
    await deploy(client, "neighbour", {"add": components.add()}, replicas=2)
    spinning = {"spin": components.hostile()["spin"]}
    await deploy(client, "spinning", spinning, limits={"deadline": "60s"})
    for _ in range(3):
        # No calls yet: this is not what the process that was aborted reported last.
        [name] = await until_called(client, 0)
        async with anyio.create_task_group() as group:
            group.start_soon(spin, client)
            await until_called(client, 1)
            send(machine.pids[name], signal.SIGABRT)
            machine.until_joined()
            group.cancel_scope.cancel()

    async def refusal():
        listed = await client.replicas("spinning")
        return next((r.reason for r in listed.replicas if "quarantined" in r.reason), None)

    reason = await eventually(refusal, timeout_s=PATIENCE_S, what="it is refused with the reason")
    assert "component spin (sha256:" in reason
    # What writes the stack of a guest that is aborted may itself fail on that stack.
    assert re.search("SIG(ABRT|SEGV)", reason)
    await until_placed(client, "neighbour", 2)
    assert await client.call("neighbour", "add", [40, 2]) == 42


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_cleanly(lattice, machine_directory, number):
    with running_machine(lattice, machine_directory) as machine:
        assert machine.ended(number) == 0
        assert not any(map(is_alive, machine.started))
        assert machine.log.read_text().count("host stops") == 2


async def test_a_second_signal_kills_workers_that_do_not_end(lattice, machine_directory):
    with running_machine(lattice, machine_directory) as machine:
        for pid in machine.started:
            send(pid, signal.SIGSTOP)
        await eventually(lambda: all(map(is_stopped, machine.started)))
        machine.process.send_signal(signal.SIGTERM)
        await eventually(lambda: all(map(is_told_to_end, machine.started)))
        assert machine.ended(signal.SIGTERM) == 130
        await eventually(lambda: not any(map(is_alive, machine.started)))


async def test_up_starts_workers_that_share_their_machine(tmp_path):
    with lattice_up(tmp_path / "up", "--hosts", "1", "--workers", "2") as running:
        [supervisor] = [p for p in running.facts["processes"] if p["role"] == "supervisor"]
        workers = [int(pid) for pid in children_of(supervisor["pid"])]
        assert len(workers) == 2
        async with client_of(running) as client:
            assert [host.name for host in await client.hosts()] == ["host-1-0", "host-1-1"]
            await deploy(client, "math", {"add": components.add()}, replicas=2)
            assert await client.call("math", "add", [40, 2]) == 42
    assert not any(map(is_alive, [supervisor["pid"], *workers]))


def test_a_second_supervisor_in_the_same_directory_is_refused(lattice, machine, machine_directory):
    found = lattice.run("host", "--workers", "2", "--dir", str(machine_directory),
                        "--nats", lattice.facts["nats"])  # fmt: skip
    assert found.status == 1
    assert f"already runs in {machine_directory}" in found.err


def test_workers_that_the_servers_do_not_know_end_with_denied(lattice, tmp_path):
    found = lattice.run("host", "--workers", "2", "--dir", str(tmp_path / "new"),
                        "--nats", lattice.facts["nats"])  # fmt: skip
    assert found.status == 4
    assert found.err.count("let it in with `lattice auth host U") >= 2


def test_one_key_for_all_workers_is_refused(lattice, tmp_path):
    found = lattice.run("host", "--workers", "2", "--dir", str(tmp_path / "new"),
                        "--nkey", lattice.facts["nkey"])  # fmt: skip
    assert found.status == 1
    assert "each worker is a host with a key of its own" in found.err


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_told_to_end(pid):
    """Tell whether SIGTERM waits for a process that is stopped."""
    return bool(int(status_of(pid)["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1)


def is_stopped(pid):
    return status_of(pid)["State"] == "T"


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: line.split()[1] for line in lines if line.split()[1:]}


async def answered(client):
    """Tell whether a call is answered soon: one on its way to a killed worker is given up."""
    try:
        return await client.call("math", "add", [40, 2], deadline_s=0.3) == 42
    except LatticeError:
        return False


async def spin(client):
    try:
        await client.call("spinning", "run", [], deadline_s=60)
    except LatticeError:
        return


async def until_called(client, count):
    """Return the hosts of the replicas once they all run and were called so often."""

    async def hosts():
        listed = await client.replicas("spinning")
        is_so = all(r.state == "running" and r.calls == count for r in listed.replicas)
        return is_so and [r.host_name for r in listed.replicas]

    return await eventually(hosts, timeout_s=PATIENCE_S, what=f"{count} calls")
