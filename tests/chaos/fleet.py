"""Three nats-servers, schedulers and hosts as processes, each behind a proxy that can be cut.

A cut proxy passes nothing on and closes nothing, as a cable that was pulled. Everything listens on
loopback and is ended with the context. Nothing here decides what is right.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from anyio.streams.stapled import MultiListener

from lattice.bus.auth import User, accounts_block
from lattice.bus.base import Connection
from lattice.bus.broker_files import PING_INTERVAL_S, PINGS_MAX, find_binary
from lattice.bus.connecting import connect as connect_bus
from lattice.bus.identity import create_user_seed, load_or_create_identity, load_or_create_seed
from lattice.client import connect
from lattice.client.session import LatticeClient
from lattice.config import Settings
from lattice.errors import LatticeError
from lattice.testing import eventually

LATTICE = "chaos"
START_S = 60.0
"""Seconds until all is up; machines of tests are busy."""

CHUNK_BYTES = 65_536


class Proxy:
    """Passes connections on to a server, until it is cut."""

    def __init__(self, group: TaskGroup, target: int) -> None:
        self._group, self._target = group, target
        self._whole = anyio.Event()
        self._whole.set()
        self.port = 0

    async def listen(self) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        self.port = listener.extra(SocketAttribute.local_port)
        self._group.start_soon(self._serve, listener)

    def cut(self) -> None:
        """Pass nothing on any more, in either direction."""
        self._whole = anyio.Event()

    def mend(self) -> None:
        """Go on where it was cut: what was sent meanwhile arrives."""
        self._whole.set()

    async def _serve(self, listener: MultiListener[SocketStream]) -> None:
        async with listener:
            await listener.serve(self._pass)

    async def _pass(self, client: SocketStream) -> None:
        async with client:
            await self._whole.wait()
            with suppress(OSError):
                server = await anyio.connect_tcp("127.0.0.1", self._target)
                async with server, anyio.create_task_group() as group:
                    group.start_soon(self._copy, client, server, group)
                    group.start_soon(self._copy, server, client, group)

    async def _copy(self, source: SocketStream, sink: SocketStream, group: TaskGroup) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                chunk = await source.receive(CHUNK_BYTES)
                await self._whole.wait()
                await sink.send(chunk)
        group.cancel_scope.cancel()


@dataclass(slots=True)
class Member:
    """A process of the lattice, and how it reaches NATS."""

    name: str
    words: list[str]
    proxy: Proxy
    log: Path
    id: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None, "it was started"
        return self.process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lattice", *self.words], stdout=log, stderr=log
            )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Fleet:
    """A lattice whose parts can be killed, stopped and cut off."""

    directory: Path
    ports: list[int]
    servers: list[subprocess.Popen[bytes]]
    seeds: dict[str, Path]
    hosts: dict[str, Member] = field(default_factory=dict[str, Member])
    schedulers: dict[str, Member] = field(default_factory=dict[str, Member])

    def settings(self, role: str = "operator") -> Settings:
        urls = tuple(f"nats://127.0.0.1:{port}" for port in self.ports)
        return Settings(lattice=LATTICE, servers=urls, nkey=self.seeds[role])

    @asynccontextmanager
    async def client(self) -> AsyncIterator[LatticeClient]:
        async with connect(self.settings()) as client:
            yield client

    @asynccontextmanager
    async def connection(self, role: str) -> AsyncIterator[Connection]:
        async with connect_bus(self.settings(role), name=f"test {role}") as connection:
            yield connection

    def start_server(self, number: int) -> None:
        """Start a nats-server, perhaps again, on its own port and data."""
        configuration = self.directory / f"nats-{number}.conf"
        with (self.directory / f"nats-{number}.log").open("ab") as log:
            self.servers[number] = subprocess.Popen(
                [str(find_binary()), "-c", str(configuration)], stdout=log, stderr=log
            )


@asynccontextmanager
async def fleet_up(
    directory: Path, *, hosts: int = 3, schedulers: int = 2, servers: int = 3,
    profile: str = "fast",
) -> AsyncIterator[Fleet]:  # fmt: skip
    """Yield a lattice in which all hosts are ready. Each process uses one server of its own, by a
    proxy, and learns of no other one."""
    names = [f"host-{number}" for number in range(hosts)]
    ids = {name: load_or_create_identity(directory / name).id for name in names}
    roles = ("scheduler", "operator", "client")
    seeds = {role: directory / f"{role}.nk" for role in roles}
    keys = {role: load_or_create_seed(path, create_user_seed()) for role, path in seeds.items()}
    users = [User(role=role, public_key=keys[role]) for role in roles]
    users += [User(role="host", public_key=key) for key in ids.values()]
    async with AsyncExitStack() as stack:
        ports = stack.enter_context(_free_ports(2 * servers))
        _configure(directory, ports[:servers], ports[servers:], users)
        fleet = Fleet(directory, ports[:servers], [None] * servers, seeds)  # type: ignore[list-item]  # started next
        stack.callback(_end_servers, fleet)
        for number in range(servers):
            fleet.start_server(number)
        await _until_clustered(fleet)
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        for number in range(schedulers):
            name = f"scheduler-{number}"
            words = ["scheduler", f"--copies={servers}", f"--profile={profile}"]
            words += ["--nkey", str(seeds["scheduler"])]
            member = await _member(fleet, group, name, words, number)
            fleet.schedulers[name] = member
            stack.callback(member.end)
            member.start()
        for number, name in enumerate(names):
            words = ["host", "--name", name, "--dir", str(directory / name)]
            words += ["--nkey", str(next((directory / name).glob("*.nk")))]
            member = await _member(fleet, group, name, words, number + 1)
            member.id = ids[name]
            fleet.hosts[name] = member
            stack.callback(member.end)
            member.start()
        async with fleet.client() as client:
            await until_ready(client, names)
        yield fleet


async def until_ready(client: LatticeClient, names: list[str]) -> None:
    """Return when these hosts are ready."""

    async def are_ready() -> bool:
        try:
            found = {host.name for host in await client.hosts() if host.state == "ready"}
        except LatticeError:
            return False
        return found >= {*names}

    await eventually(are_ready, timeout_s=START_S, what=f"{', '.join(names)} are ready")


async def _member(
    fleet: Fleet, group: TaskGroup, name: str, words: list[str], number: int
) -> Member:
    proxy = Proxy(group, fleet.ports[number % len(fleet.ports)])
    await proxy.listen()
    words = [*words, "--lattice", LATTICE, "--nats", f"nats://127.0.0.1:{proxy.port}"]
    return Member(name, words, proxy, fleet.directory / f"{name}.log")


async def _until_clustered(fleet: Fleet) -> None:
    """Return when JetStream has a leader."""

    async def answers() -> bool:
        try:
            async with fleet.connection("operator") as connection:
                packet = await connection.bus.request("$JS.API.INFO", timeout_s=1)
        except LatticeError:
            return False
        return "error" not in json.loads(packet.body)

    await eventually(answers, timeout_s=START_S, what="the servers have found each other")


def _configure(directory: Path, ports: list[int], routes: list[int], users: list[User]) -> None:
    system = load_or_create_seed(directory / "system.nk", create_user_seed())
    accounts = accounts_block({LATTICE: users}, system_keys=(system,))
    (directory / "accounts.conf").write_text(accounts)
    urls = [f"nats://127.0.0.1:{port}" for port in routes]
    for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
        settings = {
            "server_name": f"n{number}",
            "listen": f"127.0.0.1:{port}",
            "ping_interval": f"{PING_INTERVAL_S}s",
            "ping_max": PINGS_MAX,
            "jetstream": {"store_dir": str(directory / f"nats-{number}")},
        }
        if len(ports) > 1:
            # Clients are told of no other server: each has its own way, which can be cut.
            settings["cluster"] = {
                "name": "chaos", "listen": f"127.0.0.1:{route}", "routes": urls,
                "no_advertise": True,
            }  # fmt: skip
        lines = [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
        text = "\n".join([*lines, 'include "accounts.conf"', ""])
        (directory / f"nats-{number}.conf").write_text(text)


def _end_servers(fleet: Fleet) -> None:
    for server in fleet.servers:
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait()


@contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    """Yield ports that nobody used a moment ago: servers of a cluster must know each other's."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    yield ports
