"""What `lattice host --workers N` starts and says, short of starting it."""

from __future__ import annotations

import json
import resource
import socket
from dataclasses import replace

import pytest

from lattice.cli import exits, main
from lattice.cli.options import Options
from lattice.cli.process import FILES_MAX, allow_many_files, tell_ready
from lattice.cli.reference import markdown
from lattice.cli.workers import Machine, make_identities, run_workers, tell_joined, worker_words
from lattice.config import Settings
from lattice.errors import InvalidError
from lattice.model.host import Capacity


@pytest.fixture
def machine(tmp_path):
    return Machine(
        name="m",
        directory=tmp_path / "m",
        labels={"zone": "eu", "note": "a=b"},
        capacity=Capacity(cpu_milli=2000, memory_bytes=1 << 30),
        workers=2,
        options=Options(lattice="fleet", tls_ca="ca.pem", context="one"),
    )


def test_a_worker_is_a_host_with_its_own_name_directory_and_share(machine):
    share = Capacity(cpu_milli=500, memory_bytes=1000)
    words = worker_words(machine, share, 1, 7, "was ended by SIGKILL")
    assert words[1:4] == ["-m", "lattice", "host"]
    assert set(words[4:]) == {
        "--ends-with-parent",
        "--output=json",
        "--name=m-1",
        f"--dir={machine.directory}/worker-1",
        "--cpu=500m",
        "--memory=1000",
        "--black-box=7",
        f"--quarantine={machine.directory}/quarantine.json",
        "--label=zone=eu",
        "--label=note=a=b",
        "--lattice=fleet",
        "--tls-ca=ca.pem",
        "--context=one",
        "--after=was ended by SIGKILL",
    }


def test_a_first_process_is_told_of_none_before_it(machine):
    words = worker_words(machine, machine.capacity, 0, 7, "")
    assert not [word for word in words if word.startswith("--after")]


@pytest.mark.parametrize("key", ["nkey", "creds"])
def test_one_key_for_all_workers_is_refused_before_anything_is_made(machine, key):
    settings = Settings(origins={key: f"variable LATTICE_{key.upper()}"})
    with pytest.raises(InvalidError, match="each worker is a host with a key of its own"):
        make_identities(machine, settings)
    assert not machine.directory.exists()


def test_each_worker_has_a_key_that_stays_its_own(machine):
    first = make_identities(machine, Settings(origins={"nkey": "context fleet"}))
    again = make_identities(machine, Settings())
    assert len({each.id for each in first}) == 2
    assert [each.id for each in first] == [each.id for each in again]


async def test_more_workers_than_the_machine_can_be_divided_into_are_refused(machine):
    with pytest.raises(InvalidError, match="between 3000 workers"):
        await run_workers(replace(machine, workers=3000))


@pytest.mark.parametrize("count", ["0", "-1", "257", "many"])
def test_numbers_of_workers_that_make_no_sense_are_wrong_usage(count, capsys):
    assert main(["host", "--workers", count]) == exits.USAGE
    assert "workers" in capsys.readouterr().err


def test_what_a_supervisor_says_to_a_worker_is_not_shown_to_people():
    shown = markdown().partition("## lattice host")[2].partition("\n## ")[0]
    assert "--workers" in shown
    for hidden in ("--black-box", "--quarantine", "--after", "--ends-with-parent"):
        assert hidden not in shown


def test_a_host_may_open_as_many_files_as_the_system_lets_it():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        allow_many_files()
        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == (FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX))
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_service_manager_is_told_once_a_process_is_ready(tmp_path, monkeypatch, is_abstract):
    name = f"@{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if is_abstract else name)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        tell_ready()
        assert manager.recv(100) == b"READY=1"
    tell_ready()  # nobody listens any more


def test_what_a_worker_prints_is_shown_in_the_form_that_was_asked_for(capsys):
    line = json.dumps({"host": "UA", "name": "m-0", "lattice": "fleet", "pid": 7})
    tell_joined(line, as_json=False)
    tell_joined("garbage", as_json=False)
    tell_joined(line, as_json=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "host m-0 (UA) joined lattice fleet"
    assert json.loads(second) == json.loads(line)


def test_people_see_where_a_worker_takes_requests(capsys):
    urls = ["http://127.0.0.1:8000", "https://[::1]:8443"]
    facts = {"host": "UA", "name": "m-0", "lattice": "fleet", "pid": 7, "http": urls}
    tell_joined(json.dumps(facts), as_json=False)
    assert capsys.readouterr().out == (
        "host m-0 (UA) joined lattice fleet, takes requests at http://127.0.0.1:8000, "
        "https://[::1]:8443\n"
    )
