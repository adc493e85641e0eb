"""`lattice run` as words: what is understood, and what is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hosts.engine.base import Directory
from lattice.cli import exits, files, main
from lattice.cli.app import split_rest
from lattice.cli.arguments import argument, assignments
from lattice.cli.granting import mounts
from lattice.errors import InvalidError
from tests.guests import components


@pytest.fixture
def add(tmp_path):
    (tmp_path / "add.wasm").write_bytes(components.add())
    return str(tmp_path / "add.wasm")


@pytest.mark.parametrize(
    ("words", "own", "rest"),
    [
        (["run", "x.wasm", "--", "--env", "--", "b"], ["run", "x.wasm"], ("--env", "--", "b")),
        (["run", "x.wasm", "f", "1"], ["run", "x.wasm", "f", "1"], ()),
        (["run", "x.wasm", "--"], ["run", "x.wasm"], ()),
        (["call", "x", "f", "--", "-1"], ["call", "x", "f", "--", "-1"], ()),
        ([], [], ()),
    ],
)
def test_words_after_two_dashes_are_those_of_the_command(words, own, rest):
    assert split_rest(words) == (own, rest)


def test_assignments_keep_what_follows_the_first_sign():
    assert assignments(["A=1", "B=", "C=x=y"]) == {"A": "1", "B": "", "C": "x=y"}
    for word in ("A", "=x", ""):
        with pytest.raises(ValueError, match="NAME=VALUE"):
            assignments([word])


def test_mounts_are_writable_unless_they_say_otherwise():
    assert mounts(["./data:/data", "/a:b:/c:ro"]) == {
        "/data": Directory(Path("data"), is_writable=True),
        "/c": Directory(Path("/a:b"), is_writable=False),
    }
    for words in (["data"], ["data:data"], [":/data"], ["a:/x", "b:/x"]):
        with pytest.raises(ValueError, match=r"expected HOST|mounted twice"):
            mounts(words)


@pytest.mark.parametrize(
    "words",
    [["ad", "1", "2"], ["add", "1"], ["add", "1", "2", "3"], ["add", "1", "-2"], ["add", "1", "x"],
     ["add", "1", "@/nowhere"], []],
)  # fmt: skip
def test_call_that_does_not_fit_ends_with_the_usage_status_and_the_types(words, add, capsys):
    assert main(["run", add, *words]) == exits.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "func(a: u32, b: u32) -> u32" in captured.err or "/nowhere" in captured.err


def test_words_for_a_command_do_not_fit_a_function(add, capsys):
    assert main(["run", add, "add", "1", "2", "--", "3"]) == exits.USAGE
    assert "words after --" in capsys.readouterr().err


def test_missing_imports_are_listed(tmp_path, capsys):
    (tmp_path / "ticket.wasm").write_bytes(components.ticket())
    assert main(["run", str(tmp_path / "ticket.wasm"), "draw"]) == exits.FAILED
    assert "import test:counter/counter@0.1.0 is satisfied by nothing" in capsys.readouterr().err


def test_errors_for_programs_are_json(add, capsys):
    assert main(["run", add, "ad", "--output", "json"]) == exits.USAGE
    assert json.loads(capsys.readouterr().err)["err"]["kind"] == "not-found"


def test_file_that_cannot_be_read_is_told(capsys):
    assert main(["run", "/nowhere/x.wasm"]) == exits.FAILED
    assert "cannot read /nowhere/x.wasm" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [["--env", "A"], ["--mount", "data"], ["--timeout", "5"], ["--memory", "much"],
     ["--config", "=x"]],
)  # fmt: skip
def test_wrong_option_ends_with_the_usage_status(option, add, capsys):
    assert main(["run", add, "add", "1", "2", *option]) == exits.USAGE
    assert "`lattice run --help`" in capsys.readouterr().err


def test_argument_nested_too_deep_is_refused():
    with pytest.raises(InvalidError, match="nested too deep"):
        argument("[" * 100_000)


def test_file_without_a_size_is_read_up_to_the_limit(monkeypatch):
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 1000)
    monkeypatch.setattr(files, "_PART_BYTES", 600)
    with pytest.raises(InvalidError, match="/dev/zero is larger"):
        files.read_component_file(Path("/dev/zero"))
    assert files.read_component_file(Path("/dev/null")) == b""
