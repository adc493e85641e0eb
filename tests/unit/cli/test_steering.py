"""What the verbs that steer deployments and hosts ask, what they show, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lattice.cli import exits
from lattice.cli.granting import Offer
from lattice.cli.tainting import taint_changes, taint_of, taint_word
from lattice.errors import ConflictError
from lattice.model.host import Taint
from tests.unit.cli.scripted import record

HOST = "UAAAAAAAAAAAAAAA"
ROW = {"id": HOST, "name": "one", "state": "ready", "replicas": 2}
DONE = {"name": "app", "generation": 2, "revision": 17, "changed": True, "warnings": []}
READY = {
    "name": "app",
    "generation": 2,
    "revision": 17,
    "wanted": 3,
    "running": 3,
    "state": "ready",
}


def test_history_lists_generations_with_the_beginning_of_each_image(shell):
    shell.answers["api.history"] = {
        "name": "app", "revision": 17, "reverted": 3, "reason": "slow",
        "generations": [
            {"generation": 3, "submitted_by": "ann", "images": {"web": f"sha256:{'ab' * 32}"}},
            {"generation": 2, "submitted_by": "bob", "current": True, "good": True},
        ],
    }  # fmt: skip
    ran = shell("history", "app")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["GENERATION", "STATE", "SUBMITTED", "BY", "IMAGES"],
        ["3", "-", "ann", "web=abababababab"],
        ["2", "current,", "good", "bob", "-"],
        ["went", "back", "from", "generation", "3:", "slow"],
    ]
    plain = json.loads(shell("history", "app", "-o", "json").out)
    assert [each["generation"] for each in plain["generations"]] == [3, 2]


def test_rollback_asks_for_a_generation_or_the_one_before(shell):
    shell.answers["api.rollback"] = DONE
    assert shell("rollback", "app").out == "app: generation 2 desired again\n"
    shell("rollback", "app", "1", "--reason", "slow", "--expect", "9")
    question = shell.script.questions("api.rollback")[-1]
    assert (question["generation"], question["reason"], question["expect"]) == (1, "slow", 9)


def test_rollback_says_when_nothing_will_happen_before_it_is_resumed(shell):
    shell.answers["api.rollback"] = DONE | {"paused": True, "warnings": ["links: x"]}
    assert shell("rollback", "app").out.splitlines() == [
        "app: generation 2 desired again",
        "app: warning: links: x",
        "app: paused, `lattice resume app` carries it out",
    ]


def test_scale_waits_until_the_leader_has_seen_the_change(shell):
    shell.answers["api.scale"] = DONE
    states = iter([READY | {"revision": 16, "running": 1}, READY])
    shell.answers["lead.status"] = lambda _: next(states)
    ran = shell("scale", "app", "3", "--wait")
    assert ran.out.splitlines() == [
        "app: generation 2 wanted with 3 replicas",
        "app: ready, 3 of 3 replicas run",
    ]
    assert shell.script.questions("api.scale")[0]["replicas"] == 3


@pytest.mark.parametrize("state", ["paused", "failed", "crash-loop"])
def test_waiting_ends_when_it_cannot_get_any_better(shell, state):
    shell.answers["api.scale"] = DONE
    shell.answers["lead.status"] = READY | {"state": state, "reasons": ["one: trap"]}
    ran = shell("scale", "app", "3", "--wait")
    assert ran.status == exits.FAILED
    assert "resume" in ran.err if state == "paused" else "one: trap" in ran.err


def test_waiting_for_a_generation_that_was_reverted_ends_with_an_error(shell):
    shell.answers["api.resume"] = DONE
    reverted = READY | {"generation": 1, "reverted": 2, "reasons": ["generation 2: no progress"]}
    shell.answers["lead.status"] = reverted
    ran = shell("resume", "app", "--wait")
    assert ran.status == exits.FAILED
    assert "generation 2 did not do well, generation 1 is desired again" in ran.err
    assert "no progress" in ran.err


def test_pause_and_resume_tell_what_holds(shell):
    shell.answers["api.pause"] = DONE | {"paused": True}
    shell.answers["api.resume"] = DONE
    assert shell("pause", "app").out == "app: generation 2 paused\n"
    assert shell("resume", "app").out == "app: generation 2 resumed\n"
    assert json.loads(shell("pause", "app", "-o", "json").out)["paused"] is True


@pytest.mark.parametrize(
    "words", [("scale", "app", "-1"), ("scale", "app", "x"), ("rollback", "app", "0")]
)
def test_numbers_that_make_no_sense_are_wrong_usage(shell, words):
    assert shell(*words).status == exits.USAGE


def test_a_refused_change_ends_with_its_message(shell):
    def refuse(_):
        raise ConflictError("`daemon` of its manifest decides")

    shell.answers["api.scale"] = refuse
    ran = shell("scale", "app", "2")
    assert (ran.status, ran.err) == (exits.FAILED, "error: `daemon` of its manifest decides\n")


@pytest.mark.parametrize(
    ("verb", "answer", "shown"),
    [
        ("cordon", {"cordoned": True}, "one: cordoned"),
        ("uncordon", {"taints": [{"key": "gpu"}]}, "one: takes replicas, taints gpu"),
        ("drain", {"cordoned": True, "draining": True}, "one: draining"),
    ],
)
def test_a_host_is_asked_by_its_name_and_tells_what_holds(shell, verb, answer, shown):
    shell.hosts = (HOST,)
    shell.answers |= {"lead.hosts": {"hosts": [ROW]}, f"ctl.{HOST}.{verb}": answer}
    assert shell(verb, "one").out == f"{shown}\n"
    plain = json.loads(shell(verb, "one", "--output", "json").out)
    assert (plain["host"], plain["cordoned"]) == ("one", answer.get("cordoned", False))


def test_drain_waits_until_the_host_is_empty(shell):
    shell.hosts = (HOST,)
    counts = iter([2, 2, 1, 0])
    shell.answers |= {
        "lead.hosts": lambda _: {"hosts": [ROW | {"replicas": next(counts)}]},
        f"ctl.{HOST}.drain": {"cordoned": True, "draining": True},
    }
    assert shell("drain", "one", "--wait").out.splitlines() == [
        "one: draining",
        "one: 2 replicas left",
        "one: 1 replica left",
        "one: empty",
    ]


def test_drain_with_stop_ends_the_host_only_when_it_is_empty(shell):
    shell.hosts = (HOST,)
    counts = iter([1, 1, 0])
    shell.answers |= {
        "lead.hosts": lambda _: {"hosts": [ROW | {"replicas": next(counts)}]},
        f"ctl.{HOST}.drain": {"cordoned": True, "draining": True},
        f"ctl.{HOST}.stop": {},
    }
    assert shell("drain", "one", "--stop").out.splitlines()[-2:] == ["one: empty", "one: stops"]
    assert [verb for verb, _ in shell.script.asked][-2:] == ["lead.hosts", f"ctl.{HOST}.stop"]


def test_drain_that_does_not_end_in_time_says_how_many_are_left(shell):
    shell.hosts = (HOST,)
    shell.answers |= {
        "lead.hosts": {"hosts": [ROW]},
        f"ctl.{HOST}.drain": {"cordoned": True, "draining": True},
    }
    ran = shell("drain", "one", "--wait", "--timeout", "100ms")
    assert ran.status == exits.LATE
    assert f"2 replicas are left on host {HOST} after 0.1 s" in ran.err


def test_taint_sets_and_removes(shell):
    shell.hosts = (HOST,)
    left = [{"key": "repair", "evicts": True}, {"key": "team", "value": "search"}]
    shell.answers |= {"lead.hosts": {"hosts": [ROW]}, f"ctl.{HOST}.taint": {"taints": left}}
    ran = shell("taint", "one", "repair:evict", "team=search", "gpu-")
    assert ran.out == "one: takes replicas, taints repair:evict, team=search\n"
    (question,) = shell.script.questions(f"ctl.{HOST}.taint")
    assert question == {
        "set": [
            {"key": "repair", "value": "", "evicts": True},
            {"key": "team", "value": "search", "evicts": False},
        ],
        "remove": ["gpu"],
    }


@pytest.mark.parametrize("word", ["a b", "lattice.x", "lattice/x=1", "=x", "a b-"])
def test_words_that_are_no_taints_are_wrong_usage(shell, word):
    assert shell("taint", "one", word).status == exits.USAGE


def test_a_taint_is_written_as_it_is_read():
    for word in ("gpu", "team=search", "team=a:b", "repair:evict", "team=x=y:evict"):
        assert taint_word(taint_of(word)) == word
    assert taint_changes(["gpu-", "a=b-"]) == ([Taint(key="a", value="b-")], ["gpu"])


def test_workers_get_the_taints_of_their_machine(tmp_path: Path):
    offer = Offer(taint=["gpu", "team=x:evict"])
    assert offer.taints() == (Taint(key="gpu"), Taint(key="team", value="x", evicts=True))
    assert offer.words() == ["--taint=gpu", "--taint=team=x:evict"]


def test_lists_tell_what_decides_how_many_and_which_hosts_are_tainted(shell):
    each = [{"name": "a", "replicas": 3, "paused": True}, {"name": "b", "mode": "daemon"}]
    shell.answers["api.list"] = {"deployments": each}
    _, first, second = shell("get", "deployments").out.splitlines()
    assert first.split()[:4] == ["a", "0", "3,", "paused"]
    assert second.split()[:3] == ["b", "0", "daemon"]
    tainted = ROW | {"state": "draining", "taints": [{"key": "gpu", "evicts": True}]}
    shell.answers["lead.hosts"] = {"hosts": [tainted]}
    head, row = shell("get", "hosts").out.splitlines()
    assert "TAINTS" in head
    assert "gpu:evict" in row


def test_describe_tells_of_a_pause_and_of_the_way_back(shell):
    stored = record()
    stored["record"] |= {"is_paused": True, "reverted": 4, "reason": "slow"}
    shell.answers |= {
        "api.get": stored,
        "lead.status": READY,
        "lead.replicas": {"replicas": [], "unplaced": []},
    }
    out = shell("describe", "search").out
    assert "paused       until `lattice resume search`" in out
    assert "went back    from generation 4: slow" in out
