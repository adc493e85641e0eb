"""Answers every request on a subject with its own bytes, in plain nats-py: the floor of a call.

python -m bench.echo URL SUBJECT [asyncio]; prints a line when it listens, ends on SIGINT. It runs
on uvloop, or on asyncio's own loop.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import nats
import uvloop
from nats.aio.msg import Msg


async def main(url: str, subject: str) -> None:
    """Echo until SIGINT."""
    client = await nats.connect(url)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(subject, cb=answer)
    await client.flush()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await client.close()


if __name__ == "__main__":
    run = asyncio.run if sys.argv[3:] == ["asyncio"] else uvloop.run
    run(main(sys.argv[1], sys.argv[2]))
