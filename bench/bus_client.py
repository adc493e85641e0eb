"""One process with a bare client of NATS, ours or nats-py: it answers, or asks as it is told.

python -m bench.bus_client {muxed|nats-py} {asyncio|uvloop} {echo|ask} URL SUBJECT

An echo prints a line when it listens, and ends on SIGINT. An asker reads lines `CALLS IN_FLIGHT
BYTES` and answers each with a line of JSON: the seconds that all requests took, and the processor
seconds of this process. It ends with its input. Our asker is the bus as the product uses it, with
its checks of subjects and sizes; everything else is the bare client, with a callback that answers.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats
import uvloop
from nats.aio.msg import Msg

from lattice.bus.muxed_connect import connect_muxed
from lattice.bus.nats import NatsBus
from lattice.bus.options import ConnectOptions

Ask = Callable[[bytes], Awaitable[bytes]]

TIMEOUT_S = 60.0


async def main(client: str, role: str, url: str, subject: str) -> None:
    """Echo until SIGINT, or ask until there are no more lines."""
    if role == "ask":
        asking = _asks_muxed if client == "muxed" else _asks_nats
        async with asking(url, subject) as ask:
            await _ask_as_told(ask)
        return
    echoing = _echoes_muxed if client == "muxed" else _echoes_nats
    async with echoing(url, subject):
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
        print("ready", flush=True)
        await stop.wait()


async def _ask_as_told(ask: Ask) -> None:
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        calls, in_flight, size = map(int, line.split())
        print(json.dumps(await _measured(ask, calls, in_flight, bytes(size))), flush=True)


async def _measured(ask: Ask, calls: int, in_flight: int, body: bytes) -> dict[str, float]:
    if await ask(body) != body:
        message = "the echo answered something else"
        raise AssertionError(message)
    left = iter(range(calls))

    async def one_after_the_other() -> None:
        for _ in left:
            await ask(body)

    began_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_the_other())
    return {
        "elapsed_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - cpu_s,
    }


@asynccontextmanager
async def _asks_muxed(url: str, subject: str) -> AsyncIterator[Ask]:
    async with connect_muxed(ConnectOptions(servers=(url,))) as link:
        bus = NatsBus(link)

        async def ask(body: bytes) -> bytes:
            return (await bus.request(subject, body, timeout_s=TIMEOUT_S)).body

        yield ask


@asynccontextmanager
async def _asks_nats(url: str, subject: str) -> AsyncIterator[Ask]:
    client = await nats.connect(url)

    async def ask(body: bytes) -> bytes:
        return (await client.request(subject, body, timeout=TIMEOUT_S)).data

    try:
        yield ask
    finally:
        await client.close()


@asynccontextmanager
async def _echoes_muxed(url: str, subject: str) -> AsyncIterator[None]:
    async with connect_muxed(ConnectOptions(servers=(url,))) as link:

        def answer(_: bytes, reply_to: bytes, __: bytes, body: bytes) -> None:
            link.post(reply_to.decode(), body)

        await link.listen(subject, "", answer)
        yield


@asynccontextmanager
async def _echoes_nats(url: str, subject: str) -> AsyncIterator[None]:
    client = await nats.connect(url)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(subject, cb=answer)
    await client.flush()
    try:
        yield
    finally:
        await client.close()


if __name__ == "__main__":
    run = uvloop.run if sys.argv[2] == "uvloop" else asyncio.run
    run(main(sys.argv[1], *sys.argv[3:]))
