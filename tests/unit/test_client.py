"""The Python client against a lattice that answers by script over the memory bus."""

from __future__ import annotations

import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from lattice.bus.base import Packet
from lattice.bus.memory import memory_connection
from lattice.client import LatticeClient, Upload, asking, calling, deploying
from lattice.client.differences import Difference, differences
from lattice.client.functions import Operation, choose
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
    NoRouteError,
    NotFoundError,
)
from lattice.wire import codec, events
from lattice.wire.large import LARGE_BYTES_MAX
from lattice.wire.messages import CallReply, Event, Invocation, Leg
from tests.guests import components
from tests.unit.cli.scripted import Script, record, scripted

EXPOSED = {
    "docs:search/query@0.1.0": {"search": "f1", "ping": "f2"},
    "docs:search/admin@0.1.0": {"ping": "f3"},
    "": {"version": "f4"},
}
QUERY = record(docs__search={"unused": ""}) | {"record": record()["record"] | {"exposed": EXPOSED}}


class Callee:
    """A ready replica: keeps the invocations that reach it and replies in turn, last for ever."""

    def __init__(self, script, *replies, interface="docs:search/query@0.1.0", function="search"):
        self.subject = script.names.call("search", interface, function)
        self.bus = script.connection.bus
        self.replies = list(replies)
        self.calls: list[Invocation] = []

    async def answer(self, packet: Packet) -> bytes:
        as_json = codec.is_json(packet.headers)
        self.calls.append(codec.decode_as(Invocation, packet.body, as_json=as_json))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return codec.encode(reply, as_json=as_json)

    def serving(self):
        return self.bus.serve(self.subject, self.answer)


@asynccontextmanager
async def client(answers=None, *, hosts=(), timeout_s=5.0):
    async with scripted(answers, hosts=hosts) as script:
        yield script, LatticeClient(script.connection, client_id="tester", timeout_s=timeout_s)


# --- names of functions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "interface"),
    [
        ("search", "docs:search/query@0.1.0"),
        ("query#search", "docs:search/query@0.1.0"),
        ("query@0.1.0#search", "docs:search/query@0.1.0"),
        ("docs:search/query#search", "docs:search/query@0.1.0"),
        ("docs:search/query@0.1.7#search", "docs:search/query@0.1.0"),
        ("version", ""),
        ("#version", ""),
        ("admin#ping", "docs:search/admin@0.1.0"),
    ],
)
def test_function_is_found_by_each_way_to_write_it(wanted, interface):
    assert choose("search", EXPOSED, wanted).interface == interface


def test_ambiguous_function_lists_the_candidates():
    with pytest.raises(InvalidError) as caught:
        choose("search", EXPOSED, "ping")
    assert caught.value.faults == ("docs:search/admin@0.1.0#ping", "docs:search/query@0.1.0#ping")


@pytest.mark.parametrize("wanted", ["serch", "other#search", "docs:search/query@0.2.0#search"])
def test_unknown_function_names_what_there_is_nearest_first(wanted):
    with pytest.raises(NotFoundError, match=r"exposes docs:search/query@0\.1\.0#search,"):
        choose("search", EXPOSED, wanted)


def test_operation_at_the_root_has_an_op_that_begins_with_the_hash():
    assert Operation("", "version").op == "#version"
    assert str(Operation("", "version")) == "version"


# --- lists ------------------------------------------------------------------------------------


async def test_list_of_several_pages_is_read_to_its_end():
    def page(question):
        names = [name for name in ("a", "b", "c") if name > question["after"]]
        answer = {"deployments": [{"name": name} for name in names[:2]]}
        return answer | ({"next": names[1]} if len(names) > 2 else {})

    async with client({"api.list": page}) as (_, lattice):
        assert [found.name for found in await lattice.deployments()] == ["a", "b", "c"]


async def test_list_that_never_ends_is_refused(monkeypatch):
    monkeypatch.setattr(asking, "PAGES_MAX", 3)
    async with client({"lead.hosts": {"hosts": [], "next": "x"}}) as (script, lattice):
        with pytest.raises(DecodeError, match="more than 3 pages"):
            await lattice.hosts()
    assert len(script.asked) == 3


# --- calls ------------------------------------------------------------------------------------


async def test_call_returns_the_plain_value_and_sends_the_type_with_the_arguments():
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, CallReply(ok=[["a", "b"]], host="UA", generation=3))
        async with callee.serving():
            assert await lattice.call("search", "search", ["event loop", 5]) == ["a", "b"]
    sent = callee.calls[0]
    assert (sent.op, sent.args, sent.type, sent.caller, sent.attempt) == (
        "docs:search/query@0.1.0#search", ["event loop", 5], "f1", "tester", 1,
    )  # fmt: skip
    assert 20_000 < sent.deadline_ms < 30_000


async def test_call_of_a_function_without_result_returns_none():
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, CallReply(ok=[], host="UA"))
        async with callee.serving():
            assert await lattice.call("search", "search") is None


async def test_detail_tells_host_route_and_legs():
    leg = Leg(deployment="dict", op="d:d/d#look", route="local", host="UA", took_us=7)
    async with client({"api.get": QUERY}) as (script, lattice):
        reply = CallReply(ok=[1], host="UA", generation=3, legs=[leg])
        async with Callee(script, reply).serving():
            result = await lattice.call("search", "search", detail=True)
    assert (result.value, result.host, result.route, result.generation, result.legs) == (
        1, "UA", "remote", 3, (leg,),
    )  # fmt: skip
    assert result.took_s > 0


async def test_functions_of_a_deployment_are_looked_up_once():
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, CallReply(ok=[1], host="UA"))
        async with callee.serving():
            await lattice.call("search", "search")
            await lattice.call("search", "query#search")
    assert len(script.questions("api.get")) == 1


async def test_function_that_came_with_a_later_generation_is_looked_up_again():
    answers = {"api.get": record()}
    async with client(answers) as (script, lattice):
        with pytest.raises(NotFoundError, match="it exposes none"):
            await lattice.call("search", "search")
        script.answers["api.get"] = QUERY
        async with Callee(script, CallReply(ok=[1], host="UA")).serving():
            assert await lattice.call("search", "search") == 1


async def test_call_refused_for_an_outdated_type_is_repeated_once_with_the_new_one():
    newer = {"docs:search/query@0.1.0": {"search": "f9"}}
    async with client({"api.get": QUERY}) as (script, lattice):
        refusal = CallReply(err=IncompatibleError("type").to_wire(), host="UA")
        callee = Callee(script, CallReply(ok=[1], host="UA"), refusal, CallReply(ok=[2], host="UA"))
        async with callee.serving():
            await lattice.call("search", "search")
            script.answers["api.get"] = {
                "record": record()["record"] | {"exposed": newer}, "revision": 18,
            }  # fmt: skip
            assert await lattice.call("search", "search") == 2
    assert [sent.type for sent in callee.calls] == ["f1", "f1", "f9"]


async def test_call_refused_for_a_type_that_is_current_is_not_repeated():
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, CallReply(err=IncompatibleError("type").to_wire(), host="UA"))
        async with callee.serving():
            with pytest.raises(IncompatibleError):
                await lattice.call("search", "search")
    assert len(callee.calls) == 1


async def test_call_without_a_ready_replica_fails_as_no_route_at_the_deadline():
    async with client({"api.get": QUERY}) as (_, lattice):
        with pytest.raises(NoRouteError, match="no replica of deployment 'search' is ready"):
            await lattice.call("search", "search", deadline_s=0.2)


async def test_call_that_a_host_could_not_take_is_repeated_until_one_can():
    busy = CallReply(err=NoRouteError("no replica is ready on this host now").to_wire())
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, busy, CallReply(ok=[1], host="UA"))
        async with callee.serving():
            result = await lattice.call("search", "search", detail=True)
    assert (result.value, result.attempts) == (1, 2)
    assert [sent.attempt for sent in callee.calls] == [1, 2]
    assert len({sent.id for sent in callee.calls}) == 1


async def test_callee_that_finds_no_route_itself_is_not_called_again():
    inner = CallReply(err=NoRouteError("nobody exports dict").to_wire(), host="UA")
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, inner)
        async with callee.serving():
            with pytest.raises(NoRouteError, match="nobody exports dict"):
                await lattice.call("search", "search")
    assert len(callee.calls) == 1


async def test_look_up_that_a_dead_scheduler_took_is_repeated(monkeypatch):
    monkeypatch.setattr(calling, "LOOKUP_S", 0.05)
    script = Script(connection=memory_connection("test"))
    lattice = LatticeClient(script.connection)
    looks = []
    is_over = anyio.Event()

    async def answer_all_but_the_first(packet):
        looks.append(packet)
        if len(looks) == 1:
            await is_over.wait()
        return codec.encode({"ok": QUERY})

    callee = Callee(script, CallReply(ok=[1], host="UA"))
    bus = script.connection.bus
    async with callee.serving(), bus.serve(script.names.api("get"), answer_all_but_the_first):
        assert await lattice.call("search", "search", deadline_s=4) == 1
        is_over.set()
    assert len(looks) == 2


async def test_call_whose_look_up_nobody_answers_ends_at_the_deadline():
    script = Script(connection=memory_connection("test"))
    lattice = LatticeClient(script.connection)
    async with script.connection.bus.subscribe(script.names.api("get")):
        with pytest.raises(DeadlineExceededError, match="nothing was run"):
            await lattice.call("search", "search", deadline_s=0.1)


async def test_call_without_an_answer_ends_at_the_deadline_and_is_not_repeated():
    async with client({"api.get": QUERY}) as (script, lattice):
        subject = script.names.call("search", "docs:search/query@0.1.0", "search")
        async with script.connection.bus.subscribe(subject) as calls:
            with pytest.raises(DeadlineExceededError, match="whether it took effect is unknown"):
                await lattice.call("search", "search", deadline_s=0.1)
            assert (await anext(aiter(calls))).subject == subject
            # Nothing else was sent: the next one to arrive is the one published here.
            await script.connection.bus.publish(subject, b"later")
            assert (await anext(aiter(calls))).body == b"later"


async def test_errors_of_the_host_arrive_typed_with_details():
    trap = GuestTrapError("unreachable\n  at search", instance=4)
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, CallReply(err=trap.to_wire(), host="UA"))
        async with callee.serving():
            with pytest.raises(GuestTrapError, match="unreachable") as caught:
                await lattice.call("search", "search")
    assert caught.value.details == {"instance": 4}


async def test_json_call_asks_the_host_to_convert():
    async with client({"api.get": QUERY}) as (script, lattice):
        callee = Callee(script, CallReply(ok=[{"base64": "AAE="}], host="UA"))
        async with callee.serving():
            value = await lattice.call("search", "search", [{"base64": "AA=="}], as_json=True)
    assert value == {"base64": "AAE="}
    assert callee.calls[0].args == [{"base64": "AA=="}]


async def test_arguments_that_fit_in_no_call_are_refused_before_sending():
    async with client({"api.get": QUERY}) as (_, lattice):
        with pytest.raises(InvalidError, match=f"at most {LARGE_BYTES_MAX} fit"):
            await lattice.call("search", "search", [b"x" * LARGE_BYTES_MAX])


# --- deployments ------------------------------------------------------------------------------


def manifest(folder, image="./echo.wasm", body=None, **fields):
    (folder / "echo.wasm").write_bytes(components.echo() if body is None else body)
    document = {"name": "search", "components": [{"name": "echo", "image": image}], **fields}
    path = folder / "search.json"
    path.write_text(json.dumps({"lattice": "v1", **document}))
    return path


def put(question):
    return {"name": question["manifest"]["name"], "generation": 1, "revision": 5, "changed": True}


async def test_apply_uploads_by_digest_and_submits_the_digest(tmp_path):
    steps: list[Upload] = []
    async with client({"api.put": put}) as (script, lattice):
        [applied] = await lattice.apply(manifest(tmp_path), progress=steps.append)
        digest = "sha256:" + hashlib.sha256(components.echo()).hexdigest()
        assert await script.connection.artifacts.get(digest) == components.echo()
    assert (applied.name, applied.generation, applied.changed) == ("search", 1, True)
    [question] = script.questions("api.put")
    assert question["manifest"]["components"][0]["image"] == digest
    assert question["submitted_by"] == "tester"
    assert steps[-1].sent_bytes == steps[-1].all_bytes == len(components.echo())


async def test_apply_lists_every_missing_file_and_submits_nothing(tmp_path):
    document = {
        "lattice": "v1",
        "name": "search",
        "components": [
            {"name": "a", "image": str(tmp_path / "a.wasm")},
            {"name": "b", "image": str(tmp_path / "b.wasm")},
        ],
    }
    async with client({"api.put": put}) as (script, lattice):
        with pytest.raises(InvalidError) as caught:
            await lattice.apply(document)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["a", "b"]
    assert not script.asked


async def test_apply_refuses_a_file_that_is_no_component(tmp_path):
    async with client({"api.put": put}) as (script, lattice):
        with pytest.raises(InvalidError, match=r"echo: \./echo\.wasm"):
            await lattice.apply(manifest(tmp_path, body=b"not wasm at all"))
    assert not script.asked


async def test_apply_tells_of_a_manifest_that_is_not_there(tmp_path):
    async with client() as (_, lattice):
        with pytest.raises(InvalidError, match="no such file"):
            await lattice.apply(tmp_path / "none.yaml")


def status(**changes):
    return {
        "name": "search", "generation": 1, "wanted": 2, "placed": 2, "running": 0, "failed": 0,
        "unplaced": 0, "state": "progressing", "reasons": [],
    } | changes  # fmt: skip


async def test_apply_waits_until_the_new_generation_is_ready(tmp_path):
    states = [
        status(generation=0, state="ready"),
        status(running=1),
        status(running=2, state="ready"),
    ]
    seen = []
    answers = {"api.put": put, "lead.status": lambda _: states.pop(0)}
    async with client(answers) as (_, lattice):
        [applied] = await lattice.apply(manifest(tmp_path), wait=True, progress=seen.append)
    assert applied.status is not None
    assert applied.status.running == 2
    assert [s.running for s in seen if not isinstance(s, Upload)] == [0, 1, 2]


async def test_deployment_that_is_ready_soon_is_seen_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(deploying, "POLL_LONGEST_S", 60.0)
    states = [*(status(running=number) for number in range(5)), status(running=5, state="ready")]
    answers = {"api.put": put, "lead.status": lambda _: states.pop(0)}
    async with client(answers) as (_, lattice):
        [applied] = await lattice.apply(manifest(tmp_path), wait=True, timeout_s=3)
    assert applied.status is not None


async def test_failed_deployment_ends_the_wait_with_the_hosts_own_text(tmp_path):
    failed = status(state="failed", failed=2, reasons=["host-1: start trapped: unreachable"])
    async with client({"api.put": put, "lead.status": failed}) as (_, lattice):
        with pytest.raises(InvalidError) as caught:
            await lattice.apply(manifest(tmp_path), wait=True)
    assert caught.value.faults == ("host-1: start trapped: unreachable",)


async def test_deployment_that_is_not_ready_in_time_tells_what_is_missing(tmp_path):
    waiting = status(placed=1, running=1, unplaced=1, reasons=["host-1: label zone=us, needs eu"])
    async with client({"api.put": put, "lead.status": waiting}) as (_, lattice):
        with pytest.raises(DeadlineExceededError, match=r"1 of 2 replicas run, 1 unplaced\n.*eu"):
            await lattice.apply(manifest(tmp_path), wait=True, timeout_s=0.2)


async def test_wait_goes_on_while_the_leader_has_not_heard_of_the_deployment(tmp_path):
    def answer(_):
        if len(script.questions("lead.status")) < 3:
            raise NotFoundError("there is no deployment search")
        return status(running=2, state="ready")

    async with client({"api.put": put, "api.get": QUERY, "lead.status": answer}) as world:
        script, lattice = world
        [applied] = await lattice.apply(manifest(tmp_path), wait=True)
    assert applied.status is not None


async def test_wait_ends_when_the_deployment_was_deleted(tmp_path):
    def gone(_):
        raise NotFoundError("there is no deployment search")

    answers = {"api.put": put, "api.get": gone, "lead.status": gone}
    async with client(answers) as (_, lattice):
        with pytest.raises(NotFoundError):
            await lattice.apply(manifest(tmp_path), wait=True)


async def test_diff_of_an_unknown_deployment_adds_everything(tmp_path):
    async with client() as (script, lattice):
        found = await lattice.diff(manifest(tmp_path))
    assert all(difference.kind == "added" for difference in found["search"])
    assert not script.questions("api.put")


async def test_diff_of_what_stands_is_empty(tmp_path):
    path = manifest(tmp_path)
    async with client({"api.put": put}) as (script, lattice):
        await lattice.apply(path)
        stored = script.questions("api.put")[0]["manifest"]
        answer = record()
        script.answers["api.get"] = answer | {"record": answer["record"] | {"manifest": stored}}
        assert await lattice.diff(path) == {"search": ()}


def test_differences_match_list_items_by_name():
    before = {"components": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}], "x": 1}
    after = {"components": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]}
    assert differences(before, after) == (
        Difference(path="components[b].image", kind="changed", before="2", after="3"),
        Difference(path="components[c]", kind="added", after={"name": "c", "image": "4"}),
        Difference(path="components[a]", kind="removed", before={"name": "a", "image": "1"}),
        Difference(path="x", kind="removed", before=1),
    )


async def test_question_without_a_scheduler_says_how_to_start_one():
    async with client() as (script, _):
        lattice = LatticeClient(replace(script.connection, lattice="empty"), timeout_s=0.2)
        with pytest.raises(NoRouteError, match="`lattice scheduler`"):
            await lattice.deployments()
        with pytest.raises(NoRouteError, match="`lattice scheduler`"):
            await lattice.hosts()


async def test_refusal_of_the_scheduler_arrives_typed():
    def refuse(_):
        raise ConflictError("revision 7, expected 5", revision=7)

    async with client({"api.delete": refuse}) as (_, lattice):
        with pytest.raises(ConflictError) as caught:
            await lattice.delete("search")
    assert caught.value.details == {"revision": 7}


# --- hosts, events, logs ----------------------------------------------------------------------

HOSTS = {
    "hosts": [
        {"id": "UB", "name": "two", "state": "ready", "later": "unknown fields are ignored"},
        {"id": "UA", "name": "one", "state": "lost"},
        {"id": "UC", "name": "one", "state": "ready"},
    ]
}


async def test_hosts_come_by_name_then_id():
    async with client({"lead.hosts": HOSTS}) as (_, lattice):
        assert [(h.name, h.id) for h in await lattice.hosts()] == [
            ("one", "UA"), ("one", "UC"), ("two", "UB"),
        ]  # fmt: skip


async def test_host_is_found_by_id_name_or_the_beginning_of_its_id():
    async with client({"lead.hosts": HOSTS}) as (_, lattice):
        assert await lattice.find_host("UA") == "UA"
        assert await lattice.find_host("two") == "UB"
        with pytest.raises(InvalidError, match="names 2 hosts"):
            await lattice.find_host("one")
        with pytest.raises(NotFoundError, match="the lattice has: one, one, two"):
            await lattice.find_host("three")


async def publish_event(script, kind, number):
    event = Event(
        id=f"e{number}", kind=kind, source="/lattice/test/host/UA", entity="UA",
        time_s=1000.0 + number, data={"number": number},
    )  # fmt: skip
    subject, body, headers = events.to_packet(event, script.names)
    await script.connection.events.append(subject, body, headers=headers)


async def test_events_come_in_order_and_only_of_the_wanted_kinds():
    async with client() as (script, lattice):
        for number, kind in enumerate(["host-joined", "host-lost", "host-joined"]):
            await publish_event(script, kind, number)
        found = [event async for event in lattice.events(kinds=["host-joined"])]
    assert [(event.kind, event.data["number"]) for event in found] == [
        ("host-joined", 0), ("host-joined", 2),
    ]  # fmt: skip


async def test_record_that_is_no_event_is_passed_over():
    async with client() as (script, lattice):
        await script.connection.events.append(script.names.event("x", "y"), b"rubbish")
        await publish_event(script, "host-joined", 1)
        assert [event.id async for event in lattice.events()] == ["e1"]


def line(time_s, text, host="UA"):
    return {"time_s": time_s, "level": "info", "deployment": "search", "host": host, "line": text}


async def test_logs_merge_the_past_of_all_hosts_by_time():
    pings = {"ctl.ping": {"host": "UA"}}
    answers = pings | {"ctl.UA.logs": {"lines": [line(2, "b"), line(1, "a"), line(3, "c")]}}
    async with client(answers, hosts=("UA",)) as (_, lattice):
        found = [entry.line async for entry in lattice.logs(deployment="search", lines=2)]
    assert found == ["b", "c"]


async def test_followed_logs_go_from_the_past_to_the_present_without_repeating():
    answers = {"ctl.UA.logs": {"lines": [line(1, "a"), line(2, "b")]}}
    async with client(answers, hosts=("UA",)) as (script, lattice):
        stream = lattice.logs(host="UA", follow=True)
        assert [(await anext(stream)).line for _ in range(2)] == ["a", "b"]
        subject = script.names.log("search", "UA")
        for entry in (line(2, "b"), line(3, "c")):
            await script.connection.bus.publish(subject, codec.encode(entry))
        assert (await anext(stream)).line == "c"
        await stream.aclose()


async def test_host_that_does_not_answer_leaves_the_lines_of_the_others():
    async with client({"ctl.ping": {"host": "UA"}}, hosts=()) as (_, lattice):
        assert [entry async for entry in lattice.logs(deployment="search")] == []
