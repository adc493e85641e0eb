"""Calls whose arguments or results no message holds: over memory and over a real server."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from hosts import largecalls
from hosts.largecalls import IDLE_S, LargeCalls
from lattice.bus.base import Bus, Connection, Packet
from lattice.client.holding import Holder, leader_of
from lattice.client.large import TRIES_MAX
from lattice.client.sending import Order, Sender
from lattice.clock import SystemClock
from lattice.errors import (
    DeadlineExceededError,
    DecodeError,
    InvalidError,
    LatticeError,
    NoRouteError,
    OverloadedError,
)
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from lattice.wire.large import (
    DETAIL,
    DIRECT_BYTES_MAX,
    HEADER,
    LARGE_BYTES_MAX,
    PART_BYTES,
    kept_result,
    part_of,
    parts_of,
    read_word,
)
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import Names
from tests.contract.joining import fresh_token

CLOCK = SystemClock()
HOST = "UHOST"
FOUR_MB = hashlib.shake_128(b"a seed").digest(4_000_000)


class LosingBus:
    """Requests whose header names a word that is to be lost are lost, or only their answer."""

    def __init__(self, inner: Bus, is_lost: Callable[[str, int], str]) -> None:
        self._inner = inner
        self._is_lost = is_lost
        self.tries: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Packet:
        word = (headers or {}).get(HEADER, "")
        tried = self.tries[word] = self.tries.get(word, 0) + 1
        what = self._is_lost(word, tried) if word else ""
        if what == "question":
            raise DeadlineExceededError("lost")
        packet = await self._inner.request(subject, body, timeout_s=timeout_s, headers=headers)
        if what == "answer":
            raise DeadlineExceededError("lost")
        return packet


class Host:
    """Answers each call with its argument, by way of large bodies where it must."""

    def __init__(self, bus: Bus, names: Names, host: str, clock: Any = CLOCK) -> None:
        self.ran: list[int] = []
        self.bus = bus
        self.large = LargeCalls(host=host, bus=bus, names=names, clock=clock, answer=self.answer)
        self.subject = names.call_at(host, f"d{fresh_token()}", 1, "", "f")
        self.hold: anyio.Event | None = None

    async def answer(self, packet: Packet) -> bytes:
        if HEADER in packet.headers:
            return self.large.open(packet, read_word(packet.headers[HEADER]))
        [value] = decode_as(Invocation, packet.body).args
        self.ran.append(len(value))
        body = encode(CallReply(ok=[value], host=HOST))
        if len(body) <= DIRECT_BYTES_MAX:
            return body
        fault = InvalidError("the result is too large")
        fault.details[DETAIL] = self.large.keep(body)
        return encode(CallReply(err=fault.to_wire(), host=HOST))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Host]:
        async with anyio.create_task_group() as group:
            await group.start(self.large.run)
            async with self.bus.serve(self.subject, self.answer):
                yield self
                group.cancel_scope.cancel()


@pytest.fixture
async def host(names: Names, host: Connection, world: Any) -> AsyncIterator[Host]:
    async with Host(host.bus, names, world.host).serving() as serving:
        yield serving


async def call(
    bus: Bus, names: Names, host: Host, value: bytes, *, key: str | None = None, limit_s: float = 30
) -> bytes:
    """Return what the host answers."""
    sender = Sender(bus, CLOCK, holder=Holder(leader_of(bus, names), CLOCK))
    order = Order(
        deployment="d", what="f", subject=host.subject,
        subject_at=lambda _host, _generation: host.subject,
        body=lambda _attempt, _ms: encode(Invocation(op="#f", args=[value])),
        nobody="nobody is there", give_up_s=CLOCK.monotonic_s() + limit_s, is_keyed=key is not None,
    )  # fmt: skip
    reply, _ = await sender.send(order)
    assert reply.err is None, reply.err
    found: bytes = reply.ok[0]
    return found


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize("size", [0, DIRECT_BYTES_MAX, DIRECT_BYTES_MAX + 1, 4_000_000])
async def test_bytes_of_any_length_come_back_as_they_were(
    names: Names, client: Connection, host: Host, size: int, key: str | None
) -> None:
    value = FOUR_MB[:size]
    assert await call(client.bus, names, host, value, key=key) == value
    assert host.ran == [size]
    await eventually(lambda: host.large.held_bytes == 0)


async def test_many_large_calls_at_once_do_not_disturb_each_other(
    names: Names, client: Connection, host: Host
) -> None:
    found: dict[int, bytes] = {}

    async def one(number: int) -> None:
        found[number] = await call(client.bus, names, host, bytes([number]) * 2_000_000)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(one, number)
    assert found == {number: bytes([number]) * 2_000_000 for number in range(8)}
    await eventually(lambda: host.large.held_bytes == 0)


@pytest.mark.parametrize("lost", ["question", "answer"])
@pytest.mark.parametrize("word", ["open", "put", "get"])
async def test_a_part_that_is_lost_is_sent_again(
    names: Names, client: Connection, host: Host, word: str, lost: str
) -> None:
    bus = LosingBus(client.bus, lambda said, n: lost if said.startswith(word) and n == 1 else "")
    assert await call(bus, names, host, FOUR_MB) == FOUR_MB
    assert host.ran == [len(FOUR_MB)]


async def test_arguments_of_which_a_part_never_arrives_are_not_run_and_not_kept(
    names: Names, client: Connection, host: Host
) -> None:
    bus = LosingBus(client.bus, lambda said, _n: "question" if said == "put 3" else "")
    with pytest.raises(LatticeError) as caught:
        await call(bus, names, host, FOUR_MB, limit_s=1.0)
    assert isinstance(caught.value, NoRouteError | DeadlineExceededError)
    assert bus.tries["put 3"] >= TRIES_MAX
    assert host.ran == []
    await eventually(lambda: host.large.held_bytes == 0)


async def test_a_result_of_which_a_part_is_lost_did_run_and_is_not_kept(
    names: Names, client: Connection, host: Host
) -> None:
    bus = LosingBus(client.bus, lambda said, _n: "answer" if said == "get 2" else "")
    with pytest.raises(DeadlineExceededError, match="the call did run, but its result"):
        await call(bus, names, host, FOUR_MB)
    assert host.ran == [len(FOUR_MB)]
    await eventually(lambda: host.large.held_bytes == 0)


@pytest.mark.parametrize(
    ("word", "expected", "ran"),
    [
        ("put 5", "nobody is there", []),
        ("get 5", "the call did run, but its result", [len(FOUR_MB)]),
    ],
)
async def test_a_host_that_dies_in_the_middle_is_told_by_what_may_have_run(
    names: Names, client: Connection, host: Connection, world: Any, word: str, expected: str,
    ran: list[int],
) -> None:  # fmt: skip
    dying, dead = Host(host.bus, names, world.host), anyio.Event()

    async def live(*, task_status: TaskStatus[None]) -> None:
        with anyio.CancelScope() as scope:
            async with dying.serving():
                task_status.started()
                await dead.wait()
                scope.cancel()

    def notice(said: str, _n: int) -> str:
        if said == word:
            dead.set()
        return "question" if dead.is_set() else ""

    async with anyio.create_task_group() as group:
        await group.start(live)
        with pytest.raises(LatticeError, match=expected):
            await call(LosingBus(client.bus, notice), names, dying, FOUR_MB, limit_s=5)
    assert dying.ran == ran


async def test_a_caller_that_leaves_frees_what_it_put(
    names: Names, client: Connection, host: Host
) -> None:
    putting = anyio.Event()

    def notice(said: str, _n: int) -> str:
        if said == "put 5":
            putting.set()
        return ""

    async with anyio.create_task_group() as group:
        group.start_soon(call, LosingBus(client.bus, notice), names, host, FOUR_MB)
        await putting.wait()
        assert host.large.held_bytes > 0
        group.cancel_scope.cancel()
    await eventually(lambda: host.large.held_bytes == 0)


async def test_no_more_is_held_than_the_host_has_room_for(
    names: Names, client: Connection, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largecalls, "HELD_BYTES_MAX", 5_000_000)
    opened = host.large.keep(bytes(3_000_000))
    assert opened is not None
    with pytest.raises(OverloadedError, match="holds large bodies of 3000000 bytes") as caught:
        await call(client.bus, names, host, FOUR_MB)
    assert caught.value.details["retry_after_ms"] > 0
    assert (host.ran, host.large.held_bytes) == ([], 3_000_000)
    assert host.large.keep(bytes(3_000_000)) is None


async def test_arguments_are_gathered_of_so_many_callers_at_once(
    names: Names, client: Connection, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largecalls, "GATHERED_MAX", 1)
    header = {HEADER: "open 2000000 1000"}
    await client.bus.request(host.subject, timeout_s=10, headers=header)
    with pytest.raises(OverloadedError, match="gathers 1, at most 1"):
        await call(client.bus, names, host, FOUR_MB)


async def test_what_is_larger_than_the_limit_is_refused_on_both_sides(
    names: Names, client: Connection, host: Host
) -> None:
    with pytest.raises(InvalidError, match=f"at most {LARGE_BYTES_MAX} can be passed"):
        await call(client.bus, names, host, bytes(LARGE_BYTES_MAX))
    header = {HEADER: f"open {LARGE_BYTES_MAX + 1} 1000"}
    answer = await client.bus.request(host.subject, timeout_s=10, headers=header)
    assert b"can be passed in a call" in answer.body
    assert host.large.keep(bytes(LARGE_BYTES_MAX + 1)) is None
    assert host.large.held_bytes == 0


async def test_what_nobody_asks_for_is_dropped() -> None:
    class Moved(SystemClock):
        now_s = 0.0

        def monotonic_s(self) -> float:
            return self.now_s

    async def nothing(_packet: Packet) -> bytes:
        return b""

    clock = Moved()
    large = LargeCalls(host=HOST, bus=Any, names=Names("l"), clock=clock, answer=nothing)
    large.keep(bytes(PART_BYTES))
    clock.now_s = IDLE_S / 2
    large.keep(bytes(7))
    clock.now_s = IDLE_S + 0.1
    large._drop_forgotten()
    assert large.held_bytes == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open",
        "open 1",
        "put",
        "put -1",
        "put x",
        "run 1",
        "get 1 2",
        "put ²",
        "put " + "9" * 16,
    ],
)
def test_what_is_no_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=HEADER):
        read_word(text)


@pytest.mark.parametrize(
    "kept",
    [
        {"at": "lat.l.ctl.host.h.stop", "bytes": 5},
        {"at": "lat.l.at.h.large.pab.*", "bytes": 5},
        {"at": "lat.l.at.h.large.pab.12", "bytes": 0},
        {"at": "lat.l.at.h.large.pab.12", "bytes": LARGE_BYTES_MAX + 1},
        {"bytes": 5},
        7,
    ],
)
def test_a_result_is_got_from_no_place_but_one_for_results(kept: object) -> None:
    with pytest.raises(DecodeError):
        kept_result({"kind": "invalid", "details": {DETAIL: kept}})


def test_parts_make_the_whole() -> None:
    for size in (1, PART_BYTES, PART_BYTES + 1, len(FOUR_MB)):
        whole = b"".join(part_of(FOUR_MB[:size], n) for n in range(parts_of(size)))
        assert whole == FOUR_MB[:size]
    assert kept_result({"kind": "invalid", "details": {}}) is None
