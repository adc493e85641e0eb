"""A process that asks over a socket and tells how long the answers took; see `ask_often`.

python -m bench.asker DESCRIPTOR QUESTIONS RATE SEED prints {"p50_s", "p99_s", "max_s"}
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

QUESTION = b"question"
ANSWER_S = 20.0
"""Seconds until an answer must be there: a wait longer than that is a fault, not a latency."""


async def ask_often(
    answer: Callable[[], Awaitable[object]], *, questions: int, rate: float, seed: int
) -> Mapping[str, float]:
    """Return p50, p99 and max of the seconds between question and answer, as another process saw.

    It asks at random moments, `rate` times a second on average, and waits for each answer. Here
    each question is a call of `answer` on the event loop. A process of its own, because a thread
    of this one would wait for the interpreter lock, which is no part of the latency.

    Raises:
        subprocess.CalledProcessError: the other process failed, for one because nobody answered.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor = theirs.fileno()
        words = [str(each) for each in (descriptor, questions, rate, seed)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.asker", *words,
            pass_fds=[descriptor], stdout=subprocess.PIPE,
        )  # fmt: skip
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        while await reader.read(len(QUESTION)):
            await answer()
            writer.write(QUESTION)
        said, _ = await process.communicate()
    finally:
        writer.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "bench.asker")
    told: Mapping[str, float] = json.loads(said)
    return told


def quantiles(latencies_s: list[float]) -> dict[str, float]:
    """Return p50, p99 and max of some latencies; p99 has a hundredth of them at or above it."""
    ordered = sorted(latencies_s)
    last = len(ordered) - 1
    return {
        "p50_s": ordered[last // 2],
        "p99_s": ordered[min(last, int(len(ordered) * 0.99))],
        "max_s": ordered[last],
    }


def main(descriptor: int, questions: int, rate: float, seed: int) -> None:
    """Ask, and print what was seen."""
    random_ = random.Random(seed)
    latencies_s: list[float] = []
    with socket.socket(fileno=descriptor) as connected:
        connected.settimeout(ANSWER_S)
        at_s = time.perf_counter()
        for _ in range(questions):
            at_s = max(at_s + random_.expovariate(rate), time.perf_counter())
            time.sleep(max(0.0, at_s - time.perf_counter()))
            asked_s = time.perf_counter()
            connected.sendall(QUESTION)
            if not connected.recv(len(QUESTION)):
                raise SystemExit("the connection was closed before all was asked")
            latencies_s.append(time.perf_counter() - asked_s)
    print(json.dumps(quantiles(latencies_s)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
