"""What each role can do on a real server, which enforces the table of `lattice.bus.permissions`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats import errors

from lattice.bus.base import CAUGHT_UP, Entry, Packet
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import Identity, load_seed, public_key
from lattice.bus.nats_client import NatsClient
from lattice.bus.permissions import INBOXES, ROLES, Role, inbox_prefix
from lattice.client import LatticeClient
from lattice.errors import DeniedError
from lattice.testing import LATTICE, connect_as, new_host, settings_for
from lattice.wire import subjects
from lattice.wire.subjects import Names

pytestmark = pytest.mark.nats

NAMES = Names(LATTICE)
CONTROL, HOSTS = f"$KV.{NAMES.control_bucket}", f"$KV.{NAMES.hosts_bucket}"
ARTIFACTS = f"$O.{NAMES.artifacts_bucket}"
GET_CONTROL = f"$JS.API.DIRECT.GET.KV_{NAMES.control_bucket}.{CONTROL}"
WATCH_CONTROL = f"$JS.API.CONSUMER.CREATE.KV_{NAMES.control_bucket}.c.{CONTROL}"
GET_HOSTS = f"$JS.API.DIRECT.GET.KV_{NAMES.hosts_bucket}.{HOSTS}"
WATCH_HOSTS = f"$JS.API.CONSUMER.CREATE.KV_{NAMES.hosts_bucket}.c.{HOSTS}"
GET_EVENTS = f"$JS.API.DIRECT.GET.{NAMES.events_stream}.{NAMES.events().removesuffix('.>')}"
CALL = NAMES.call("search", "docs:search/query@0.1.0", "find")
OTHER_INBOX = inbox_prefix("U" + "A" * 55)


class Refusals:
    """A connection, and what the server said to each try."""

    def __init__(self) -> None:
        self.client = NatsClient()  # its flush sends what is buffered first
        self.errors: list[str] = []

    async def on_error(self, error: Exception) -> None:
        self.errors.append(str(error))

    async def is_publish_refused(self, subject: str) -> bool:
        await self.client.publish(subject, b"{}")
        return await self._is_refused("publish", subject)

    async def is_subscribe_refused(self, interest: str) -> bool:
        subject, _, queue = interest.partition(" ")
        subscription = await self.client.subscribe(subject, queue=queue)
        is_refused = await self._is_refused("subscription", subject)
        if not is_refused:
            await subscription.unsubscribe()
        return is_refused

    async def _is_refused(self, operation: str, subject: str) -> bool:
        await self.client.flush()  # the server answers in order, so a refusal is here by now
        said, self.errors = self.errors, []
        assert all(f'violation for {operation} to "{subject}"'.lower() in text for text in said)
        return bool(said)


@asynccontextmanager
async def joined(
    broker: EmbeddedNats, role: Role, identity: Identity | None = None
) -> AsyncIterator[Refusals]:
    path = settings_for(broker, role, identity).nkey
    assert path is not None
    seed = load_seed(path)
    refusals = Refusals()
    await refusals.client.connect(
        broker.url,
        nkeys_seed_str=seed.decode(),
        inbox_prefix=inbox_prefix(public_key(seed)),
        allow_reconnect=False,
        error_cb=refusals.on_error,
    )
    try:
        yield refusals
    finally:
        await refusals.client.close()


def publishes(own: str, other: str) -> dict[str, set[Role]]:
    """Return for each subject who may publish to it; `own` and `other` are ids of hosts."""
    return {
        # what hosts say
        NAMES.heartbeat(own): {"host"},
        NAMES.heartbeat(other): set(),
        NAMES.event("host-joined", own): {"host", "scheduler"},
        NAMES.log("search", own): {"host", "scheduler"},
        NAMES.log("search", other): {"scheduler"},
        f"{HOSTS}.{own}": {"host", "scheduler"},
        f"{HOSTS}.{other}": {"scheduler"},
        # calls
        CALL: {"host", "client", "operator"},
        NAMES.call_at(other, "search", 1, "", "find"): {"host", "client", "operator"},
        # requests over HTTP, and the frames of those that are streamed
        NAMES.http("site"): {"host", "client", "operator"},
        NAMES.http_at(other, "site", 1): {"host", "client", "operator"},
        NAMES.http_lanes(other, "p1", "lane"): {"host", "client", "operator"},
        # requests
        NAMES.api("get"): {"client", "operator"},
        NAMES.api("list"): {"client", "operator"},
        NAMES.api("put"): {"operator"},
        NAMES.lead("explain"): {"operator"},
        NAMES.lead("wake"): {"host", "client", "operator"},
        NAMES.ping(): {"scheduler", "operator"},
        NAMES.host_control(own, "stop"): {"scheduler", "operator"},
        NAMES.host_control(other, "stop"): {"scheduler", "operator"},
        # the control bucket: written by its intake alone, whatever that is
        f"{CONTROL}.leader": set(),
        f"{CONTROL}.target.{own}": set(),
        f"{NAMES.intake('ctl', 'secret')}.term": {"scheduler"},
        f"{NAMES.intake('ctl', 'secret')}.target.{own}": {"scheduler"},
        f"$JS.API.STREAM.INFO.KV_{NAMES.control_bucket}": {"scheduler"},
        f"{GET_CONTROL}.target.{own}": {"host", "scheduler", "operator"},
        f"{GET_CONTROL}.target.{other}": {"scheduler", "operator"},
        f"{GET_CONTROL}.history.search.1": {"host", "scheduler", "operator"},
        f"{GET_CONTROL}.desired.search": {"scheduler", "operator"},
        f"{GET_CONTROL}.term": {"host", "scheduler", "operator"},
        f"{GET_CONTROL}.leader": {"scheduler", "operator"},
        f"{WATCH_CONTROL}.target.{own}": {"host", "scheduler", "operator"},
        f"{WATCH_CONTROL}.target.{other}": {"scheduler", "operator"},
        f"{WATCH_CONTROL}.>": {"scheduler", "operator"},
        # who may directly get what he writes can make the server write it anywhere
        f"{GET_HOSTS}.{own}": {"scheduler", "operator"},
        f"{GET_EVENTS}.host-joined.x": {"scheduler"},
        f"{WATCH_HOSTS}.{own}": {"host", "scheduler", "operator"},
        f"{WATCH_HOSTS}.{other}": {"scheduler", "operator"},
        # by sequence, which is any key
        f"$JS.API.DIRECT.GET.KV_{NAMES.control_bucket}": {"scheduler"},
        f"$JS.API.STREAM.MSG.GET.KV_{NAMES.control_bucket}": {"scheduler"},
        f"$JS.API.CONSUMER.CREATE.KV_{NAMES.control_bucket}": {"scheduler"},
        # durable jobs: whoever may call may submit, follow and end them; hosts run them
        NAMES.job("call", "search", "_", "id"): {"host", "scheduler", "client", "operator"},
        NAMES.job("done", "search", "_", "id"): {"host", "scheduler", "client", "operator"},
        f"$JS.ACK.{NAMES.jobs_stream}.c.1.1.1.1.0": {"host"},
        f"$JS.API.CONSUMER.INFO.{NAMES.jobs_stream}.c": {"host", "scheduler"},
        f"$JS.API.STREAM.MSG.GET.{NAMES.jobs_stream}": set(ROLES),
        f"$JS.API.STREAM.PURGE.{NAMES.jobs_stream}": {"scheduler"},
        # a direct get would answer anywhere with bytes that the asker wrote
        f"$JS.API.DIRECT.GET.{NAMES.jobs_stream}.{NAMES.job('done', 's', '_', 'i')}": {"scheduler"},
        # artifacts
        f"{ARTIFACTS}.M.name": set(),
        f"{NAMES.intake('artifacts', 'secret')}.M.name": {"scheduler", "operator"},
        f"$JS.API.STREAM.INFO.OBJ_{NAMES.artifacts_bucket}": {"scheduler", "operator"},
        # streams themselves, and those of nobody
        f"$JS.API.STREAM.CREATE.KV_{NAMES.control_bucket}": {"scheduler"},
        f"$JS.API.STREAM.PURGE.KV_{NAMES.control_bucket}": {"scheduler"},
        f"$JS.API.STREAM.DELETE.{NAMES.events_stream}": {"scheduler"},
        "$JS.API.STREAM.CREATE.OTHER": set(),
        "$JS.API.STREAM.SNAPSHOT.OTHER": set(),
        # others' replies and other lattices
        Names("other").event("x", "y"): set(),
        "$SYS.REQ.SERVER.PING": set(),
        "anything": set(),
    }


def subscriptions(own: str, other: str) -> dict[str, set[Role]]:
    """Return for each subject (and queue) who may subscribe to it."""
    return {
        NAMES.ping(): {"host"},
        NAMES.host_control(own, ">"): {"host"},
        NAMES.host_control(own, "*"): {"host"},
        NAMES.host_control(other, ">"): set(),
        NAMES.calls_at(own): {"host"},
        NAMES.calls_at(other): set(),
        f"{NAMES.calls_of('search')} inv": {"host"},
        NAMES.calls_of("search"): set(),  # outside of the queue it would hear every call
        f"{NAMES.calls_of('search')} mine": set(),
        NAMES.typed_calls_at(own): {"host"},
        f"{NAMES.http('site')} http": {"host"},
        NAMES.http("site"): set(),
        f"{NAMES.http('site')} mine": set(),
        NAMES.every_http_at(own): {"host"},
        NAMES.every_http_at(other): set(),
        NAMES.http_lanes(own, "p1"): {"host"},
        NAMES.http_lanes(other, "p1"): set(),
        f"{NAMES.api('*')} api": {"scheduler"},
        NAMES.lead("*"): {"scheduler"},
        NAMES.heartbeat("*"): {"scheduler"},
        NAMES.heartbeat(own): {"scheduler"},
        NAMES.events(): {"scheduler", "client", "operator"},
        NAMES.log("search", "*"): {"client", "operator"},
        f"{CONTROL}.>": set(),
        f"{HOSTS}.>": set(),
        f"{NAMES.intake('ctl', '*')}.>": set(),
        f"{NAMES.prefix}.>": set(),
        INBOXES: set(),
        f"{OTHER_INBOX}.>": set(),
        "_INBOX.*": set(),
        "$SYS.>": set(),
        ">": set(),
    }


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_can_publish_what_its_work_needs_and_no_more(fresh_nats, role):
    own, other = await new_host(fresh_nats, "own"), await new_host(fresh_nats, "other")
    table = publishes(own.id, other.id)
    async with joined(fresh_nats, role, own if role == "host" else None) as refusals:
        refused = {s for s in table if await refusals.is_publish_refused(s)}
    assert refused == {subject for subject, roles in table.items() if role not in roles}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_can_hear_what_its_work_needs_and_no_more(shared_nats, role):
    own, other = await new_host(shared_nats, "own"), await new_host(shared_nats, "other")
    table = subscriptions(own.id, other.id)
    async with joined(shared_nats, role, own if role == "host" else None) as refusals:
        refused = {s for s in table if await refusals.is_subscribe_refused(s)}
    assert refused == {subject for subject, roles in table.items() if role not in roles}


async def test_a_host_does_its_work_under_its_permissions(shared_nats):
    identity = await new_host(shared_nats, "working")
    target, other = subjects.target(identity.id), subjects.target("UOTHER")
    async with (
        connect_as(shared_nats, "scheduler") as scheduler,
        connect_as(shared_nats, "operator") as operator,
        connect_as(shared_nats, "host", identity) as host,
    ):
        digest = await operator.artifacts.put(b"component" * 50_000)
        assert await host.artifacts.get(digest) == b"component" * 50_000
        revision = await host.hosts.put(identity.id, b"inventory")
        assert await host.hosts.keys(identity.id) == (identity.id,)
        assert await scheduler.hosts.get(identity.id) == Entry(
            key=identity.id, value=b"inventory", revision=revision
        )
        async with host.control.watch(target) as changes:
            assert await anext(changes) is CAUGHT_UP
            await scheduler.control.put(other, b"theirs")
            revision = await scheduler.control.put(target, b"run this")
            assert await anext(changes) == Entry(key=target, value=b"run this", revision=revision)
        generation = subjects.history("search", 1)
        await scheduler.control.put(generation, b"body")
        found = await host.control.get(generation)
        assert found is not None
        assert found.value == b"body"
        assert await host.control.get(subjects.TERM) is None
        await host.events.append(NAMES.event("host-joined", identity.id), b"{}")
        await host.hosts.delete(identity.id)
        assert await scheduler.hosts.get(identity.id) is None


async def test_a_host_is_told_what_it_may_not_write_and_nothing_changes(shared_nats):
    identity = await new_host(shared_nats, "curious")
    forbidden = [subjects.LEADER, subjects.TERM, subjects.target(identity.id), "desired.search"]
    async with (
        connect_as(shared_nats, "scheduler") as scheduler,
        connect_as(shared_nats, "host", identity) as host,
    ):
        revisions = {key: await scheduler.control.put(key, b"theirs") for key in forbidden}
        await scheduler.hosts.put("UOTHER", b"theirs")
        for key in forbidden:
            with pytest.raises(DeniedError, match=f"(?i)may not publish to .*{key}"):
                await host.control.put(key, b"mine")
        with pytest.raises(DeniedError):
            await host.hosts.put("UOTHER", b"mine")
        for key, revision in revisions.items():
            found = await scheduler.control.get(key)
            assert found == Entry(key=key, value=b"theirs", revision=revision)
        found = await scheduler.hosts.get("UOTHER")
        assert found is not None
        assert found.value == b"theirs"
        for key in forbidden:
            await scheduler.control.delete(key)


async def test_a_host_cannot_remove_other_inventories_by_a_header(shared_nats):
    identity = await new_host(shared_nats, "own")
    async with connect_as(shared_nats, "scheduler") as scheduler:
        await scheduler.hosts.put("UOTHER", b"theirs")
        async with joined(shared_nats, "host", identity) as refusals:
            answer = await refusals.client.request(
                f"{HOSTS}.{identity.id}", b"mine", headers={"Nats-Rollup": "all"}
            )
        assert "rollup not permitted" in json.loads(answer.data)["error"]["description"]
        found = await scheduler.hosts.get("UOTHER")
        assert found is not None
        assert found.value == b"theirs"


async def test_a_client_calls_and_reads_events_and_no_more(shared_nats):
    async with (
        connect_as(shared_nats, "scheduler") as scheduler,
        connect_as(shared_nats, "client") as client,
    ):
        subject = NAMES.event("deployment-ready", "search")
        sequence = await scheduler.events.append(subject, b"{}")
        async with client.events.read(NAMES.events(), after=sequence - 1) as records:
            assert [record.subject async for record in records] == [subject]
        for forbidden in (client.control.get(subjects.LEADER), client.hosts.keys()):
            with pytest.raises(DeniedError):
                await forbidden
        with pytest.raises(DeniedError):
            await client.artifacts.put(b"bytes")


async def test_a_request_reaches_its_server_and_the_answer_its_asker_under_each_role(shared_nats):
    identity = await new_host(shared_nats, "answering")

    async def answer(packet: Packet) -> bytes:
        return packet.subject.encode()

    async with (
        connect_as(shared_nats, "scheduler") as scheduler,
        connect_as(shared_nats, "host", identity) as host,
        connect_as(shared_nats, "client") as client,
        connect_as(shared_nats, "operator") as operator,
        scheduler.bus.serve(NAMES.api("*"), answer, queue=subjects.API_QUEUE),
        scheduler.bus.serve(NAMES.heartbeat("*"), answer),
        host.bus.serve(NAMES.calls_of("search"), answer, queue=subjects.CALL_QUEUE),
        host.bus.serve(NAMES.calls_at(identity.id), answer),
        host.bus.serve(NAMES.host_control(identity.id, "*"), answer),
        host.bus.serve(NAMES.ping(), answer),
    ):
        asked = [
            (client, CALL),
            (client, NAMES.call_at(identity.id, "search", 1, "", "find")),
            (client, NAMES.api("get")),
            (operator, NAMES.api("put")),
            (operator, NAMES.ping()),
            (scheduler, NAMES.host_control(identity.id, "stop")),
            (host, NAMES.heartbeat(identity.id)),
            (host, CALL),
        ]
        for asker, subject in asked:
            reply = await asker.bus.request(subject, timeout_s=5)
            assert reply.body == subject.encode()


async def test_a_scheduler_does_not_answer_into_its_own_stores(shared_nats):
    """Whoever asks chooses where the answer goes, and a scheduler may write what hosts may not."""
    identity = await new_host(shared_nats, "asking")

    async def answer(packet: Packet) -> bytes:
        return b"chosen by the asker"

    async with (
        connect_as(shared_nats, "scheduler") as scheduler,
        scheduler.bus.serve(NAMES.heartbeat("*"), answer),
        joined(shared_nats, "host", identity) as refusals,
    ):
        revision = await scheduler.control.put(subjects.TERM, b"7")
        for reply in (f"{CONTROL}.{subjects.TERM}", NAMES.host_control(identity.id, "stop")):
            await refusals.client.publish(NAMES.heartbeat(identity.id), reply=reply)
        await refusals.client.request(NAMES.heartbeat(identity.id))  # the ones before are handled
        assert refusals.errors == []
        found = await scheduler.control.get(subjects.TERM)
        assert found == Entry(key=subjects.TERM, value=b"7", revision=revision)
        await scheduler.control.delete(subjects.TERM)


async def test_those_who_answer_reach_any_inbox_and_nothing_by_way_of_an_answer(shared_nats):
    """A reply subject is chosen by the asker, so answering must not widen what one may write."""
    host = await new_host(shared_nats, "own")
    async with joined(shared_nats, "host", host) as refusals:
        asked = NAMES.call_at(host.id, "search", 1, "", "find")
        questions = await refusals.client.subscribe(NAMES.calls_at(host.id))
        await refusals.client.publish(asked, reply=f"{CONTROL}.leader")
        question = await questions.next_msg()
        assert question.reply == f"{CONTROL}.leader"
        assert await refusals.is_publish_refused(question.reply)
        assert not await refusals.is_publish_refused(f"{OTHER_INBOX}.1")


async def test_a_client_that_may_not_ask_hosts_gets_new_log_lines_without_a_past(shared_nats):
    identity = await new_host(shared_nats, "logging")
    async with (
        connect_as(shared_nats, "client") as client,
        connect_as(shared_nats, "host", identity) as host,
        host.bus.serve(NAMES.ping(), answer_nothing),
    ):
        lattice = LatticeClient(client)
        assert [line async for line in lattice.logs(deployment="search")] == []


async def answer_nothing(packet: Packet) -> bytes:
    return b""


async def test_nobody_joins_without_a_known_key(shared_nats):
    refusals = Refusals()
    with pytest.raises(errors.Error, match=r"[Aa]uthorization"):
        await refusals.client.connect(
            shared_nats.url, allow_reconnect=False, error_cb=refusals.on_error
        )
    await refusals.client.close()
