"""`lattice serve` with real processes: requests, grants, signals, HTTPS, no lattice anywhere."""

from __future__ import annotations

import json
import signal
import socket
import ssl
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from tests.e2e.serving import GET, HELLO, PATIENCE_S, Client, home, refused, serving, until_refused

__all__ = ["home"]

pytestmark = [pytest.mark.e2e, pytest.mark.wasm]


async def test_a_component_answers_at_the_address_that_is_printed(home: Path):
    with serving(home, "hello.wasm") as running:
        assert running.facts == {
            "url": f"http://127.0.0.1:{running.port}",
            "address": "127.0.0.1",
            "port": running.port,
            "file": str(home / "hello.wasm"),
            "workers": 1,
            "pid": running.process.pid,
        }
        assert await running.get() == HELLO
        assert "malloc.tcache_count" in running.variables, "it started again, once"
        assert running.end() == 128 + signal.SIGTERM


async def test_the_component_sees_what_is_granted_and_its_output_is_logged(home: Path):
    grants = ["--env", "A=b=c", "--config", "greeting=hi", "--mount", f"{home}:/data:ro"]
    with serving(home, "seer.wasm", *grants) as running:
        answers = [await running.get() for _ in range(2)]
    expected = b"request=1\nA=b=c\ngreeting=hi\ndirectory=/data\n"
    assert answers == [expected, expected], "each request has an instance of its own"
    lines = running.log.splitlines()
    said = [line for line in lines if " guest " in line]
    assert len(said) == 2
    assert all(line.endswith("guest seen \N{REPLACEMENT CHARACTER}[31m") for line in said)
    assert not any("accesslog" in line for line in lines)


async def test_kept_instances_answer_again_and_missing_values_are_told_once(home: Path):
    with serving(home, "seer.wasm", "--reuse", "--access-log") as running:
        answers = [await running.get("/page?x") for _ in range(3)]
    assert answers == [b"request=%d\n" % number for number in (1, 2, 3)]
    assert running.log.count("asks for 'greeting' of wasi:config") == 1
    assert running.log.count("GET a/page?x 200, 10 bytes in ") == 3


async def test_an_error_is_one_line_of_the_log_and_the_next_request_is_answered(home: Path):
    with serving(home, "paths.wasm", "--deadline", "500ms") as running:
        statuses = []
        for path in (b"/trap", b"/forever", b"/none"):
            async with running.connected() as client:
                head, _ = await client.ask(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
                statuses.append(head[9:12])
    assert statuses == [b"500", b"504", b"204"]
    bad = [line for line in running.log.splitlines() if "WARNING" in line]
    assert len(bad) == 2, bad
    assert "GET a/trap 500" in bad[0]
    assert "GuestTrapError" in bad[0]
    assert "unreachable" in bad[0]
    assert "GET a/forever 504" in bad[1]


async def test_other_components_stand_behind_the_first(home: Path):
    with serving(home, "layer.wasm", "hello.wasm") as running:
        async with running.connected() as client:
            early, _ = await client.ask(GET)
            assert early.startswith(b"HTTP/1.1 103 ")
            assert (await client.answer())[1] == HELLO
    with serving(home, "front.wasm", "asker.wasm") as running:
        assert await running.get() == b"error 15", "it asked, and its request was denied"
    with serving(home, "front.wasm", "asker.wasm", "--allow-host", "upstream.test") as running:
        assert b"error 15" not in await running.get()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_at_work_is_finished_at_the_end(home: Path, number: signal.Signals):
    with serving(home, "paths.wasm") as running:
        async with running.connected() as client:
            await client.stream.send(
                b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc"
            )
            while b"abc" not in client._buffer:
                client._buffer += await client.stream.receive()
            running.process.send_signal(number)
            await until_refused(running.port)
            await client.stream.send(b"def")
            assert (await client.answer())[1] == b"abcdef"
        assert running.process.wait(PATIENCE_S) == 128 + number


async def test_a_second_signal_ends_at_once(home: Path):
    with serving(home, "paths.wasm") as running:
        async with running.connected() as client:
            await client.stream.send(b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n")
            running.process.send_signal(signal.SIGTERM)
            await until_refused(running.port)
            assert running.process.poll() is None
            assert running.end(signal.SIGINT) == 128 + signal.SIGINT


async def test_connections_without_a_request_close_when_a_hundred_clients_are_there(home: Path):
    async with anyio.create_task_group() as tasks:
        with serving(home, "paths.wasm") as running:
            ready, told = anyio.Semaphore(0), anyio.Event()
            ended: list[str] = []

            async def keep(number: int) -> None:
                async with running.connected() as client:
                    head, _ = await client.ask(GET)
                    assert head.startswith(b"HTTP/1.1 204 ")
                    is_busy = number % 10 == 0
                    if is_busy:
                        await client.stream.send(
                            b"POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na"
                        )
                    ready.release()
                    await told.wait()
                    if is_busy:
                        await client.stream.send(b"bc")
                        _, body = await client.answer()
                        ended.append(f"answered {body.decode()}")
                    with pytest.raises(anyio.EndOfStream):
                        await client.stream.receive()
                    if not is_busy:
                        ended.append("closed")

            with anyio.fail_after(PATIENCE_S):
                for number in range(100):
                    tasks.start_soon(keep, number)
                for _ in range(100):
                    await ready.acquire()
                running.process.send_signal(signal.SIGTERM)
                await until_refused(running.port)
                told.set()
                while len(ended) < 100:
                    await anyio.lowlevel.checkpoint()
            assert sorted(ended) == ["answered 3"] * 10 + ["closed"] * 90
            assert running.process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_what_cannot_be_served_is_refused_with_advice(home: Path):
    status, said = refused(home, "asker.wasm")
    assert status == 1
    assert "asker.wasm answers no HTTP requests: it exports test:web/asking@0.1.0" in said
    assert "`lattice run`" in said
    (home / "core.wasm").write_bytes(b"\0asm\1\0\0\0")
    (home / "text.wasm").write_text("package a:b;\n")
    assert "core module" in refused(home, "core.wasm")[1]
    assert "found text" in refused(home, "text.wasm")[1]
    assert "nothing that" in refused(home, "hello.wasm", "asker.wasm")[1]
    assert "test:web/asking" in refused(home, "front.wasm")[1]
    assert refused(home, "hello.wasm", "--fresh", "--reuse")[0] == 2
    assert "--key needs --certificate" in refused(home, "hello.wasm", "--key", "x")[1]
    status, said = refused(home, "hello.wasm", "--certificate", str(home / "core.wasm"))
    assert (status, "PEM" in said) == (1, True)
    status, said = refused(home, "hello.wasm", "--output", "json", "--certificate", "none.pem")
    assert "none.pem: No such file" in json.loads(said)["err"]["message"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_refused(home: Path, workers: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = refused(home, "hello.wasm", "--port", port, "--workers", workers)
    assert status == 1
    assert f"port {port} of 127.0.0.1 is taken" in said


async def test_it_answers_at_an_address_of_ipv6(home: Path):
    with serving(home, "hello.wasm", "--bind", "[::1]") as running:
        assert running.facts["url"] == f"http://[::1]:{running.port}"
        async with running.connected("::1") as client:
            assert await client.get() == HELLO


async def test_https_works_for_clients_that_trust_the_authority_made_here(home: Path):
    with serving(home, "hello.wasm", "--tls") as running:
        authority = Path(running.facts["authority"])
        assert authority.parent == home / "data" / "lattice" / "certificates"
        assert {path.stat().st_mode & 0o777 for path in authority.parent.iterdir()} == {0o600}
        context = ssl.create_default_context(cafile=authority)
        assert running.facts["url"] == f"https://127.0.0.1:{running.port}"
        for name in ("localhost", "shop.localhost", "127.0.0.1"):
            plain = await anyio.connect_tcp("127.0.0.1", running.port)
            stream = await TLSStream.wrap(
                plain, hostname=name, ssl_context=context, standard_compatible=False
            )
            async with stream:
                assert await Client(stream).get() == HELLO
        plain = await anyio.connect_tcp("127.0.0.1", running.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            await TLSStream.wrap(plain, hostname="localhost")
        await plain.aclose()


async def test_spans_continue_the_trace_of_the_client(home: Path, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with serving(home, "paths.wasm") as running:
        async with running.connected() as client:
            _, body = await client.ask(
                b"GET /headers HTTP/1.1\r\nhost: a\r\ntraceparent: %b\r\n\r\n" % trace.encode()
            )
        assert running.end() == 128 + signal.SIGTERM
    seen = body.decode().split("traceparent\n")[1].split("-")
    assert seen[1] == trace.split("-")[1]
    assert f'"span_id": "0x{seen[2]}"' in running.log
    assert '"parent_id": "0xb7ad6b7169203331"' in running.log
    assert '"service.name": "paths"' in running.log
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none-such")
    assert "no exporter 'none-such' is installed" in refused(home, "paths.wasm")[1]
