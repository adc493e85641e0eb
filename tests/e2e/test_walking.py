"""The whole road with real processes: deploy, call, look, fail, mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm]


def manifest(folder: Path, name: str, parts: dict[str, bytes], **fields) -> Path:
    """Write a manifest and its components; parts named `*service` are services."""
    document: dict = {"lattice": "v1", "name": name, "components": [], "services": []}
    for part, body in parts.items():
        (folder / f"{part}.wasm").write_bytes(body)
        kind = "services" if part.endswith("service") else "components"
        document[kind].append({"name": part, "image": f"./{part}.wasm"})
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({k: v for k, v in document.items() if v} | fields))
    return path


def test_apply_call_describe_delete(lattice, tmp_path):
    path = manifest(
        tmp_path, "hi",
        {"hello": components.hello(), "greeter": components.greeter(),
         "counterservice": components.counter()},
        replicas=2,
    )  # fmt: skip
    applied = lattice.ok("apply", "-f", str(path), "--wait")
    assert "ready, 2 of 2 replicas run" in applied.out
    assert lattice.ok("call", "hi", "welcome", '"Ada"').out.strip() == "Hello, Ada!"
    assert lattice.ok("call", "hi", "test:greeter/welcome@0.1.0#welcome", '"Bo"').out.strip() == (
        "Hello, Bo!"
    )
    assert {r["state"] for r in lattice.replicas("hi")} == {"running"}
    assert "test:greeter/welcome@0.1.0" in lattice.ok("describe", "hi").out
    assert "no change" in lattice.ok("diff", "-f", str(path)).out
    assert "unchanged" in lattice.ok("apply", "-f", str(path)).out
    lattice.ok("delete", "hi")
    assert lattice.run("describe", "hi").status == 6


def test_labels_decide_and_a_changed_label_places_what_waited(lattice, tmp_path):
    path = manifest(
        tmp_path, "picky", {"add": components.add()},
        placement={"require": {"labels": ["zone = us", "gpu"]}},
    )  # fmt: skip
    lattice.ok("apply", "-f", str(path))
    waiting = lattice.run("apply", "-f", str(path), "--wait", "--timeout", "3s")
    assert waiting.status != 0
    assert "needs gpu" in waiting.err
    assert "needs zone = us" in waiting.err
    lattice.ok("label", "host", "host-2", "gpu=yes")
    lattice.ok("apply", "-f", str(path), "--wait")
    assert [r["host_name"] for r in lattice.replicas("picky")] == ["host-2"]
    lattice.ok("label", "host", "host-2", "gpu-")
    lattice.ok("delete", "picky")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("name: [", ":1:8: expected"),
        ("lattice: v1\nname: x\nreplica: 3\ncomponents: [{name: a, image: ./a.wasm}]",
         "did you mean"),
        ("lattice: v1\nname: Bad_Name\nreplicas: many\ncomponents: []", "replicas"),
    ],
)  # fmt: skip
def test_a_malformed_manifest_is_refused_with_every_fault(lattice, tmp_path, document, expected):
    path = tmp_path / "m.yaml"
    path.write_text(document)
    outcome = lattice.run("apply", "-f", str(path))
    assert outcome.status == 1
    assert expected in outcome.err
    assert "Traceback" not in outcome.err


def test_what_cannot_work_is_refused_at_submission(lattice, tmp_path):
    for name, parts, fields, expected in (
        ("nocomponent", {"a": b"\0asm\1\0\0\0"}, {}, "core module"),
        ("nothing", {"a": b"hello"}, {}, "expected a component"),
        ("noexport", {"a": components.add()}, {"expose": ["test:math/sub"]}, "test:math/sub"),
        ("noimport", {"a": components.hostile()["missing-import"]}, {}, "nobody:home/thing"),
        ("mismatch", {"a": components.greeter(), "b": components.hostile()["wrong-type"]}, {},
         "greet"),
    ):  # fmt: skip
        outcome = lattice.run("apply", "-f", str(manifest(tmp_path, name, parts, **fields)))
        assert outcome.status == 1, name
        assert expected in outcome.err, name
        assert lattice.run("describe", name).status == 6, "nothing was stored"


def test_a_start_that_traps_ends_the_wait_with_the_hosts_own_words(lattice, tmp_path):
    path = manifest(tmp_path, "trapping", {"badservice": components.hostile()["start-traps"]})
    outcome = lattice.run("apply", "-f", str(path), "--wait", "--timeout", "30s")
    assert outcome.status == 1
    assert "unreachable" in outcome.err
    assert "unreachable" in lattice.ok("logs", "trapping").out
    lattice.ok("delete", "trapping")


def test_calls_that_cannot_work_say_why(lattice, tmp_path):
    lattice.ok("apply", "-f", str(manifest(tmp_path, "math", {"add": components.add()})), "--wait")
    for words, status, expected in (
        (("math", "subtract", "1"), 6, "subtract"),
        (("nowhere", "add", "1", "2"), 6, "nowhere"),
        (("math", "add", "1"), 1, "argument"),
        (("math", "add", '"x"', "2"), 1, "u32"),
        (("math", "add", "{", "2"), 1, "expected an integer"),
    ):
        outcome = lattice.run("call", *words)
        assert outcome.status == status, (words, outcome)
        assert expected in outcome.err
    assert lattice.ok("call", "math", "add", "40", "2").out.strip() == "42"


def test_a_tampered_digest_is_refused(lattice, tmp_path):
    path = tmp_path / "m.json"
    image = "sha256:" + "0" * 64
    path.write_text(json.dumps({"lattice": "v1", "name": "ghost",
                                "components": [{"name": "a", "image": image}]}))  # fmt: skip
    outcome = lattice.run("apply", "-f", str(path))
    assert outcome.status != 0
    assert image[:20] in outcome.err


def test_a_second_lattice_up_in_the_same_directory_is_refused(lattice):
    directory = lattice.facts["directory"]
    outcome = lattice.run("up", "--dir", directory)
    assert outcome.status == 1
    assert "belongs to the running process" in outcome.err
    assert lattice.ok("get", "hosts", "--output", "json").json


def test_without_a_lattice_each_verb_says_how_to_start_one(cli):
    for words in (("get", "hosts"), ("call", "a", "b"), ("events",)):
        outcome = cli.run(*words, "--nats", "nats://127.0.0.1:1")
        assert outcome.status == 3
        assert "lattice up" in outcome.err


def test_wrong_and_missing_credentials_are_refused_clearly(lattice, cli, tmp_path):
    cli.ok("auth", "key", str(tmp_path / "stranger.nk"))
    stranger = cli.run(
        "get", "hosts", "--nats", lattice.facts["nats"], "--nkey", str(tmp_path / "stranger.nk")
    )
    assert stranger.status == 4, stranger
    nobody = cli.run("get", "hosts", "--nats", lattice.facts["nats"])
    assert nobody.status == 4, nobody
    lost = cli.run("get", "hosts", "--nats", lattice.facts["nats"], "--nkey", "no-such-file")
    assert lost.status in (1, 4)
    assert "no-such-file" in lost.err


def test_two_hosts_with_one_key_do_not_share_it(lattice):
    directory = Path(lattice.facts["directory"]) / "hosts" / "host-1"
    seed = next(directory.glob("*.nk"))
    words = ("host", "--name", "twin", "--dir", str(lattice.home / "twin"), "--nkey", str(seed))
    outcome = lattice.run(*words, timeout_s=30)
    assert outcome.status == 1
    assert "one key" in outcome.err
    hosts = lattice.ok("get", "hosts", "--output", "json").json["hosts"]
    assert {host["state"] for host in hosts} == {"ready"}


def test_doctor_finds_nothing_wrong(lattice):
    outcome = lattice.run("doctor", "--output", "json")
    checks = outcome.json
    rows = checks["checks"] if isinstance(checks, dict) else checks
    assert not [c for c in rows if c["result"] == "fail"]
