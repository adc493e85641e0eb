"""`lattice serve` as words: what is understood, what workers are told, how a process retunes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from hosts.engine.base import Directory
from lattice.cli import exits, main, retuning
from lattice.cli.app import build
from lattice.cli.duty import Duty
from lattice.cli.serve_workers import _Crew
from lattice.cli.serving import Configured, Entrance, Place, Sight

ENTRANCE = Entrance(port=0, bind="[::1]", tls=True, certificate=Path("c.pem"), key=Path("k.pem"),
                    access_log=True)  # fmt: skip
SIGHT = Sight(
    env=["A=b=c", "D="],
    mount=["./data:/data:ro"],
    config=["greeting=--help"],
    allow_host=["https://*.example.com", "10.0.0.0/8:8000-9000"],
    memory=300 * 1024**2,
    deadline=0.25,
    concurrency=7,
    reuse=True,
)


def parsed(words: list[str]) -> dict[str, object]:
    """Return what the verb gets of a command line."""
    app = build(words)
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    return dict(bound.arguments)


@pytest.mark.parametrize(
    ("entrance", "sight"), [(ENTRANCE, SIGHT), (Entrance(), Sight())], ids=["all", "defaults"]
)
async def test_a_worker_is_told_what_the_supervisor_was(tmp_path, entrance, sight):
    files = [Path("-a.wasm"), Path("b.wasm")]
    crew = _Crew(files, entrance, sight, count=2, port=1234, directory=tmp_path)
    words = list(crew._words(1, 5, "was ended by SIGKILL"))
    assert words[:3] == [sys.executable, "-m", "lattice"]
    found = parsed(words[3:])
    assert found["file"] == files[0]
    assert found["more"] == (files[1],)
    assert found["sight"] == sight
    told = found["entrance"]
    assert isinstance(told, Entrance)
    assert (told.port, told.output) == (1234, "json")
    for name in ("bind", "tls", "certificate", "key", "access_log"):
        assert getattr(told, name) == getattr(entrance, name)
    assert found["place"] == Place(worker=1, bodies=tmp_path)
    assert found["duty"] == Duty(
        ends_with_parent=True, black_box=5, quarantine=tmp_path / "quarantine.json"
    )
    assert found.get("workers", 1) == 1


def test_words_become_what_instances_see():
    options = SIGHT.options("a.wasm")
    world = options.world
    assert options.mode == "reuse"
    assert (options.limits.deadline_s, options.limits.concurrency) == (0.25, 7)
    assert (dict(world.env), world.args) == ({"A": "b=c", "D": ""}, ("a.wasm",))
    assert dict(world.config) == {"greeting": "--help"}
    assert world.directories == {"/data": Directory(Path("data"), is_writable=False)}
    assert world.memory_bytes_max == 300 * 1024**2
    assert [str(each) for each in world.network.http] == [
        "https://*.example.com",
        "10.0.0.0/8:8000-9000",
    ]
    assert Sight().options("a").mode == "fresh"


def test_a_missing_value_is_told_once_for_each_name_and_not_without_end(caplog):
    config = Configured({"a": "b"})
    assert config.get("a") == "b"
    for _ in range(2):
        assert config.get("x\n") is None
    assert caplog.text.count("has no value") == 1
    assert "x\n" not in caplog.messages[0]
    for number in range(100):
        assert config.get(str(number)) is None
    assert len(caplog.messages) == 32


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fresh", "--reuse"], "--fresh and --reuse exclude each other"),
        (["--key", "k.pem"], "--key needs --certificate"),
        (["--mount", "/nowhere/at/all:/x"], "/nowhere/at/all"),
        (["--port", "65536"], "65535"),
        (["--port", "-1"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--concurrency", "0"], "--concurrency"),
        (["--deadline", "0s"], "--deadline"),
        (["--deadline", "5"], "without a unit"),
        (["--mount", "x"], "HOST:GUEST"),
        (["--env", "A"], "NAME=VALUE"),
        (["--allow-host", "ftp://x"], "--allow-host"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_words_that_make_no_sense_end_with_the_usage_status(words, said, tmp_path, capsys):
    assert main(["serve", str(tmp_path / "x.wasm"), *words]) == exits.USAGE
    assert said in capsys.readouterr().err


def test_errors_for_programs_are_json(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "x.wasm"), "--output", "json"]) == exits.FAILED
    assert "cannot read" in json.loads(capsys.readouterr().err)["err"]["message"]


def test_workers_are_too_many_before_anything_is_started(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "x.wasm"), "--workers", "257"]) == exits.FAILED
    assert "at most 256" in capsys.readouterr().err


class Executed(Exception):  # noqa: N818 (no error: the process is another one from here on)
    pass


@pytest.fixture
def executed(monkeypatch):
    calls: list[tuple[str, list[str], dict[str, str]]] = []

    def execve(path: str, words: list[str], variables: dict[str, str]) -> None:
        calls.append((path, words, variables))
        raise Executed

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "lattice", "serve", "x"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.delenv(retuning.MARK, raising=False)
    return calls


@pytest.mark.parametrize("verb", ["serve", "host"])
def test_a_process_for_guests_starts_again_with_the_allocator_set(executed, verb):
    with pytest.raises(Executed):
        retuning.start_tuned([verb, "x.wasm"])
    path, words, variables = executed[0]
    assert path == sys.executable
    assert words == [sys.executable, "-X", "dev", "-m", "lattice", "serve", "x"]
    assert variables["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=127"


def test_it_starts_again_once_even_where_the_system_drops_the_setting(executed, monkeypatch):
    monkeypatch.setenv(retuning.MARK, "1")
    retuning.start_tuned(["serve", "x.wasm"])
    assert not executed
    assert retuning.MARK not in os.environ


@pytest.mark.parametrize(
    ("words", "variables", "platform"),
    [
        (["run", "x.wasm"], {}, "linux"),
        ([], {}, "linux"),
        (["serve", "--help"], {}, "linux"),
        (["serve", "x"], {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=9"}, "linux"),
        (["serve", "x"], {}, "darwin"),
    ],
)
def test_who_needs_no_setting_goes_on(executed, monkeypatch, words, variables, platform):
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    retuning.start_tuned(words)
    assert not executed
