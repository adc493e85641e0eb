"""Requests over HTTP to lattices of real processes: applies, kills, workers."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from lattice.client.session import LatticeClient
from lattice.testing import eventually
from tests.e2e.conftest import Lattice, lattice_up
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    deploy,
    is_alive,
    send,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import web_guests
from tests.integration.http_client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HELLO = b"Hello, world!\n"
ROUTE = [{"host": "docs.example.com", "path": "/search"}]


def port_of(lattice: Lattice) -> int:
    port = urlsplit(lattice.facts["http"]).port
    assert port is not None
    return port


async def web(client: LatticeClient, name: str = "web", **fields: object) -> int:
    fields.setdefault("http", [{"path": "/"}])
    return await deploy(client, name, {"guest": web_guests.hello()}, **fields)


async def until_answered(port: int, target: str = "/", *, host: str = "") -> None:
    async def is_answered() -> bool:
        async with Client(port) as client:
            return (await client.get(target, host=host)).status == 200

    await eventually(is_answered, timeout_s=PATIENCE_S, what=f"{target} is answered")


@pytest.mark.parametrize("hosts", ["1", "2"])
async def test_no_request_is_lost_in_five_applies(tmp_path: Path, hosts: str) -> None:
    answered = [0]
    with lattice_up(tmp_path, "--hosts", hosts, "--http", "0") as lattice:
        port = port_of(lattice)
        async with client_of(lattice) as client, anyio.create_task_group() as group:
            await web(client)
            await until_answered(port)

            async def hammer(*, keeps: bool) -> None:
                async with Client(port) as asking:
                    while True:
                        reply = await asking.get()
                        assert (reply.status, reply.body) == (200, HELLO)
                        answered[0] += 1
                        if not keeps:
                            await asking.close()

            for keeps in (True, True, False):
                group.start_soon(lambda keeps=keeps: hammer(keeps=keeps))
            for number in range(5):
                generation = await web(client, labels={"number": str(number)})
                assert generation == number + 2
                await until_placed(client, "web", 1)
            before = answered[0]
            await eventually(lambda: answered[0] > before + 20, timeout_s=PATIENCE_S)
            group.cancel_scope.cancel()


async def test_people_are_told_where_requests_go(tmp_path: Path) -> None:
    with lattice_up(tmp_path, "--hosts", "1", "--http", "0") as lattice:
        port = port_of(lattice)
        async with client_of(lattice) as client:
            await web(client, http=ROUTE)
        await until_answered(port, "/search", host="docs.example.com")
        await until_answered(port, host=f"web.localhost:{port}")
        [host] = lattice.ok("get", "hosts", "--output", "json").json["hosts"]
        assert host["http"] == [lattice.facts["http"]]
        assert lattice.facts["http"] in lattice.ok("get", "hosts").out
        refused = lattice.run("apply", "--file", str(_manifest(tmp_path)))
        assert refused.status != 0
        assert "docs.example.com/search of other matches what a route of web matches" in refused.err


async def test_hosts_send_spans_where_the_variables_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with lattice_up(tmp_path, "--hosts", "1", "--http", "0") as lattice:
        async with client_of(lattice) as client:
            await web(client)
        await until_answered(port_of(lattice))
    log = (Path(lattice.facts["directory"]) / "logs" / "host-1.log").read_text()
    assert '"service.name": "host-1"' in log
    assert '"lattice.deployment": "web"' in log


def _manifest(directory: Path) -> Path:
    (directory / "other.wasm").write_bytes(web_guests.paths())
    path = directory / "other.yaml"
    path.write_text(
        "lattice: v1\nname: other\ncomponents: [{name: web, image: ./other.wasm}]\n"
        "http: [{host: docs.example.com, path: /search}]\n"
    )
    return path


async def test_the_other_host_answers_when_one_is_killed(tmp_path: Path) -> None:
    with lattice_up(tmp_path, "--hosts", "2", "--http", "0") as lattice:
        port = port_of(lattice)
        async with client_of(lattice) as client:
            await web(client, replicas=2)
            await until_placed(client, "web", 2)
            await until_answered(port)
            pid = lattice.pid("host-1")
            send(pid, signal.SIGKILL)
            await eventually(lambda: not is_alive(pid), timeout_s=PATIENCE_S)
            # From now on; what the killed process had taken is lost.
            for _ in range(50):
                async with Client(port) as asking:
                    assert (await asking.get()).body == HELLO
            await until_host(client, "host-1", "lost")
            await until_placed(client, "web", 2)


async def test_workers_share_the_port_and_each_answers(tmp_path: Path) -> None:
    with lattice_up(tmp_path, "--hosts", "1", "--workers", "2", "--http", "0") as lattice:
        port = port_of(lattice)
        async with client_of(lattice) as client:
            await web(client, replicas=2)
            await until_placed(client, "web", 2)
            await until_answered(port)

            async def both_were_asked() -> bool:
                async with Client(port) as asking:
                    assert (await asking.get()).body == HELLO
                listed = await client.replicas("web")
                return all(replica.calls for replica in listed.replicas)

            await eventually(both_were_asked, timeout_s=PATIENCE_S)


async def test_requests_are_answered_while_nats_is_away(tmp_path: Path) -> None:
    with lattice_up(tmp_path, "--hosts", "1", "--http", "0", "--restart") as lattice:
        port = port_of(lattice)
        async with client_of(lattice) as client:
            await web(client)
            await until_answered(port)
            pid = lattice.pid("nats-server")
            send(pid, signal.SIGKILL)
            await eventually(lambda: not is_alive(pid), timeout_s=PATIENCE_S)
            async with Client(port) as asking:
                for _ in range(50):
                    assert (await asking.get()).body == HELLO
            await until_leading(client)
            await web(client, http=[{"path": "/new"}])
            await until_answered(port, "/new")
