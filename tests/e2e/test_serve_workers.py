"""`lattice serve --workers 2` with real processes: workers are killed, and siblings go on."""

from __future__ import annotations

import json
import signal
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from lattice.testing import eventually
from tests.e2e.running import is_alive, send
from tests.e2e.serving import HELLO, PATIENCE_S, Client, home, serving

__all__ = ["home"]

pytestmark = [pytest.mark.e2e, pytest.mark.wasm]


async def test_only_requests_at_work_in_a_killed_worker_fail(home: Path):
    failed = [0] * 24
    answered = [0] * 24

    with serving(home, "hello.wasm", "--workers", "2") as running:
        victim = min(running.children())

        async def ask_on_and_on(number: int) -> None:
            while True:
                try:
                    async with running.connected() as client:
                        while True:
                            assert await client.get() == HELLO
                            answered[number] += 1
                except (anyio.BrokenResourceError, anyio.EndOfStream):
                    failed[number] += 1

        async def all_go_on() -> None:
            before = list(answered)
            while not all(now > then + 5 for now, then in zip(answered, before, strict=True)):
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for number in range(24):
                    tasks.start_soon(ask_on_and_on, number)
                await all_go_on()
                send(victim, signal.SIGKILL)
                await all_go_on()
                await eventually(
                    lambda: "answers again" in running.log, timeout_s=PATIENCE_S, what="it is back"
                )
                await all_go_on()
                tasks.cancel_scope.cancel()
        assert set(failed) == {0, 1}, "clients of the other worker saw nothing of it"
        workers = running.children()
        assert len(workers) == 2
        assert victim not in workers
        assert "was ended by SIGKILL" in running.log
        assert running.end() == 128 + signal.SIGTERM
    assert not any(map(is_alive, workers))


async def test_workers_answer_with_what_the_file_was_and_end_with_the_supervisor(home: Path):
    (home / "changing.wasm").write_bytes((home / "hello.wasm").read_bytes())
    with serving(home, "changing.wasm", "--workers", "2", cache="cold") as running:
        assert running.facts["workers"] == 2
        (home / "changing.wasm").write_bytes(b"nothing any more")
        for victim in running.children():
            send(victim, signal.SIGKILL)
        await eventually(
            lambda: running.log.count("answers again") == 2, timeout_s=PATIENCE_S, what="both back"
        )
        assert await running.get() == HELLO
        assert running.log.count(": compiled in ") == 1, "by one of them, for all"
        workers = running.children()
        running.process.kill()
        running.process.wait()
        await eventually(
            lambda: not any(map(is_alive, workers)), timeout_s=PATIENCE_S, what="they are gone"
        )


@pytest.mark.slow
async def test_a_component_that_brings_workers_down_is_not_served_any_more(home: Path):
    with serving(home, "paths.wasm", "--workers", "2") as running:
        for deaths in (2, 4):
            async with AsyncExitStack() as stack:
                for _ in range(12):  # so that each worker has some
                    client = await stack.enter_async_context(running.connected())
                    await client.stream.send(
                        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab"
                    )
                    while b"ab" not in client._buffer:
                        client._buffer += await client.stream.receive()
                for worker in running.children():
                    send(worker, signal.SIGABRT)
                await eventually(
                    lambda deaths=deaths: (
                        running.log.count("answers again") == deaths
                        or running.process.poll() is not None
                    ),
                    timeout_s=PATIENCE_S,
                    what="the workers are back, or given up",
                )
        assert running.process.wait(PATIENCE_S) == 4
    assert "is not served any more: it was at work in 3" in running.log
    assert "SIGABRT" in json.loads(running.log.splitlines()[-1])["err"]["message"]


async def test_workers_hand_connections_to_each_other_where_the_system_does_not(home: Path):
    code = "from lattice.cli import serve_workers; serve_workers.IS_BALANCED = False"
    with serving(home, "seer.wasm", "--workers", "2", "--reuse", "--tls", code=code) as running:
        context = ssl.create_default_context(cafile=running.facts["authority"])
        answers = []
        for _ in range(8):
            plain = await anyio.connect_tcp("127.0.0.1", running.port)
            stream = await TLSStream.wrap(
                plain, hostname="localhost", ssl_context=context, standard_compatible=False
            )
            async with stream:
                answers.append(await Client(stream).get())
        assert running.end() == 128 + signal.SIGTERM
    assert all(answer.startswith(b"request=") for answer in answers)
    said = [line for line in running.log.splitlines() if " guest " in line]
    assert {word for line in said for word in line.split() if "worker" in word} == {
        "worker-0",
        "worker-1",
    }
