"""Workers of `lattice serve` that are killed under load: what is answered is right, and all come
back."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.scale import TIMEOUT_S, sized
from tests.chaos.victim import GET, Victim, serving
from tests.guests import web_guests

pytestmark = [pytest.mark.e2e, pytest.mark.wasm, pytest.mark.timeout(TIMEOUT_S)]

WORKERS = 2

COME_BACK_S = 60.0
"""Seconds until a worker must be back: it waits longer each time it has died, up to half of it."""


def kind_of(victim: Victim) -> str:
    """Ask once, and return what came of it."""
    try:
        answer = victim.ask(GET)
    except OSError:
        return "refused"
    if answer.startswith(b"HTTP/1.1 204 ") and answer.endswith(b"\r\n\r\n"):
        return "right"
    return "broken off" if answer in (b"", b"<reset>") else f"wrong: {answer!r}"


def workers(victim: Victim) -> set[int]:
    return set(victim.tree.pids()[1:])


def listening(victim: Victim) -> int:
    """Return how many sockets listen on the port: each worker that is ready has its own."""
    entries = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(entry[1].endswith(f":{victim.port:04X}") and entry[3] == "0A" for entry in entries)


def test_workers_that_are_killed_under_load_come_back(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    guest = tmp_path / "paths.wasm"
    guest.write_bytes(web_guests.paths())
    kinds: Counter[str] = Counter()
    is_over = threading.Event()
    with serving(guest, tmp_path, "--workers", str(WORKERS)) as victim:

        def ask() -> None:
            while not is_over.is_set():
                kinds[kind_of(victim)] += 1

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        try:
            for _ in range(sized(2, 8)):
                before = workers(victim)
                assert len(before) == WORKERS
                killed = rng.choice(sorted(before))
                os.kill(killed, signal.SIGKILL)
                deadline_s = time.monotonic() + COME_BACK_S
                while killed in workers(victim) or listening(victim) < WORKERS:
                    assert time.monotonic() < deadline_s, "the worker does not come back"
                    kinds[kind_of(victim)] += 1
        finally:
            is_over.set()
            for asker in askers:
                asker.join()
        assert kind_of(victim) == "right"
    assert not [kind for kind in kinds if kind.startswith("wrong")], kinds
    assert kinds["right"] > kinds["refused"] + kinds["broken off"], kinds
