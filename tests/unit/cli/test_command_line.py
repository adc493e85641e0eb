"""The frame around the verbs: help, usage, exit statuses, and the verbs that need no lattice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from lattice.bus.identity import create_user_seed, load_or_create_seed, public_key
from lattice.cli import exits, main
from lattice.cli.app import VERBS
from lattice.cli.helping import joined
from lattice.cli.options import Options, label_pairs
from lattice.cli.output import printable, size_text, text_of
from lattice.cli.reference import markdown
from lattice.cli.verb_label import split_changes
from lattice.cli.verb_up import host_plans, lattice_name, split_host_labels
from lattice.config import Contexts, Settings
from lattice.errors import InvalidError
from tests.guests import components

LISTED = [verb for verb in VERBS if verb.group]


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("LATTICE_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize("verb", LISTED, ids=lambda verb: verb.words)
def test_every_verb_has_help_that_begins_with_its_summary(verb, capsys):
    assert main([*verb.words.split(), "--help"]) == exits.DONE
    _, _, after_usage = capsys.readouterr().out.partition("\n\n")
    assert " ".join(after_usage.split()).startswith(verb.summary)


@pytest.mark.parametrize("verb", LISTED, ids=lambda verb: verb.words)
def test_every_verb_takes_the_options_of_connection_and_output(verb, capsys):
    if verb.words in (
        "bindgen",
        "build",
        "completion",
        "dev",
        "new",
        "run",
        "serve",
    ):  # need no lattice
        return
    main([*verb.words.split(), "--help"])
    shown = capsys.readouterr().out
    for option in ("--lattice", "--nats", "--creds", "--nkey", "--tls-ca", "--context", "--output"):
        assert option in shown


@pytest.mark.parametrize("verb", LISTED, ids=lambda verb: verb.words)
def test_paragraphs_of_help_are_as_wide_as_the_terminal(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    main([*verb.words.split(), "--help"])
    told = capsys.readouterr().out.partition("\n")[2].partition("╭")[0]
    for line, following in pairwise(told.rstrip().splitlines()):
        if line and following:
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > 60


def test_lists_and_indented_lines_of_help_stay_as_they_are():
    text = "one\ntwo\n\n- a\n- b\n\n    code\n    more\nthree"
    assert joined(text) == "one two\n\n- a\n- b\n\n    code\n    more three"


def test_list_of_verbs_shows_all_but_the_internal_ones(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(verb.words.split()[0] in shown for verb in LISTED)
    assert "reference" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["get", "nonsense"],
        ["get", "hosts", "--nonsense"],
        ["apply"],
        ["apply", "-f", "x", "--timeout", "5"],
        ["events", "--since", "yesterday"],
        ["up", "--hosts", "-1"],
        ["up", "--label", "zone"],
        ["up", "--host-label", "zone=eu"],
        ["label", "host", "one", "zone"],
        ["host", "--cpu", "many"],
        ["get", "hosts", "--output", "yaml"],
    ],
    ids=" ".join,
)
def test_wrong_command_line_ends_with_the_usage_status_and_a_hint(words, capsys):
    assert main(words) == exits.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "--help` shows what it takes" in captured.err


def test_reference_page_is_what_the_verbs_say():
    page = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
    assert page.read_text() == markdown(), "run `lattice reference > docs/reference/cli.md`"


# --- inspect ----------------------------------------------------------------------------------


def test_inspect_shows_the_types_as_wit(tmp_path, capsys):
    (tmp_path / "divide.wasm").write_bytes(components.divide())
    assert main(["inspect", str(tmp_path / "divide.wasm"), "--fingerprints"]) == 0
    shown = capsys.readouterr().out
    assert "divide: func(a: s32, b: s32) -> result<s32, string>;" in shown
    assert "test:math/divide@0.1.0#divide" in shown


def test_inspect_for_programs_has_schema_and_fingerprint(tmp_path, capsys):
    (tmp_path / "divide.wasm").write_bytes(components.divide())
    main(["inspect", str(tmp_path / "divide.wasm"), "--output", "json"])
    found = json.loads(capsys.readouterr().out)
    function = found["exports"]["test:math/divide@0.1.0"]["divide"]
    assert function["schema"]["properties"]["args"]["maxItems"] == 2
    assert len(function["fingerprint"]) == 16
    assert found["bytes"] == len(components.divide())


@pytest.mark.parametrize("body", [b"", b"lattice: v1\n", components.divide()[:-9]])
def test_inspect_of_what_is_no_component_is_refused(tmp_path, capsys, body):
    (tmp_path / "x.wasm").write_bytes(body)
    assert main(["inspect", str(tmp_path / "x.wasm")]) == exits.FAILED
    assert capsys.readouterr().err.startswith("error: ")


def test_inspect_of_no_file_is_refused(capsys):
    assert main(["inspect", "/nowhere/x.wasm"]) == exits.FAILED
    assert "cannot read /nowhere/x.wasm" in capsys.readouterr().err


# --- whole processes --------------------------------------------------------------------------


def run(*words, **variables):
    """Run `lattice` as a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LATTICE_")}
    return subprocess.run(
        [sys.executable, "-m", "lattice", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment | variables,
    )


def test_unreachable_nats_is_one_line_and_a_status(tmp_path):
    ran = run("get", "hosts", "--nats", "nats://127.0.0.1:1", LATTICE_CONFIG_HOME=str(tmp_path))
    assert ran.returncode == exits.UNREACHABLE
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("error: cannot reach NATS")


def test_debug_shows_where_an_error_came_from(tmp_path):
    ran = run(
        "get", "hosts", "--nats", "nats://127.0.0.1:1",
        LATTICE_DEBUG="1", LATTICE_CONFIG_HOME=str(tmp_path),
    )  # fmt: skip
    assert "Traceback" in ran.stderr


def test_help_loads_no_verb_and_no_heavy_library():
    code = (
        "import sys; from lattice.cli import main; main(['--help']); "
        "print([m for m in ('nats', 'wasmtime', 'numpy', 'opentelemetry', 'ruamel', 'msgspec') "
        "if m in sys.modules], [m for m in sys.modules if 'verb_' in m], file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stderr.strip() == "[] []"


# --- words ------------------------------------------------------------------------------------


def test_labels_are_pairs():
    assert label_pairs(["zone=eu", "a=b=c", "empty="]) == {"zone": "eu", "a": "b=c", "empty": ""}


def test_label_changes_set_and_remove():
    assert split_changes(["zone=eu", "disk-", "x=y-"]) == ({"zone": "eu", "x": "y-"}, ["disk"])


def test_labels_of_single_hosts_have_their_number_in_front():
    assert split_host_labels(["2:zone=us", "1:a=b", "2:c=d"]) == {
        2: {"zone": "us", "c": "d"}, 1: {"a": "b"},
    }  # fmt: skip


@pytest.mark.parametrize("word", ["zone=us", "0:zone=us", "x:zone=us", "2:zone"])
def test_labels_of_single_hosts_without_number_or_value_are_refused(word):
    with pytest.raises(ValueError, match=r"host|label"):
        split_host_labels([word])


def test_sizes_are_never_written_with_an_exponent():
    assert [size_text(size) for size in (0, 1023, 1.5 * 1024**2, 1000 * 1024**2)] == [
        "0 B", "1023 B", "1.5 MiB", "1000 MiB",
    ]  # fmt: skip


def test_cells_read_well():
    assert [text_of(v) for v in (None, "", True, 1.5, {"a": 1}, [], ["x", "y"])] == [
        "-", "-", "yes", "1.5", "a=1", "-", "x, y",
    ]  # fmt: skip
    assert [size_text(v) for v in (0, 1023, 1536, 5 * 1024**3)] == [
        "0 B", "1023 B", "1.5 KiB", "5 GiB",
    ]  # fmt: skip
    assert printable("a\x1b[31mb\x00") == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}"


# --- contexts, keys, completion ---------------------------------------------------------------


def test_context_is_saved_used_listed_and_deleted(home, capsys):
    assert main(["context", "save", "prod", "--nats", "nats://a:1,nats://b:2"]) == 0
    assert main(["context", "use", "prod"]) == 0
    capsys.readouterr()
    main(["context", "list", "--output", "json"])
    listed = json.loads(capsys.readouterr().out)
    assert listed == {
        "current": "prod",
        "contexts": [{"name": "prod", "lattice": "default", "nats": "nats://a:1,nats://b:2"}],
    }
    assert main(["context", "delete", "prod"]) == 0
    assert main(["context", "use", "prod"]) == exits.NOT_FOUND


def test_context_show_tells_where_settings_come_from(home, capsys):
    Contexts.of_user().save("x", Settings(lattice="inner"))
    Contexts.of_user().select("x")
    main(["context", "show", "--nats", "nats://a:1"])
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert lines["lattice"] == ["lattice", "inner", "context", "x"]
    assert lines["nats"] == ["nats", "nats://a:1", "--nats"]


def test_damaged_context_does_not_hide_the_others(home, capsys):
    contexts = Contexts.of_user()
    contexts.save("good", Settings(lattice="inner"))
    contexts.save("bad", Settings()).write_text("nonsense = 1\n")
    assert main(["context", "list"]) == 0
    shown = capsys.readouterr().out
    assert "inner" in shown
    assert "nonsense" in shown


def test_context_env_serves_the_plain_nats_command(home, capsys):
    seed = home / "me.nk"
    key = load_or_create_seed(seed, create_user_seed())
    main(["context", "env", "--nats", "nats://a:1", "--nkey", str(seed)])
    assert capsys.readouterr().out.splitlines() == [
        "export NATS_URL=nats://a:1",
        f"export NATS_NKEY={seed}",
        f"export NATS_INBOX_PREFIX=_INBOX.{key}",
        "export LATTICE_NAME=default",
        "export LATTICE_NATS=nats://a:1",
        f"export LATTICE_NKEY={seed}",
    ]


def test_auth_key_makes_a_key_once(home, capsys):
    path = home / "keys" / "host.nk"
    main(["auth", "key", str(path)])
    main(["auth", "key", str(path)])
    first, second = capsys.readouterr().out.split()
    assert first == second == public_key(path.read_bytes().strip())
    assert path.stat().st_mode & 0o777 == 0o600


def test_auth_config_prints_one_user_for_each_key(home, capsys):
    keys = [public_key(create_user_seed()) for _ in range(2)]
    assert main(["auth", "config", "--host", keys[0], "--operator", keys[1]]) == 0
    shown = capsys.readouterr().out
    assert all(key in shown for key in keys)
    assert "system_account: SYS" in shown


def test_auth_host_prints_the_least_permissions(home, capsys):
    key = public_key(create_user_seed())
    assert main(["auth", "host", key]) == 0
    user = json.loads(capsys.readouterr().out)
    assert user["nkey"] == key
    assert not any(".leader" in subject for subject in user["permissions"]["publish"]["allow"])


@pytest.mark.parametrize("words", [["auth", "host", "UX"], ["auth", "config"]])
def test_auth_without_a_proper_key_is_refused(home, words, capsys):
    assert main(words) == exits.FAILED


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_verbs(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "scheduler" in capsys.readouterr().out


def test_up_refuses_the_options_of_another_nats(home, capsys):
    assert main(["up", "--nats", "nats://a:1"]) == exits.FAILED
    assert "--nats" in capsys.readouterr().err


def test_up_takes_its_name_from_no_context_not_even_a_damaged_one(home, monkeypatch):
    Contexts.of_user().save("prod", Settings(lattice="prod", nkey=home / "gone.nk"))
    (home / "config" / "current").write_text("prod\n")
    assert lattice_name(Options()) == "default"
    monkeypatch.setenv("LATTICE_NAME", "mine")
    assert lattice_name(Options()) == "mine"
    assert lattice_name(Options(lattice="other")) == "other"


def test_up_refuses_a_name_that_is_none(home):
    with pytest.raises(InvalidError, match="Not A Name"):
        lattice_name(Options(lattice="Not A Name"))


def test_up_refuses_labels_of_a_host_that_is_not_started():
    with pytest.raises(InvalidError, match="names host 3, there are 2"):
        host_plans(2, ["zone=eu"], ["3:zone=us"])


def test_labels_of_a_single_host_win_over_those_of_all():
    assert [dict(plan.labels) for plan in host_plans(2, ["zone=eu", "a=b"], ["2:zone=us"])] == [
        {"zone": "eu", "a": "b"},
        {"zone": "us", "a": "b"},
    ]
