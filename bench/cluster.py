"""A cluster of nats-servers with JetStream on loopback, in processes and folders of its own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import nats

from bench.case import UnavailableError
from bench.running import START_S, running
from lattice.bus.base import PAYLOAD_BYTES_MAX
from lattice.bus.broker_files import find_binary

SERVERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the servers listen, and which processes they are."""

    urls: tuple[str, ...]
    pids: Mapping[str, int]


@asynccontextmanager
async def cluster_up(folder: Path) -> AsyncIterator[Cluster]:
    """Yield a cluster that has elected who leads its streams.

    Raises:
        UnavailableError: it does not within the time.
    """
    clients, routes = free_ports(SERVERS), free_ports(SERVERS)
    async with AsyncExitStack() as stack:
        pids: dict[str, int] = {}
        for at in range(SERVERS):
            own = folder / f"nats-{at}"
            own.mkdir(parents=True)
            file = own / "nats.conf"
            file.write_text(_configuration(at, clients, routes, own))
            process = await stack.enter_async_context(
                running([str(find_binary()), "-c", str(file)])
            )
            pids[f"nats-{at}"] = process.pid
        urls = tuple(f"nats://127.0.0.1:{port}" for port in clients)
        await _await_leader(urls)
        yield Cluster(urls=urls, pids=pids)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _configuration(at: int, clients: list[int], routes: list[int], folder: Path) -> str:
    """Return the file of one server. JSON is valid there."""
    configuration = {
        "server_name": f"bench-{at}",
        "listen": f"127.0.0.1:{clients[at]}",
        "max_payload": PAYLOAD_BYTES_MAX,
        "log_file": str(folder / "nats.log"),
        "jetstream": {"store_dir": str(folder / "jetstream"), "max_file": 16 << 30},
        "cluster": {
            "name": "bench",
            "listen": f"127.0.0.1:{routes[at]}",
            "routes": [f"nats://127.0.0.1:{port}" for port in routes],
        },
    }
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in configuration.items())


async def _ignored(_: Exception) -> None:
    """Say nothing of a server that does not listen yet."""


async def _await_leader(urls: tuple[str, ...]) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            client = await nats.connect(
                servers=list(urls), allow_reconnect=False, error_cb=_ignored
            )
        except (OSError, nats.errors.Error):
            await anyio.sleep(0.1)
            continue
        try:
            stream = await client.jetstream().add_stream(
                name="bench-ready", subjects=["bench.ready"], num_replicas=SERVERS
            )
            await client.jetstream().delete_stream(str(stream.config.name))
        except nats.errors.Error:
            await anyio.sleep(0.1)
        else:
            return
        finally:
            await client.close()
    message = f"the cluster of nats-servers is not ready within {START_S:g} s"
    raise UnavailableError(message)
