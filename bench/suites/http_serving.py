"""Requests to a component that is served: ours against `wasmtime serve`, same guest, same load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.case import Case, LeftOut, Reading, Sampler, UnavailableError
from bench.results import CPU
from bench.webservers import (
    POOLING,
    REUSE,
    WebServer,
    ours,
    same_answer,
    theirs,
    two_processors,
    wasmtime_program,
)
from bench.wrk import CONNECTIONS, SAMPLE_S, find_wrk, load

REPETITIONS = 9
"""Pairs of runs: with two seconds each the interval is a few per cent wide."""

FEWER = 5
"""The same for what has no target in both ratios: all of it is to take less than ten minutes."""

Start = Callable[[Path], AbstractAsyncContextManager[WebServer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Who is asked for what, and what is wanted of ours."""

    name: str
    guest: Callable[[], Path]
    ours: Start
    peer: Start
    peer_name: str
    about: str
    target: float | None = None  # of requests in a second
    cpu_target: float | None = None  # of processor time
    path: str = "/hello"
    is_varied: bool = False


def c_guest() -> Path:
    """Return the guest in C that says hello."""
    from tests.guests import web_guests

    path = web_guests.BUILD / "bench-hello.wasm"
    path.write_bytes(web_guests.hello())
    return path


def js_guest() -> Path:
    """Return the guest in JavaScript that answers `fetch` events, as componentize-js builds it.

    Raises:
        UnavailableError: node or npm is not on this machine.
    """
    from tests.guests.languages import building, web

    try:
        return web.starlingmonkey()
    except building.Unavailable as reason:
        raise UnavailableError(f"the guest in JavaScript cannot be built: {reason}") from None


def python_guest() -> Path:
    """Return the guest in Python, as componentize-py builds it."""
    from tests.guests.languages import web

    return web.python()


def _ours(*options: str) -> Start:
    return lambda guest: ours(guest, *options)


def _theirs(*options: str) -> Start:
    return lambda guest: theirs(guest, *options)


_POOLING_NAME = "wasmtime serve, pooling allocator that keeps memories"
_REUSE_NAME = "wasmtime serve, pooling allocator and reuse of instances"

MATCHES = (
    Match(
        name="fresh_vs_serve_default", guest=c_guest, about="a fresh instance for each request",
        ours=_ours("--fresh"), peer=_theirs(), peer_name="wasmtime serve as it comes",
        target=2.5, cpu_target=2.5,
    ),
    Match(
        name="fresh_vs_serve_pooling", guest=c_guest, about="a fresh instance for each request",
        ours=_ours("--fresh"), peer=_theirs(*POOLING), peer_name=_POOLING_NAME,
        target=1.2, cpu_target=1.2,
    ),
    Match(
        name="warm_vs_serve_reuse", guest=c_guest, about="instances are used again",
        ours=_ours("--reuse"), peer=_theirs(*POOLING, *REUSE), peer_name=_REUSE_NAME,
        target=1.0, cpu_target=1.0,
    ),
    Match(
        name="fresh_varied_vs_serve_pooling", guest=c_guest, is_varied=True,
        about="a fresh instance and another target for each request",
        ours=_ours("--fresh"), peer=_theirs(*POOLING), peer_name=_POOLING_NAME,
    ),
    Match(
        name="warm_varied_vs_serve_reuse", guest=c_guest, is_varied=True,
        about="instances are used again, another target for each request",
        ours=_ours("--reuse"), peer=_theirs(*POOLING, *REUSE), peer_name=_REUSE_NAME,
    ),
    Match(
        name="js_fresh_vs_serve", guest=js_guest,
        about="a fresh instance of a guest in JavaScript (componentize-js) for each request",
        ours=_ours("--fresh"), peer=_theirs(), peer_name="wasmtime serve as it comes",
        target=3.0, cpu_target=3.0,
    ),
    Match(
        name="js_fresh_vs_serve_pooling", guest=js_guest,
        about="a fresh instance of a guest in JavaScript (componentize-js) for each request",
        ours=_ours("--fresh"), peer=_theirs(*POOLING), peer_name=_POOLING_NAME,
    ),
    Match(
        name="reuse_gain", guest=c_guest, about="instances are used again",
        ours=_ours("--reuse"), peer=_ours("--fresh"), peer_name="ours with fresh instances",
        target=1.8,
    ),
    Match(
        name="reuse_gain_python", guest=python_guest,
        about="instances of a guest in Python (componentize-py) are used again",
        ours=_ours("--reuse"), peer=_ours("--fresh"), peer_name="ours with fresh instances",
        target=5.0,
    ),
)  # fmt: skip

CASES = tuple(match.name for match in MATCHES)


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; each starts its servers when it is measured, and ends them."""
    yield [_case_or_why_not(match) for match in MATCHES if match.name in wanted]


def _case_or_why_not(match: Match) -> Case | LeftOut:
    try:
        find_wrk()
        wasmtime_program()
        return _case(match, match.guest())
    except UnavailableError as reason:
        return LeftOut(name=match.name, reason=str(reason), unit="op/s", target=match.target)


def _case(match: Match, guest: Path) -> Case:
    servers: dict[str, WebServer] = {}

    @asynccontextmanager
    async def around(effort: float) -> AsyncIterator[None]:
        with two_processors():
            async with AsyncExitStack() as stack:
                servers["ours"] = await stack.enter_async_context(match.ours(guest))
                servers["peer"] = await stack.enter_async_context(match.peer(guest))
                for server in servers.values():
                    server.ask(match.path)
                    if effort > 0.1:
                        await server.tree.settled()
                yield

    return Case(
        name=match.name,
        what=f"GET {match.path}: {match.about}; wrk with {CONNECTIONS} kept connections, all "
        "processes on the same two processors",
        ours=_sampler(servers, "ours", match),
        peer=_sampler(servers, "peer", match),
        peer_name=match.peer_name,
        unit="op/s",
        is_sampled=True,
        warm_up=1,
        repetitions=FEWER if match.cpu_target is None else REPETITIONS,
        target=match.target,
        targets={} if match.cpu_target is None else {CPU: match.cpu_target},
        check=partial(same_answer, servers.values(), match.path),
        around=around,
    )


def _sampler(servers: dict[str, WebServer], side: str, match: Match) -> Sampler:
    async def sample(effort: float) -> Reading:
        server = servers[side]
        before_s = server.tree.cpu_s()
        seconds = max(1, round(SAMPLE_S * effort))
        found = await load(server.url(match.path), seconds, is_varied=match.is_varied)
        used_s = server.tree.cpu_s() - before_s
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
