"""The embedded nats-server: one owner at a time, data that survives, errors that say what to do."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from lattice.bus.broker_files import BINARY_VARIABLE, BrokerLimits
from lattice.bus.connecting import connect, connect_options
from lattice.bus.embedded import FIXED_ROLES, EmbeddedNats
from lattice.bus.identity import create_user_seed, load_or_create_identity, public_key
from lattice.bus.lock import FileLock, is_held_by
from lattice.bus.nats_connect import connect_nats
from lattice.config import Settings
from lattice.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from lattice.testing import connect_as, eventually, new_host, running_nats, settings_for

pytestmark = pytest.mark.nats

OWNER = """
import sys, anyio
from pathlib import Path
from lattice.bus.embedded import EmbeddedNats

async def main():
    async with EmbeddedNats(Path(sys.argv[1])) as nats:
        print(nats.pid, nats.url, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A dead child of a dead parent may wait for whoever adopts orphans to collect it.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.fixture
def orphan(tmp_path):
    """A server whose owner was killed: its process id and address."""
    directory = tmp_path / "nats"
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, url = owner.stdout.readline().split()
        owner.kill()
    yield int(pid), url
    if is_alive(int(pid)):
        os.kill(int(pid), signal.SIGKILL)


async def test_a_second_start_on_one_directory_is_refused_and_the_first_goes_on(fresh_nats):
    pid = fresh_nats.pid
    with pytest.raises(ConflictError, match=f"belongs to the running process {os.getpid()}"):
        async with EmbeddedNats(fresh_nats.directory, take_over=True):
            pass
    assert fresh_nats.pid == pid
    async with connect_as(fresh_nats, "scheduler") as scheduler:
        assert await scheduler.control.put("a", b"1")


async def test_two_brokers_in_two_directories_run_side_by_side(fresh_nats, shared_nats):
    assert fresh_nats.url != shared_nats.url


async def test_data_users_and_port_survive_a_kill_of_the_server(fresh_nats):
    url = fresh_nats.url
    identity = await new_host(fresh_nats)
    async with (
        connect_as(fresh_nats, "scheduler") as scheduler,
        connect_as(fresh_nats, "host", identity) as host,
    ):
        revision = await host.hosts.put(identity.id, b"inventory")
        await fresh_nats.kill()
        assert fresh_nats.pid == 0
        assert await fresh_nats.wait_exit() == -signal.SIGKILL
        await fresh_nats.restart()
        assert fresh_nats.url == url
        await eventually(lambda: host.bus.state == scheduler.bus.state == "connected")
        found = await scheduler.hosts.get(identity.id)
        assert found is not None
        assert (found.value, found.revision) == (b"inventory", revision)
        assert await host.hosts.put(identity.id, b"again") == revision + 1


async def test_the_next_start_has_the_data_the_keys_the_hosts_and_the_port_of_the_last(tmp_path):
    async with running_nats(tmp_path / "nats") as nats:
        url, keys = nats.url, {role: nats.seed_path(role).read_bytes() for role in FIXED_ROLES}
        identity = await new_host(nats)
        async with connect_as(nats, "scheduler") as scheduler:
            await scheduler.control.put("desired.search", b"kept")
    async with running_nats(tmp_path / "nats") as nats:
        assert nats.url == url
        assert {role: nats.seed_path(role).read_bytes() for role in FIXED_ROLES} == keys
        settings = settings_for(nats, "host", identity)
        async with connect(settings, name="host"), connect_as(nats, "operator") as operator:
            found = await operator.control.get("desired.search")
            assert found is not None
            assert found.value == b"kept"


async def test_a_port_that_another_program_took_meanwhile_is_replaced(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "nats").mkdir(mode=0o700)
        (tmp_path / "nats" / "port").write_text(str(port))
        async with EmbeddedNats(tmp_path / "nats") as nats:
            assert nats.url != f"nats://127.0.0.1:{port}"


async def test_an_asked_port_that_is_taken_is_a_conflict(tmp_path, shared_nats):
    port = int(shared_nats.url.rpartition(":")[2])
    with pytest.raises(ConflictError, match=f"port {port} of 127.0.0.1 is taken"):
        async with EmbeddedNats(tmp_path / "nats", port=port):
            pass
    async with EmbeddedNats(tmp_path / "nats"):
        pass  # the failed start left nothing locked


async def test_a_server_that_outlived_its_owner_is_reported_with_the_command_that_ends_it(
    orphan, tmp_path
):
    pid, _ = orphan
    with pytest.raises(ConflictError, match=f"end it with 'kill {pid}'"):
        async with EmbeddedNats(tmp_path / "nats"):
            pass
    assert is_alive(pid)


async def test_taking_over_ends_the_server_that_outlived_its_owner(orphan, tmp_path):
    pid, url = orphan
    async with EmbeddedNats(tmp_path / "nats", take_over=True) as nats:
        assert nats.pid != pid
        assert nats.url == url
    await eventually(lambda: not is_alive(pid))


@pytest.fixture
def stranger():
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


async def test_taking_over_never_ends_a_process_that_does_not_hold_the_lock(tmp_path, stranger):
    directory = tmp_path / "nats"
    directory.mkdir(mode=0o700)
    with FileLock(directory / "broker.lock") as lock:
        assert not is_held_by(lock.path, stranger.pid)
        assert is_held_by(lock.path, os.getpid())
        lock.write_note(str(stranger.pid))
        with pytest.raises(ConflictError):
            async with EmbeddedNats(directory, take_over=True):
                pass
        assert stranger.poll() is None


async def test_leaving_ends_the_server_even_when_cancelled(tmp_path):
    with anyio.CancelScope() as scope:
        async with EmbeddedNats(tmp_path / "nats") as nats:
            pid = nats.pid
            scope.cancel()
            await anyio.sleep_forever()
    assert not is_alive(pid)


async def test_a_stopped_server_that_ignores_the_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("lattice.bus.broker_process.STOP_S", 0.05)
    async with EmbeddedNats(tmp_path / "nats") as nats:
        pid = nats.pid
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


# --- users ----------------------------------------------------------------------------------


async def test_a_host_joins_a_running_server_without_disturbing_the_others(fresh_nats):
    options = connect_options(settings_for(fresh_nats, "client"), name="client")
    async with connect_nats(options) as client:
        for number in range(3):
            identity = await new_host(fresh_nats, f"host-{number}")
            async with connect_as(fresh_nats, "host", identity) as host:
                await host.bus.flush()
        await client.flush()
        assert client.reconnects == 0


async def test_authorizing_the_same_key_again_changes_nothing(fresh_nats):
    identity = await new_host(fresh_nats)
    before = (fresh_nats.directory / "accounts.conf").stat().st_mtime_ns
    await fresh_nats.authorize("host", identity.id)
    assert (fresh_nats.directory / "accounts.conf").stat().st_mtime_ns == before


async def test_several_hosts_are_let_in_together_or_not_at_all(fresh_nats, tmp_path):
    identities = [load_or_create_identity(tmp_path / name) for name in "abc"]
    keys = [identity.id for identity in identities]
    with pytest.raises(InvalidError, match="nonsense"):
        await fresh_nats.authorize("host", *keys, "nonsense")
    for identity in identities:
        with pytest.raises(DeniedError):
            async with connect(settings_for(fresh_nats, "host", identity), name="host"):
                pass
    await fresh_nats.authorize("host", *keys, keys[0])
    for identity in identities:
        async with connect(settings_for(fresh_nats, "host", identity), name="host"):
            pass


async def test_a_key_of_another_role_or_no_key_is_refused_and_nothing_changes(fresh_nats):
    identity = await new_host(fresh_nats)
    before = (fresh_nats.directory / "accounts.conf").read_bytes()
    with pytest.raises(InvalidError, match="a key has one role"):
        await fresh_nats.authorize("client", identity.id)
    with pytest.raises(InvalidError, match="is not a public user nkey"):
        await fresh_nats.authorize("host", "nonsense")
    assert (fresh_nats.directory / "accounts.conf").read_bytes() == before
    await new_host(fresh_nats, "next")


async def test_an_unknown_key_and_no_key_are_denied(fresh_nats, tmp_path):
    (tmp_path / "stranger.nk").touch(mode=0o600)
    (tmp_path / "stranger.nk").write_bytes(create_user_seed())
    for nkey in (tmp_path / "stranger.nk", None):
        settings = Settings(lattice="test", servers=(fresh_nats.url,), nkey=nkey)
        with pytest.raises(DeniedError, match="refuses"):
            async with connect(settings, name="stranger"):
                pass


async def test_hosts_have_no_shared_key(shared_nats):
    with pytest.raises(InvalidError, match="authorize the host's own key"):
        shared_nats.seed_path("host")


async def test_everything_in_the_directory_is_for_its_owner(fresh_nats):
    assert stat.S_IMODE(fresh_nats.directory.stat().st_mode) == 0o700
    for path in fresh_nats.directory.glob("*.nk"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- bad surroundings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("operator.nk", b"garbage", InvalidError),
        ("users.json", b"{", InvalidError),
        ("users.json", b'[{"role": "king", "public_key": "U"}]', InvalidError),
        ("users.json", b'[{"role": "host", "public_key": 7}]', InvalidError),
        ("users.json", b"[1]", InvalidError),
        ("jetstream", b"a file in place of the data", UnavailableError),
    ],
)
async def test_garbage_in_the_directory_is_a_typed_error_that_names_it(
    tmp_path, name, content, error
):
    directory = tmp_path / "nats"
    directory.mkdir(mode=0o700)
    (directory / name).touch(mode=0o600)
    (directory / name).write_bytes(content)
    with pytest.raises(error, match=f"(?i){name}"):
        async with EmbeddedNats(directory):
            pass
    assert (directory / name).read_bytes() == content
    (directory / name).unlink()
    async with EmbeddedNats(directory):
        pass


@pytest.mark.parametrize("name", ["port", "old_99999999.ports", "nats.conf", "nats.log", "x"])
async def test_garbage_that_can_be_made_anew_does_not_prevent_a_start(tmp_path, name):
    directory = tmp_path / "nats"
    directory.mkdir(mode=0o700)
    (directory / name).write_bytes(b"\xff\x00garbage")
    async with EmbeddedNats(directory) as nats:
        assert nats.pid


async def test_a_directory_that_others_can_enter_is_refused(tmp_path):
    (tmp_path / "nats").mkdir(mode=0o755)
    with pytest.raises(DeniedError, match="chmod 700"):
        async with EmbeddedNats(tmp_path / "nats"):
            pass


def test_a_named_program_that_cannot_be_run_is_not_found(tmp_path, monkeypatch):
    monkeypatch.setenv(BINARY_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match=BINARY_VARIABLE):
        EmbeddedNats(tmp_path / "nats")


async def test_a_program_that_ends_at_once_is_shown_with_what_it_said(tmp_path, monkeypatch):
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\necho no licence >&2\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setenv(BINARY_VARIABLE, str(program))
    with pytest.raises(UnavailableError, match=r"(?s)status 3.*no licence"):
        async with EmbeddedNats(tmp_path / "nats"):
            pass


async def test_every_write_can_be_on_the_disk_before_it_is_confirmed(tmp_path):
    limits = BrokerLimits(sync_interval_s=0)
    async with running_nats(tmp_path / "nats", limits=limits) as nats:
        assert '"sync_interval": "always"' in (nats.directory / "nats.conf").read_text()
        async with connect_as(nats, "scheduler") as scheduler:
            assert await scheduler.control.put("a", b"1")


def test_limits_that_the_server_would_refuse_are_refused():
    with pytest.raises(InvalidError):
        BrokerLimits(storage_bytes=0)


async def test_eventually_gives_the_first_true_value_and_fails_with_the_last():
    values = iter([0, "", 7])
    assert await eventually(lambda: next(values)) == 7
    with pytest.raises(AssertionError, match=r"not within 0 s: the light; last value \[\]"):
        await eventually(list, 0, what="the light")


def test_a_public_key_is_all_that_a_host_hands_out():
    assert public_key(create_user_seed()).startswith("U")
