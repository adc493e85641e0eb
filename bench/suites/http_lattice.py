"""Requests to a lattice: one that another host has to answer, against one that is answered here."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import anyio

from bench.case import Case, LeftOut, Reading, Sampler, UnavailableError
from bench.results import CPU
from bench.running import RunningLattice, first_line, lattice_up, running
from bench.suites.http_serving import c_guest
from bench.tree import ProcessTree
from bench.webservers import WebServer, same_answer, two_processors
from bench.wrk import CONNECTIONS, SAMPLE_S, find_wrk, load
from lattice.client import connect

CASES = ("forwarded_vs_local",)

REPETITIONS = 5

KNOWN_S = 15.0
"""Seconds until the other host must know who answers: a few heartbeats."""

NAMES = ("near", "far")
"""The host that has the replica, and the one that has to forward to it."""

PATH = "/hello"


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; the lattice is started when they are measured."""
    try:
        find_wrk()
    except UnavailableError as reason:
        yield [LeftOut(name=name, reason=str(reason), unit="op/s") for name in wanted]
        return
    yield [_forwarded_vs_local()] if CASES[0] in wanted else []


def _forwarded_vs_local() -> Case:
    servers: dict[str, WebServer] = {}
    trees: list[ProcessTree] = []

    @asynccontextmanager
    async def around(effort: float) -> AsyncIterator[None]:
        with two_processors():
            async with AsyncExitStack() as stack:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
                keys = [await _made_key(folder / name) for name in NAMES]
                options = [word for key in keys for word in ("--authorize", key)]
                lattice = await stack.enter_async_context(lattice_up(0, *options))
                trees.append(ProcessTree(lattice.pids["nats-server"]))
                for name in NAMES:
                    starting = _host(lattice, folder / name)
                    servers[name] = await stack.enter_async_context(starting)
                    trees.append(servers[name].tree)
                await _deploy(lattice)
                await _known(servers["far"])
                for tree in trees if effort > 0.1 else ():
                    await tree.settled()
                yield

    return Case(
        name=CASES[0],
        what=f"GET {PATH} of a guest in C on the other of two hosts, instances are used again; wrk "
        f"with {CONNECTIONS} kept connections; `{CPU}` is that of both hosts and NATS",
        ours=_sampler(servers, "far", trees),
        peer=_sampler(servers, "near", trees),
        peer_name="the host that has the replica is asked itself",
        unit="op/s",
        is_sampled=True,
        warm_up=1,
        repetitions=REPETITIONS,
        check=partial(same_answer, servers.values(), PATH),
        around=around,
    )


async def _made_key(folder: Path) -> str:
    """Make the key of a host in its folder, and return the public one."""
    command = [sys.executable, "-m", "lattice", "auth", "key", str(folder / "identity.nk")]
    return (await anyio.run_process(command)).stdout.decode().strip()


@asynccontextmanager
async def _host(lattice: RunningLattice, folder: Path) -> AsyncIterator[WebServer]:
    """Yield a host that takes requests, and has its name as a label."""
    name = folder.name
    words = ["host", "--dir", str(folder), "--name", name, "--label", f"name={name}",
             "--http", "127.0.0.1:0", "--output", "json"]  # fmt: skip
    command = [sys.executable, "-m", "lattice", *words]
    async with running(command, lattice.environment) as process:
        facts = json.loads(await first_line(process, f"host {name}"))
        port = urlsplit(facts["http"][0]).port
        assert port is not None, f"{facts['http']} has a port"
        yield WebServer(name=name, port=port, tree=ProcessTree(process.pid))


async def _deploy(lattice: RunningLattice) -> None:
    """Run one replica, on the near host."""
    image = lattice.folder / "hello.wasm"
    image.write_bytes(c_guest().read_bytes())
    manifest: dict[str, Any] = {
        "lattice": "v1",
        "name": "hello",
        "components": [
            {"name": "hello", "image": str(image), "instances": {"mode": "reuse"},
             "limits": {"concurrency": CONNECTIONS}}
        ],
        "http": [{"path": "/"}],
        "placement": {"require": {"labels": [f"name={NAMES[0]}"]}},
    }  # fmt: skip
    async with connect(lattice.settings) as client:
        await client.apply(manifest, wait=True)


async def _known(server: WebServer) -> None:
    """Return when a host answers, which it does once it has heard of the replica."""
    with anyio.move_on_after(KNOWN_S):
        while True:
            try:
                server.ask(PATH)
            except AssertionError:
                await anyio.sleep(0.1)
            else:
                return
    server.ask(PATH)


def _sampler(servers: dict[str, WebServer], side: str, trees: Sequence[ProcessTree]) -> Sampler:
    async def sample(effort: float) -> Reading:
        before_s = sum(tree.cpu_s() for tree in trees)
        found = await load(servers[side].url(PATH), max(1, round(SAMPLE_S * effort)))
        used_s = sum(tree.cpu_s() for tree in trees) - before_s
        return Reading(
            elapsed_s=found.elapsed_s,
            operations=found.requests,
            figures={
                CPU: used_s / found.requests * 1e6,
                "p50_ms": found.p50_ms,
                "p99_ms": found.p99_ms,
            },
        )

    return sample
