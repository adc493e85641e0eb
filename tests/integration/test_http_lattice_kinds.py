"""Kinds of parts that answer over HTTP; what is told of requests in pages, logs and spans."""

from __future__ import annotations

import contextlib
import logging
import ssl
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hosts.http.front import HttpOptions
from hosts.http.tls import Certificate
from lattice import telemetry
from lattice.model.host import Inventory
from lattice.wire.codec import decode_as
from tests.contract.certificates import make_certificate
from tests.guests import web_guests
from tests.integration.host_world import World
from tests.integration.http_client import Client
from tests.integration.http_lattice import (
    ANY,
    HELLO,
    deploy,
    listening,
    running,
    status_of,
    until_running,
    until_status,
)

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


async def test_a_service_answers_one_request_after_the_other(world: World, tmp_path: Path) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await world.submit("web", {"webservice": web_guests.hello()}, http=ANY)
        await world.assign("H1", ("web", 1, 1))
        await until_running(world, "web", 1)
        assert [(await client.get()).body for _ in range(3)] == [HELLO] * 3


@pytest.mark.parametrize(
    "fields",
    [
        {"compose": "lazy"},
        {"limits": {"fuel": 10_000_000}},
        {"instances": {"mode": "reuse", "maxInvocations": 2}},
    ],
    ids=["lazy", "metered", "reused"],
)
async def test_a_part_answers_however_it_is_kept(
    world: World, tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with running(world, tmp_path) as port, Client(port) as client:
        await world.submit("web", {"guest": web_guests.hello()}, http=ANY, guest=fields)
        await world.assign("H1", ("web", 1, 1))
        await until_running(world, "web", 1)
        assert [(await client.get()).body for _ in range(5)] == [HELLO] * 5


async def test_of_two_parts_that_can_answer_the_named_one_does(
    world: World, tmp_path: Path
) -> None:
    parts = {"paths": web_guests.paths(), "hello": web_guests.hello()}
    async with running(world, tmp_path) as port, Client(port) as client:
        answers = {"hello": HELLO, "paths": bytes(i * 7 for i in range(10))}
        for generation, name in enumerate(answers, 1):
            route = {"path": "/", "component": name}
            await world.submit("web", parts, http=[route], generation=generation)
            await world.assign("H1", ("web", generation, 1))
            await until_running(world, "web", generation)
            assert (await client.get("/large?10")).body == answers[name]


async def test_https_is_answered_with_the_certificate_of_the_host(
    world: World, tmp_path: Path
) -> None:
    files = make_certificate(tmp_path, "host")
    encrypted = listening()
    options = HttpOptions(encrypted=[encrypted], certificate=Certificate(files.cert, files.key))
    trusting = ssl.create_default_context(cafile=files.cert)
    async with world.scheduler(), world.host("H1", tmp_path / "H1", http=options):
        port = encrypted.getsockname()[1]
        assert options.urls == (f"https://127.0.0.1:{port}",)
        await deploy(world, "web")
        async with await anyio.connect_tcp("127.0.0.1", port, ssl_context=trusting) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nhost: a.org\r\nconnection: close\r\n\r\n")
            answer = b""
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    answer += await stream.receive()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(HELLO)


async def test_people_who_develop_see_the_routes_and_others_do_not(
    world: World, tmp_path: Path
) -> None:
    async with running(world, tmp_path, is_dev=True) as port, Client(port) as client:
        await deploy(world, "web", http=[{"host": "docs.example.com", "path": "/%3Ca%3E"}])
        await until_status(client, 200, host=f"web.localhost:{port}")
        page = await client.get("/%3Cb", host=f"localhost:{port}")
        assert page.status == 404
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b"docs.example.com/%3Ca%3E" in page.body
        assert f'<a href="http://web.localhost:{port}/">web</a>'.encode() in page.body
    async with running(world, tmp_path) as port, Client(port) as client:
        await until_status(client, 404)
        assert await status_of(client, host=f"web.localhost:{port}") == 404
        assert (await client.get()).body == b"404 Not Found\n"


async def test_the_log_says_who_answered_and_how(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="hosts.http.accesslog")
    async with running(world, tmp_path) as port, Client(port) as client:
        await deploy(world, "web", http=[{"path": "/a"}])
        await client.get("/a/b")
        await client.get("/b")
    found = [
        (line["target"], line["status"], line["deployment"], line["route"], line["leg"])
        for record in caplog.records
        if (line := getattr(record, "http", None))
    ]
    assert found[-2:] == [("/a/b", 200, "web", "*/a", "local"), ("/b", 404, "", "", "")]


async def test_the_span_says_who_answered_and_how(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("lattice"))
    async with running(world, tmp_path) as port, Client(port) as client:
        await deploy(world, "web", web_guests.paths(), http=[{"path": "/large"}, {"path": "/trap"}])
        assert await status_of(client, "/large?10") == 200
        assert await status_of(client, "/trap") == 500
        assert await status_of(client, "/other") == 404
    found = [
        tuple(
            (span.attributes or {}).get(name)
            for name in ("lattice.deployment", "http.route", "lattice.leg")
        )
        for span in exporter.get_finished_spans()
        if span.name == "GET"
    ]
    assert found == [("web", "*/large", "local"), ("web", "*/trap", "local"), (None, None, None)]


async def test_a_host_says_where_it_takes_requests(world: World, tmp_path: Path) -> None:
    async with running(world, tmp_path) as port:
        entry = await world.connection.hosts.get("H1")
        assert entry is not None
        assert entry.value is not None
        assert decode_as(Inventory, entry.value).http == (f"http://127.0.0.1:{port}",)
