"""What a host can make the server write or say in its place, by choosing where answers go.

A server answers with its own rights wherever a request says. Each way of `WAYS` is shown to work on
a subject that nothing guards, so that its failure elsewhere says something.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from lattice.bus.base import CAUGHT_UP, Connection, Packet
from lattice.bus.connecting import connect_options
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import Identity, load_seed
from lattice.bus.nats_client import NatsClient
from lattice.bus.nats_connect import connect_nats
from lattice.errors import DeniedError
from lattice.testing import LATTICE, WAIT_S, connect_as, eventually, new_host, settings_for
from lattice.wire import subjects
from lattice.wire.subjects import Names

pytestmark = pytest.mark.nats

NAMES = Names(LATTICE)
CONTROL, HOSTS, ARTIFACTS = NAMES.control_bucket, NAMES.hosts_bucket, NAMES.artifacts_bucket
GUARDED = (f"KV_{CONTROL}", f"OBJ_{ARTIFACTS}")
HEARTBEAT_NS = 100_000_000  # the shortest that a server takes

Aim = Callable[["Attacker", str], Awaitable[None]]


class Attacker:
    """A host that has its seed and speaks to the server by itself."""

    def __init__(self, client: NatsClient, host: str) -> None:
        self.client = client
        self.host = host
        self._consumers = 0

    async def publish(self, subject: str, body: bytes, reply: str, **headers: str) -> None:
        await self.client.publish(
            subject, body, reply=reply, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    async def consumer(self, stream: str, subject: str, **config: Any) -> str:
        """Make a consumer of what the host may read; return its name."""
        self._consumers += 1
        name = f"c{self._consumers}"
        body = {
            "stream_name": stream,
            "action": "create",
            "config": {"name": name, "filter_subject": subject, "ack_policy": "none", **config},
        }
        answer = await self.client.request(
            f"$JS.API.CONSUMER.CREATE.{stream}.{name}.{subject}", json.dumps(body).encode()
        )
        assert "error" not in json.loads(answer.data), answer.data
        return name


async def acknowledgement(host: Attacker, at: str) -> None:
    await host.publish(f"$KV.{HOSTS}.{host.host}", b"inventory", at)


async def acknowledgement_of_an_event(host: Attacker, at: str) -> None:
    await host.publish(NAMES.event("a", "b"), b"{}", at)


async def refusal_of_a_write(host: Attacker, at: str) -> None:
    expect = {"Nats_Expected_Last_Subject_Sequence": "99999"}
    await host.publish(f"$KV.{HOSTS}.{host.host}", b"inventory", at, **expect)


async def direct_get(host: Attacker, at: str) -> None:
    key = f"$KV.{CONTROL}.{subjects.target(host.host)}"
    await host.publish(f"$JS.API.DIRECT.GET.KV_{CONTROL}.{key}", b"", at)


async def direct_get_of_nothing(host: Attacker, at: str) -> None:
    key = f"$KV.{CONTROL}.{subjects.history('none', 1)}"
    await host.publish(f"$JS.API.DIRECT.GET.KV_{CONTROL}.{key}", b"", at)


async def answer_of_the_api(host: Attacker, at: str) -> None:
    subject = f"$KV.{HOSTS}.{host.host}"
    await host.publish(f"$JS.API.CONSUMER.CREATE.KV_{HOSTS}.x.{subject}", b"{}", at)


async def end_of_a_pull(host: Attacker, at: str) -> None:
    subject = f"$KV.{CONTROL}.{subjects.TERM}"
    name = await host.consumer(f"KV_{CONTROL}", subject, deliver_policy="new")
    body = json.dumps({"batch": 1, "no_wait": True}).encode()
    await host.publish(f"$JS.API.CONSUMER.MSG.NEXT.KV_{CONTROL}.{name}", body, at)


async def heartbeat_of_a_consumer(host: Attacker, at: str) -> None:
    subject = f"$KV.{CONTROL}.{subjects.target(host.host)}"
    pushed = {"deliver_subject": at, "idle_heartbeat": HEARTBEAT_NS, "deliver_policy": "new"}
    await host.consumer(f"KV_{CONTROL}", subject, flow_control=True, **pushed)


async def trace(host: Attacker, at: str) -> None:
    await host.publish(NAMES.event("a", "b"), b"{}", "", Nats_Trace_Dest=at)


WAYS: tuple[Aim, ...] = (
    acknowledgement,
    acknowledgement_of_an_event,
    refusal_of_a_write,
    direct_get,
    direct_get_of_nothing,
    answer_of_the_api,
    end_of_a_pull,
)


@pytest.fixture
async def identity(fresh_nats: EmbeddedNats) -> Identity:
    return await new_host(fresh_nats, "attacker")


@pytest.fixture
async def scheduler(fresh_nats: EmbeddedNats) -> AsyncIterator[Connection]:
    async with connect_as(fresh_nats, "scheduler") as connection:
        yield connection


@pytest.fixture
async def attacker(fresh_nats: EmbeddedNats, identity: Identity) -> AsyncIterator[Attacker]:
    options = connect_options(settings_for(fresh_nats, "host", identity), name="attacker")
    client = NatsClient()
    await client.connect(
        fresh_nats.url,
        nkeys_seed_str=load_seed(identity.seed_path).decode(),
        inbox_prefix=options.inbox_prefix,
        allow_reconnect=False,
        error_cb=_expect_refusals,
    )
    yield Attacker(client, identity.id)
    await client.close()


async def _expect_refusals(_: Exception) -> None:
    """Take what the client reports; the tests look at what happened elsewhere."""


async def positions(nats: EmbeddedNats) -> list[int]:
    """Return the last sequence of each guarded stream: any write at all moves it."""
    options = connect_options(settings_for(nats, "scheduler"), name="test")
    async with connect_nats(options) as link:
        answers = [await link.ask(f"$JS.API.STREAM.INFO.{s}", timeout_s=5) for s in GUARDED]
    return [json.loads(answer.body)["state"]["last_seq"] for answer in answers]


@pytest.mark.parametrize("aim", WAYS, ids=lambda aim: aim.__name__)
async def test_no_answer_of_the_server_lands_in_a_guarded_store(
    fresh_nats: EmbeddedNats, scheduler: Connection, attacker: Attacker, aim: Aim
) -> None:
    own, other = subjects.target(attacker.host), subjects.target("UOTHER")
    keys = (subjects.TERM, subjects.LEADER, own, other, subjects.desired("search"))
    for key in keys:
        await scheduler.control.put(key, b"\x81\xa1a\x01")
    digest = await scheduler.artifacts.put(b"component")
    before = await positions(fresh_nats)

    for key in keys:
        await aim(attacker, f"$KV.{CONTROL}.{key}")
    await aim(attacker, f"$O.{ARTIFACTS}.M.name")
    async with scheduler.hosts.watch("UOTHER") as inventories:
        assert await anext(inventories) is CAUGHT_UP
        await aim(attacker, f"$KV.{HOSTS}.UOTHER")  # nothing guards it; aimed last
        with anyio.fail_after(WAIT_S):
            await anext(inventories)

    assert await positions(fresh_nats) == before
    for key in keys:
        entry = await scheduler.control.get(key)
        assert entry is not None
        assert entry.value == b"\x81\xa1a\x01"
    assert await scheduler.artifacts.get(digest) == b"component"


@pytest.mark.parametrize("aim", WAYS, ids=lambda aim: aim.__name__)
async def test_no_answer_of_the_server_is_taken_for_a_request(
    fresh_nats: EmbeddedNats, attacker: Attacker, aim: Aim, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as `stop` of another host, which has no body to check."""
    victim = await new_host(fresh_nats, "victim")
    stop = NAMES.host_control(victim.id, "stop")
    heard: list[Packet] = []

    async def handle(packet: Packet) -> bytes:
        heard.append(packet)
        return b""

    async with (
        connect_as(fresh_nats, "host", victim) as host,
        connect_as(fresh_nats, "operator") as operator,
        host.bus.serve(NAMES.host_control(victim.id, "*"), handle),
    ):
        await aim(attacker, stop)
        await eventually(lambda: f"{stop} has no inbox to answer to" in caplog.text)
        assert heard == []
        await operator.bus.request(stop, timeout_s=5)
    assert [packet.subject for packet in heard] == [stop]


async def test_what_a_host_wrote_reaches_no_server_of_requests_by_way_of_a_consumer(
    fresh_nats: EmbeddedNats, attacker: Attacker, caplog: pytest.LogCaptureFixture
) -> None:
    """It chooses these bytes itself, so here they would be a request of its making."""
    heard: list[Packet] = []

    async def handle(packet: Packet) -> bytes:
        heard.append(packet)
        return b""

    async with (
        connect_as(fresh_nats, "scheduler") as scheduler,
        connect_as(fresh_nats, "operator") as operator,
        scheduler.bus.serve(NAMES.api("*"), handle, queue=subjects.API_QUEUE),
    ):
        subject = f"$KV.{HOSTS}.{attacker.host}"
        await attacker.client.request(subject, b"\x81\xa4name\xa6search")
        name = await attacker.consumer(f"KV_{HOSTS}", subject, deliver_policy="all")
        await attacker.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.KV_{HOSTS}.{name}", b"", NAMES.api("delete")
        )
        await eventually(lambda: f"{subject} has no inbox to answer to" in caplog.text)
        assert heard == []
        await operator.bus.request(NAMES.api("list"), timeout_s=5)
    assert len(heard) == 1


async def test_what_the_server_itself_does_not_send_anywhere_lands_nowhere(
    fresh_nats: EmbeddedNats, attacker: Attacker
) -> None:
    """Traces need the right to publish; pushes go to who subscribes to exactly their subject."""
    victim = await new_host(fresh_nats, "victim")
    heard: list[Packet] = []

    async def handle(packet: Packet) -> bytes:
        heard.append(packet)
        return b""

    before = await positions(fresh_nats)
    async with (
        connect_as(fresh_nats, "host", victim) as host,
        host.bus.serve(NAMES.host_control(victim.id, "*"), handle),
    ):
        for aim in (heartbeat_of_a_consumer, trace):
            await aim(attacker, f"$KV.{CONTROL}.{subjects.TERM}")
            await aim(attacker, f"$O.{ARTIFACTS}.M.name")
            await aim(attacker, NAMES.host_control(victim.id, "stop"))
        inbox = attacker.client.new_inbox()
        own = await attacker.client.subscribe(inbox)
        await heartbeat_of_a_consumer(attacker, inbox)
        with anyio.fail_after(WAIT_S):
            for _ in range(3):  # by now the others would have had theirs
                await own.next_msg(WAIT_S)
    assert heard == []
    assert await positions(fresh_nats) == before


async def test_nobody_but_a_scheduler_is_told_where_the_control_bucket_takes_writes(
    fresh_nats: EmbeddedNats, scheduler: Connection, identity: Identity
) -> None:
    await scheduler.control.put(subjects.TERM, b"1")
    async with (
        connect_as(fresh_nats, "host", identity) as host,
        connect_as(fresh_nats, "operator") as operator,
        connect_as(fresh_nats, "client") as client,
    ):
        for party in (host, operator, client):
            with pytest.raises(DeniedError, match=rf"may not publish to \$KV\.{CONTROL}\.term"):
                await party.control.put(subjects.TERM, b"2")
            for verb in (f"STREAM.INFO.KV_{CONTROL}", "STREAM.LIST", "STREAM.NAMES"):
                with pytest.raises(DeniedError):
                    await party.bus.request(f"$JS.API.{verb}", timeout_s=5)
            with pytest.raises(DeniedError):
                async with party.bus.subscribe(f"{NAMES.intake('ctl', '*')}.>"):
                    pass
