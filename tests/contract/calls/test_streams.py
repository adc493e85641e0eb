"""Calls that stream bytes: a guest in C on a real host, in memory and over a real server."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from wasmtime import wat2wasm

from hosts import streamcalls
from hosts.bytestream import ByteStream
from lattice.bus.base import Bus, Packet
from lattice.client import streaming
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.client.streaming import ByteCall, Source, carried
from lattice.clock import SystemClock
from lattice.errors import (
    DeadlineExceededError,
    GuestTrapError,
    InvalidError,
    NotFoundError,
    OverloadedError,
    from_wire,
)
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.streaming import (
    HEADER,
    OPEN,
    PART_BYTES,
    WINDOW,
    read_word,
    stream_place,
)
from tests.contract.calls.conftest import Calling
from tests.guests import components

WORK = "test:streams/work@0.1.0"
RELAYED = "test:guest/run@0.1.0"
FRONT = f"""
(component
  (import "{WORK}" (instance $work (export "upper" (func (result u64)))))
  (core func $upper (canon lower (func $work "upper")))
  (core module $code
    (import "work" "upper" (func $upper (result i64)))
    (func (export "run") (result i64) (call $upper)))
  (core instance $main
    (instantiate $code (with "work" (instance (export "upper" (func $upper))))))
  (func $run (result u64) (canon lift (core func $main "run")))
  (instance $out (export "run" (func $run)))
  (export "{RELAYED}" (instance $out)))
"""
CLOCK = SystemClock()
LETTERS = hashlib.shake_128(b"letters").hexdigest(500_000).encode()
MIB = 1024 * 1024


@dataclass
class Words:
    """A bus of a client that counts the words about streams, and may lose some."""

    inner: Bus
    fate: Callable[[str, int], str] = lambda _word, _times: ""
    said: dict[str, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def request(self, subject: str, body: bytes = b"", **rest: Any) -> Packet:
        word = (rest.get("headers") or {}).get(HEADER, "")
        times = self.said[word] = self.said.get(word, 0) + 1
        fate = self.fate(word, times) if word else ""
        if fate == "question":
            raise DeadlineExceededError("lost")
        packet = await self.inner.request(subject, body, **rest)
        if fate == "answer":
            raise DeadlineExceededError("lost")
        return packet

    def count(self, kind: str) -> int:
        """Return how many different words of a kind were said."""
        return sum(word.startswith(f"{kind} ") for word in self.said)


async def opened(
    calling: Calling, bus: Bus, to: str, function: str, args: tuple[Any, ...],
    interface: str = WORK, **fields: Any,
) -> CallReply:  # fmt: skip
    """Return what a call answers that has streams."""
    call = Invocation(op=f"{interface}#{function}", args=list(args), **fields)
    subject = calling.names.call(to, interface, function)
    order = Order(
        deployment=to, what=function, subject=subject, subject_at=lambda _host, _number: subject,
        body=lambda _attempt, _ms: encode(call), headers={HEADER: OPEN},
        nobody="nobody is there", give_up_s=CLOCK.monotonic_s() + 30,
    )  # fmt: skip
    sender = Sender(bus, CLOCK, holder=Holder(leader_of(bus, calling.names), CLOCK))
    return (await sender.send(order))[0]


@asynccontextmanager
async def stream(
    calling: Calling, to: str, function: str, *args: Any,
    body: Source | None = None, bus: Bus | None = None, **fields: Any,
) -> AsyncIterator[ByteCall]:  # fmt: skip
    bus = bus or calling.client.bus
    reply = await opened(calling, bus, to, function, args, **fields)
    call = ByteCall(bus, CLOCK, function, as_json=False)
    place = stream_place(reply.err or {})
    if place is None:
        call.end(reply)
        yield call
        return
    call.begin(place)
    async with carried(call, body):
        yield call


async def whole(call: ByteCall) -> bytes:
    return b"".join([part async for part in call])


async def in_threes() -> AsyncIterator[bytes]:
    for start in range(0, 3000, 3):
        yield LETTERS[start : start + 3]


SOURCES: dict[str, tuple[Callable[[], Source | None], bytes]] = {
    "nothing": (lambda: None, b""),
    "no bytes": (lambda: b"", b""),
    "bytes": (lambda: LETTERS, LETTERS),
    "memory": (lambda: memoryview(bytearray(LETTERS)), LETTERS),
    "a file": (lambda: io.BytesIO(LETTERS), LETTERS),
    "pieces": (lambda: [b"", LETTERS[:7], b"", bytearray(LETTERS[7:])], LETTERS),
    "pieces that come": (in_threes, LETTERS[:3000]),
}


@pytest.fixture
async def to(calling: Calling) -> str:
    return await calling.deploy("streams", components.streams())


@pytest.mark.wasm
async def test_bytes_go_to_a_guest_and_come_back_while_it_runs(calling: Calling, to: str) -> None:
    for name, (source, expected) in SOURCES.items():
        async with stream(calling, to, "upper", body=source()) as call:
            assert await whole(call) == expected.upper(), name
            assert await call.value() == len(expected)
    async with stream(calling, to, "next", 41, body=LETTERS) as call:
        assert await call.value() == 42, "a call that uses no stream is one like any other"
        assert await whole(call) == b""


@pytest.mark.wasm
@pytest.mark.parametrize("compose", ["eager", "lazy"])
async def test_streams_pass_on_to_the_other_components_of_a_workload(
    calling: Calling, compose: str
) -> None:
    parts = {"front": bytes(wat2wasm(FRONT)), "behind": components.streams()}
    to = calling.name("front")
    await calling.submit(to, parts, behind={"compose": compose})
    await calling.take(to)
    async with stream(calling, to, "run", body=LETTERS, interface=RELAYED) as call:
        assert await whole(call) == LETTERS.upper()
        assert await call.value() == len(LETTERS)


@pytest.mark.wasm
async def test_one_answers_the_other_byte_by_byte(calling: Calling, to: str) -> None:
    questions, asked = anyio.create_memory_object_stream[bytes](1)
    async with questions, asked, stream(calling, to, "upper", body=asked) as call:
        for word in (b"one", b"two", b"three"):
            await questions.send(word)
            assert await anext(call) == word.upper()
        await questions.aclose()
        assert await call.value() == len("onetwothree")


@pytest.mark.wasm
async def test_sixty_four_mebibytes_pass_and_few_of_them_lie_anywhere(
    calling: Calling, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = 0
    real = ByteStream.read

    async def read(self: Any, at_most: int) -> bytes:
        nonlocal held
        held = max(held, self.held_bytes)
        return await real(self, at_most)

    monkeypatch.setattr(ByteStream, "read", read)
    async with stream(calling, to, "total", body=(b"\1" * MIB for _ in range(64))) as call:
        assert await call.value() == 64 * MIB
    assert held <= (WINDOW + 1) * PART_BYTES
    count = 0
    async with stream(calling, to, "produce", 16 * MIB, 50_000) as call:
        async for part in call:
            assert part[0] == count % 251
            count += len(part)
    assert count == 16 * MIB


@pytest.mark.wasm
async def test_whoever_takes_nothing_is_sent_nothing(
    calling: Calling, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamcalls, "POLL_S", 0.2)
    bus = Words(calling.client.bus)
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            yield bytes(PART_BYTES)
            given += 1

    async with stream(calling, to, "produce", 64 * MIB, 100_000, bus=bus, body=endless()) as call:
        first = await anext(call)
        # The guest reads nothing, and its caller but one part.
        await eventually(lambda: bus.count("ask") == WINDOW, timeout_s=30)
        assert 0 < len(first) <= PART_BYTES
        assert (bus.count("put"), given) == (WINDOW, WINDOW)
        assert bus.count("get") <= WINDOW + 1
        async for part in call:
            assert part
            if bus.count("get") > 3 * WINDOW:
                break


@pytest.mark.wasm
@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_word_that_is_lost_is_said_again(calling: Calling, to: str, lost: str) -> None:
    kinds = ("put", "get", "end", "ask")
    bus = Words(
        calling.client.bus, lambda word, n: lost if word.startswith(kinds) and n == 1 else ""
    )
    async with stream(calling, to, "upper", body=LETTERS, bus=bus) as call:
        assert await whole(call) == LETTERS.upper()
        assert await call.value() == len(LETTERS)


@pytest.mark.wasm
async def test_a_guest_that_leaves_the_rest_ends_the_call(calling: Calling, to: str) -> None:
    async with stream(calling, to, "take", 5, body=(LETTERS for _ in range(1000))) as call:
        assert await call.value() == 5


@pytest.mark.wasm
async def test_a_guest_that_fails_is_told_behind_what_it_wrote(calling: Calling, to: str) -> None:
    async with stream(calling, to, "fail", body=LETTERS) as call:
        assert await anext(call) == b"hello"
        with pytest.raises(GuestTrapError, match="unreachable"):
            await anext(call)


@pytest.mark.wasm
async def test_streams_in_which_nothing_moves_end_after_the_deadline(
    calling: Calling, to: str
) -> None:
    async with stream(calling, to, "spin", deadline_ms=1000) as call:
        assert await anext(call) == b"hello"
        with pytest.raises(DeadlineExceededError, match=r"no byte of .* moved for 1 s"):
            await anext(call)
    never = anyio.Event()

    async def silent() -> AsyncIterator[bytes]:
        yield b"hello"
        await never.wait()

    async with stream(calling, to, "total", body=silent(), deadline_ms=1000) as call:
        with pytest.raises(DeadlineExceededError, match=r"moved for 1 s"):
            await call.value()


@pytest.mark.wasm
async def test_a_place_is_free_again_however_the_call_ends(
    calling: Calling, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamcalls, "STREAMS_MAX", 1)

    class BrokenError(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        yield LETTERS
        raise BrokenError

    async with stream(calling, to, "spin", deadline_ms=30_000) as call:
        assert await anext(call) == b"hello"
        with pytest.raises(OverloadedError, match="1 calls stream bytes on this host already"):
            async with stream(calling, to, "upper") as other:
                await other.value()
        # Its caller leaves in the middle.
    with pytest.raises(BrokenError):
        async with stream(calling, to, "upper"):
            raise BrokenError
    async with stream(calling, to, "upper", body=broken()) as call:
        with pytest.raises(BrokenError):
            await whole(call)
    async with stream(calling, to, "next", 1) as call:
        assert await call.value() == 2
    with anyio.CancelScope() as scope:
        async with stream(calling, to, "spin", deadline_ms=30_000) as call:
            async for _part in call:
                scope.cancel()
    assert scope.cancelled_caught
    async with stream(calling, to, "upper", body=b"ok") as call:
        assert await whole(call) == b"OK"


@pytest.mark.wasm
async def test_a_caller_that_says_nothing_any_more_is_forgotten(
    calling: Calling, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamcalls, "SILENCE_S", 1.0)
    monkeypatch.setattr(streamcalls, "STREAMS_MAX", 1)
    reply = await opened(calling, calling.client.bus, to, "spin", (), deadline_ms=30_000)
    place = stream_place(reply.err or {})
    assert place is not None

    async def is_free() -> bool:
        try:
            async with stream(calling, to, "upper", body=b"ok") as call:
                return await whole(call) == b"OK"
        except (OverloadedError, NotFoundError):
            return False

    await eventually(is_free, timeout_s=30)
    lost = ByteCall(calling.client.bus, CLOCK, "spin", as_json=False)
    lost.begin(place)
    async with carried(lost, None):
        with pytest.raises(NotFoundError, match="does not stream here any more"):
            await anext(lost)


@pytest.mark.wasm
async def test_a_host_that_is_lost_in_the_middle_is_told(
    calling: Calling, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "SILENCE_S", 0.5)
    monkeypatch.setattr(streaming, "GONE_S", 0.5)
    monkeypatch.setattr(streamcalls, "SILENCE_S", 2.0)  # so that it ends, too
    is_lost = False
    bus = Words(calling.client.bus, lambda word, _n: "question" if word and is_lost else "")
    async with stream(calling, to, "produce", 64 * MIB, 1000, bus=bus) as call:
        await anext(call)
        is_lost = True
        with pytest.raises(DeadlineExceededError, match="its host was lost while bytes moved"):
            await whole(call)


@pytest.mark.wasm
async def test_calls_without_streams_and_calls_with_keys_are_refused(
    calling: Calling, to: str
) -> None:
    reply = await calling.ask(to, WORK, "upper")
    with pytest.raises(InvalidError, match="in a call that has no streams"):
        raise from_wire(reply.err or {})
    reply = await opened(calling, calling.client.bus, to, "upper", (), key="k")
    with pytest.raises(InvalidError, match="a call with streams has no key"):
        raise from_wire(reply.err or {})
    async with stream(calling, to, "upper", 1) as call:
        with pytest.raises(InvalidError, match="expected 0 arguments"):
            await call.value()


@pytest.mark.parametrize(
    "text",
    ["", "put", "put x", "put -1", "beat 1", "open 2", "get 1 2", "put ²", "end " + "9" * 16],
)
def test_what_is_no_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=HEADER):
        read_word(text)
