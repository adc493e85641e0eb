"""What each verb asks of the lattice, what it shows, and how it ends."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from lattice.cli import exits
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    DeniedError,
    GuestTrapError,
    InternalError,
    InvalidError,
    LatticeError,
    NoRouteError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
)
from lattice.wire import codec, events
from lattice.wire.messages import CallReply, Event, Leg
from tests.guests import components
from tests.unit.cli.scripted import record

HOSTS = {
    "hosts": [
        {
            "id": "UAAAAAAAAAAAAAAA", "name": "one", "state": "ready", "replicas": 2,
            "labels": {"zone": "eu", "lattice.arch": "x86_64"},
            "free": {"cpu_milli": 1500, "memory_bytes": 512 * 1024**2, "slots": 998},
            "last_seen_s": 0.42,
        }
    ]
}  # fmt: skip


def raising(error: LatticeError):
    def answer(_):
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidError("x"), exits.FAILED),
        (ConflictError("x"), exits.FAILED),
        (GuestTrapError("x"), exits.FAILED),
        (UnavailableError("x"), exits.UNREACHABLE),
        (NoRouteError("x"), exits.UNREACHABLE),
        (DeniedError("x"), exits.DENIED),
        (DeadlineExceededError("x"), exits.LATE),
        (OutcomeUnknownError("x"), exits.LATE),
        (NotFoundError("x"), exits.NOT_FOUND),
        (InternalError("x"), exits.INTERNAL),
    ],
)
def test_each_error_has_its_exit_status(shell, error, status):
    shell.answers["api.list"] = raising(error)
    ran = shell("get", "deployments")
    assert (ran.status, ran.out) == (status, "")
    assert ran.err == "error: x\n"


def test_program_gets_the_error_as_the_map_of_the_protocol(shell):
    shell.answers["api.list"] = raising(DeniedError("needs operator", subject="api.list"))
    ran = shell("get", "deployments", "--output", "json")
    assert json.loads(ran.err) == {
        "err": {
            "kind": "denied", "message": "needs operator", "retryable": False,
            "details": {"subject": "api.list"},
        }
    }  # fmt: skip


def test_get_hosts_shows_whole_lines_when_piped(shell):
    shell.answers["lead.hosts"] = HOSTS
    ran = shell("get", "hosts")
    head, line = ran.out.splitlines()
    assert head.split() == [
        "NAME", "STATE", "REPLICAS", "LABELS", "FREE", "CPU", "FREE", "MEMORY", "MACHINE",
        "SEEN", "ID",
    ]  # fmt: skip
    assert line.split() == [
        "one", "ready", "2", "zone=eu", "1.5", "512", "MiB", "-", "0.4s", "ago",
        "UAAAAAAAAAAAAAAA",
    ]  # fmt: skip
    assert "\x1b" not in ran.out


def test_get_shows_where_requests_over_http_go_when_any_do(shell):
    host = HOSTS["hosts"][0] | {"http": ["http://127.0.0.1:8000"]}
    shell.answers["lead.hosts"] = {"hosts": [host]}
    head, line = shell("get", "hosts").out.splitlines()
    assert "HTTP" in head
    assert "http://127.0.0.1:8000" in line
    web = {"name": "web", "http": ["docs.example.com/search"]}
    shell.answers["api.list"] = {"deployments": [web, {"name": "other"}]}
    head, other, line = shell("get", "deployments").out.splitlines()
    assert head.split()[3] == "HTTP"
    assert other.split()[3] == "-"
    assert line.split()[3] == "docs.example.com/search"


def test_describe_tells_where_a_deployment_answers(shell):
    stored = record()
    stored["record"]["manifest"] |= {
        "http": [{"path": "/a"}, {"host": "docs.example.com", "path": "/users/{id}"}]
    }
    shell.answers["api.get"] = stored
    shell.answers["lead.status"] = {"name": "search", "generation": 3, "state": "ready"}
    shell.answers["lead.replicas"] = {"replicas": [], "unplaced": []}
    hosts = [HOSTS["hosts"][0] | {"http": ["http://127.0.0.1:8000", "https://127.0.0.1:8443"]}]
    shell.answers["lead.hosts"] = {"hosts": hosts * 2}
    ran = shell("describe", "search")
    told = [line.strip() for line in ran.out.splitlines()]
    at = told.index("answers at")
    assert told[at + 1 : at + 6] == [
        "http://127.0.0.1:8000/a",
        "https://127.0.0.1:8443/a",
        "http://docs.example.com:8000/users/{id}",
        "https://docs.example.com:8443/users/{id}",
        "manifest",
    ]


def test_get_hosts_without_hosts_says_how_to_start_one(shell):
    shell.answers["lead.hosts"] = {"hosts": []}
    ran = shell("get", "hosts")
    assert (ran.status, ran.out) == (0, "")
    assert "lattice host" in ran.err


def test_get_hosts_for_programs_has_all_fields(shell):
    shell.answers["lead.hosts"] = HOSTS
    [host] = json.loads(shell("get", "hosts", "-o", "json").out)["hosts"]
    assert host["labels"] == {"zone": "eu", "lattice.arch": "x86_64"}
    assert set(host) >= {"id", "name", "state", "capacity", "free", "boot", "version", "adopted"}


def test_get_replicas_shows_what_has_no_host_with_the_reasons(shell):
    shell.answers["lead.replicas"] = {
        "replicas": [
            {"replica": "search/3/UA/0.1", "deployment": "search", "generation": 3,
             "host": "UA", "host_name": "one", "state": "running", "calls": 7}
        ],
        "unplaced": [
            {"deployment": "search", "generation": 3, "count": 2,
             "reasons": ["one: label zone=us, needs eu"]}
        ],
    }  # fmt: skip
    ran = shell("get", "replicas", "search")
    assert "search/3/UA/0.1" in ran.out
    assert "one: label zone=us, needs eu" in ran.out
    assert "2 without a host" in ran.out
    [question] = shell.script.questions("lead.replicas")
    assert question["deployment"] == "search"


def test_a_reason_of_several_lines_stays_one_row_when_piped(shell):
    shell.answers["lead.replicas"] = {
        "replicas": [
            {"replica": "search/3/UA/0.1", "deployment": "search", "generation": 3,
             "host": "UA", "host_name": "one", "state": "failed",
             "reason": "trap\n  at f\r\n  at \x1bg"}
        ],
        "unplaced": [],
    }  # fmt: skip
    ran = shell("get", "replicas", "search")
    _, row = ran.out.splitlines()
    assert "trap | at f | at \N{REPLACEMENT CHARACTER}g" in row


# --- apply, diff, delete ----------------------------------------------------------------------


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "echo.wasm").write_bytes(components.echo())
    path = tmp_path / "search.yaml"
    path.write_text(
        "lattice: v1\nname: search\ncomponents:\n  - {name: echo, image: ./echo.wasm}\n"
    )
    return path


def put(question):
    name = question["manifest"]["name"]
    return {"name": name, "generation": 1, "revision": 5, "changed": True, "warnings": []}


def test_apply_tells_what_was_submitted(shell, manifest):
    shell.answers["api.put"] = put
    ran = shell("apply", "-f", str(manifest))
    assert (ran.status, ran.out, ran.err) == (0, "search: generation 1 submitted\n", "")


def test_apply_wait_ends_with_the_hosts_own_error_text(shell, manifest):
    shell.answers["api.put"] = put
    shell.answers["lead.status"] = {
        "name": "search", "generation": 1, "wanted": 1, "state": "failed", "failed": 1,
        "reasons": ["one: files: corpus is empty"],
    }  # fmt: skip
    ran = shell("apply", "-f", str(manifest), "--wait")
    assert ran.status == exits.FAILED
    assert ran.err == (
        "error: deployment 'search' generation 1 failed\n  one: files: corpus is empty\n"
    )


def test_apply_wait_that_lasts_too_long_ends_late(shell, manifest):
    shell.answers["api.put"] = put
    shell.answers["lead.status"] = {"name": "search", "generation": 1, "state": "progressing"}
    ran = shell("apply", "-f", str(manifest), "--wait", "--timeout", "100ms")
    assert ran.status == exits.LATE
    assert "is not ready after 0.1 s" in ran.err


def test_apply_wait_for_programs_has_the_status(shell, manifest):
    shell.answers["api.put"] = put
    shell.answers["lead.status"] = {
        "name": "search", "generation": 1, "wanted": 1, "running": 1, "state": "ready",
    }  # fmt: skip
    ran = shell("apply", "-f", str(manifest), "--wait", "--output", "json")
    [applied] = json.loads(ran.out)["applied"]
    assert (applied["name"], applied["status"]["state"]) == ("search", "ready")


def test_apply_of_a_wrong_manifest_names_line_and_field(shell, manifest):
    manifest.write_text(manifest.read_text() + "replica: 3\n")
    ran = shell("apply", "-f", str(manifest))
    assert ran.status == exits.FAILED
    assert f"{manifest}:5" in ran.err
    assert "replicas" in ran.err


def test_diff_shows_changes_and_can_end_with_a_status(shell, manifest):
    shell.answers["api.get"] = record()
    ran = shell("diff", "-f", str(manifest), "--exit-code")
    assert ran.status == exits.FAILED
    assert "  - replicas: 2" in ran.out.splitlines()
    assert any(line.startswith("  + components: ") for line in ran.out.splitlines())


def test_delete_tells_of_each_and_stops_at_the_first_fault(shell):
    def answer(question):
        if question["name"] == "b":
            raise NotFoundError("there is no deployment b")
        return {"name": question["name"], "revision": 3}

    shell.answers["api.delete"] = answer
    ran = shell("delete", "a", "b", "c")
    assert (ran.status, ran.out) == (exits.NOT_FOUND, "a: deleted\n")
    assert len(shell.script.questions("api.delete")) == 2


# --- call -------------------------------------------------------------------------------------


@pytest.fixture
def calls(shell):
    """A deployment `search` whose `search` replies what the test puts under `reply`."""
    shell.answers["api.get"] = record(docs__search_query={"search": "f1"})
    [interface] = record(docs__search_query={"search": "f1"})["record"]["exposed"]
    seen = {"args": None, "reply": CallReply(ok=[["hit"]], host="UA", generation=3)}

    async def answer(packet):
        seen["args"] = codec.decode(packet.body, as_json=True)["args"]
        return codec.encode(seen["reply"], as_json=True)

    @asynccontextmanager
    async def prepare(script):
        subject = script.names.call("search", interface, "search")
        async with script.connection.bus.serve(subject, answer):
            yield

    shell.prepare = prepare
    return seen


def test_call_takes_json_and_plain_words(shell, calls, tmp_path):
    (tmp_path / "blob").write_bytes(b"\0\1")
    ran = shell(
        "call", "search", "search", "event loop", "5", "-7", "null", '{"a-b": [1]}', '"5"',
        f"@{tmp_path / 'blob'}",
    )  # fmt: skip
    assert ran.status == 0
    assert calls["args"] == [
        "event loop", 5, -7, None, {"a-b": [1]}, "5", {"base64": "AAE="},
    ]  # fmt: skip


def test_call_prints_a_string_bare_and_other_values_as_json(shell, calls):
    assert json.loads(shell("call", "search", "search").out) == ["hit"]
    calls["reply"] = CallReply(ok=["two\nlines"], host="UA")
    assert shell("call", "search", "search").out == "two\nlines\n"
    assert shell("call", "search", "search", "-o", "json").out == '"two\\nlines"\n'
    calls["reply"] = CallReply(ok=[], host="UA")
    assert shell("call", "search", "search").out == ""


def test_call_detail_shows_the_routes(shell, calls):
    leg = Leg(deployment="dict", op="d:d/d#look", route="local", host="UA", took_us=1500)
    calls["reply"] = CallReply(ok=["hit"], host="UA", legs=[leg])
    lines = shell("call", "search", "search", "--detail").out.splitlines()
    assert lines[0] == "hit"
    assert lines[-2].split()[:3] == ["search", "docs:search_query#search", "remote"]
    assert lines[-1].split() == ["dict", "d:d/d#look", "local", "1.5", "ms", "UA"]


def test_call_with_an_unreadable_file_sends_nothing(shell, calls):
    ran = shell("call", "search", "search", "@/nowhere/at/all")
    assert ran.status == exits.FAILED
    assert calls["args"] is None


def test_call_without_a_ready_replica_ends_unreachable(shell):
    shell.answers["api.get"] = record(docs__search={"search": "f1"})
    ran = shell("call", "search", "search", "--deadline", "100ms")
    assert ran.status == exits.UNREACHABLE
    assert "lattice describe search" in ran.err


# --- describe, events, logs, label ------------------------------------------------------------


def test_describe_without_a_leader_shows_what_is_stored(shell):
    shell.answers["api.get"] = record(docs__search={"search": "f1"})
    shell.answers["lead.status"] = raising(NoRouteError("nobody leads"))
    ran = shell("describe", "search")
    assert ran.status == 0
    assert "unknown: no scheduler leads now" in ran.out
    assert "docs:search#search" in ran.out


def event(number, kind):
    return Event(
        id=f"e{number}", kind=kind, source="/lattice/test/host/UA", entity="UA",
        time_s=1000.0 + number, data={"number": number, "reason": "\x1b[31mred"},
    )  # fmt: skip


@pytest.fixture
def recorded(shell):
    @asynccontextmanager
    async def prepare(script):
        for number, kind in enumerate(["host-joined", "host-lost"]):
            subject, body, headers = events.to_packet(event(number, kind), script.names)
            await script.connection.events.append(subject, body, headers=headers)
        yield

    shell.prepare = prepare


@pytest.mark.usefixtures("recorded")
def test_events_for_programs_are_one_object_a_line(shell):
    lines = shell("events", "--output", "json").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["host-joined", "host-lost"]


@pytest.mark.usefixtures("recorded")
def test_events_for_people_hold_no_control_characters(shell):
    ran = shell("events", "--kind", "host-lost")
    [line] = ran.out.splitlines()
    assert "host-lost" in line
    assert "\x1b" not in line


@pytest.mark.usefixtures("recorded")
def test_events_of_the_last_minute_leave_out_none_just_recorded(shell):
    assert len(shell("events", "--since", "1m").out.splitlines()) == 2
    assert shell("events", "--since", "2999-01-01T00:00:00").out == ""


def test_logs_of_a_host_are_asked_of_that_host(shell):
    shell.hosts = ("UAAAAAAAAAAAAAAA",)
    shell.answers |= {
        "api.get": raising(NotFoundError("there is no deployment one")),
        "lead.hosts": HOSTS,
        "ctl.UAAAAAAAAAAAAAAA.logs": {
            "lines": [{"time_s": 1.0, "level": "info", "deployment": "", "line": "joined"}]
        },
    }
    ran = shell("logs", "one", "-n", "3")
    assert ran.out.split()[-3:] == ["one", "info", "joined"]
    assert shell.script.questions("ctl.UAAAAAAAAAAAAAAA.logs") == [{"deployment": None, "lines": 3}]


def test_logs_of_nothing_known_names_both_readings(shell):
    shell.answers |= {"api.get": raising(NotFoundError("no")), "lead.hosts": HOSTS}
    ran = shell("logs", "nobody")
    assert ran.status == exits.NOT_FOUND
    assert ran.err == "error: no deployment 'nobody' and no host 'nobody'; the lattice has: one\n"


def test_label_host_sets_and_removes(shell):
    shell.hosts = ("UAAAAAAAAAAAAAAA",)
    shell.answers |= {
        "lead.hosts": HOSTS,
        "ctl.UAAAAAAAAAAAAAAA.labels": {"labels": {"zone": "us"}},
    }
    ran = shell("label", "host", "one", "zone=us", "disk-")
    assert (ran.status, ran.out) == (0, "one: zone=us\n")
    assert shell.script.questions("ctl.UAAAAAAAAAAAAAAA.labels") == [
        {"set": {"zone": "us"}, "remove": ["disk"]}
    ]


@pytest.mark.parametrize(("route", "why"), [("local", "only a guest"), ("durable", "job submit")])
def test_call_refuses_routes_that_a_command_cannot_take(shell, route, why):
    ran = shell("call", "calc", "add", "1", "2", "--route", route)
    assert ran.status == exits.FAILED
    assert f"route {route}: " in ran.err
    assert why in ran.err
