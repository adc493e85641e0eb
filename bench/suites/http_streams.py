"""A body of a gigabyte through a served component: how fast, and how much memory it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from bench.case import Case, LeftOut, Reading, Sampler, UnavailableError
from bench.results import CPU
from bench.streaming import Passed, stream
from bench.webservers import WebServer, ours, theirs, two_processors, wasmtime_program

BODY_BYTES = 1_000_000_000

LEAST_BYTES = 10_000_000
"""Of a run that only shows that it works."""

REPETITIONS = 3
"""Pairs: one takes ten seconds; the interval is wide, and the memory does not vary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Which way a body goes."""

    name: str
    what: str
    path: str  # of the guest `tests/guests/web/paths.c`
    is_sent: bool
    is_taken: bool


COURSES = (
    Course(
        name="stream_1g_up", what="a body of 1 GB is sent to a guest in C that counts it",
        path="/count", is_sent=True, is_taken=False,
    ),
    Course(
        name="stream_1g_down", what="a guest in C writes an answer of 1 GB",
        path="/large?{length}", is_sent=False, is_taken=True,
    ),
    Course(
        name="stream_1g_echo", what="a guest in C sends a body of 1 GB back while it comes",
        path="/echo", is_sent=True, is_taken=True,
    ),
)  # fmt: skip

CASES = tuple(course.name for course in COURSES)


def paths_guest() -> Path:
    """Return the guest in C that reads and writes bodies."""
    from tests.guests import web_guests

    path = web_guests.BUILD / "bench-paths.wasm"
    path.write_bytes(web_guests.stable_paths())
    return path


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; each starts its servers when it is measured, and ends them."""
    try:
        wasmtime_program()
        guest = paths_guest()
    except UnavailableError as reason:
        yield [LeftOut(name=name, reason=str(reason), unit="MB/s") for name in wanted]
        return
    yield [_case(course, guest) for course in COURSES if course.name in wanted]


def _case(course: Course, guest: Path) -> Case:
    servers: dict[str, WebServer] = {}

    @asynccontextmanager
    async def around(effort: float) -> AsyncIterator[None]:
        with two_processors():
            async with AsyncExitStack() as stack:
                # One worker: a body goes through one, and the other's memory is no part of it.
                starting = ours(guest, "--fresh", workers=1)
                servers["ours"] = await stack.enter_async_context(starting)
                servers["peer"] = await stack.enter_async_context(theirs(guest))
                for server in servers.values():
                    await to_thread.run_sync(_pass, course, server, LEAST_BYTES)
                    if effort > 0.1:
                        await server.tree.settled()
                yield

    return Case(
        name=course.name,
        what=f"{course.what}; `peak_mib` is the most memory that the server had resident "
        "meanwhile, `growth_mib` what of it is more than before",
        ours=_sampler(servers, "ours", course),
        peer=_sampler(servers, "peer", course),
        peer_name="wasmtime serve as it comes",
        unit="MB/s",
        is_sampled=True,
        warm_up=0,
        repetitions=REPETITIONS,
        around=around,
    )


def _sampler(servers: dict[str, WebServer], side: str, course: Course) -> Sampler:
    async def sample(effort: float) -> Reading:
        server = servers[side]
        length = max(LEAST_BYTES, round(BODY_BYTES * effort))
        server.tree.forget_peak()
        before_s, before_bytes = server.tree.cpu_s(), server.tree.peak_bytes()
        passed = await to_thread.run_sync(_pass, course, server, length)
        peak_bytes = server.tree.peak_bytes()
        used_s = server.tree.cpu_s() - before_s
        return Reading(
            elapsed_s=passed.elapsed_s,
            operations=length / 1e6,
            figures={
                CPU: used_s / (length / 1e6) * 1e6,
                "peak_mib": peak_bytes / (1 << 20),
                "growth_mib": (peak_bytes - before_bytes) / (1 << 20),
            },
        )

    return sample


def _pass(course: Course, server: WebServer, length: int) -> Passed:
    """Have a body of a length go its way.

    Raises:
        AssertionError: not all of it arrived.
    """
    sent = length if course.is_sent else 0
    passed = stream(server.port, course.path.format(length=length), sent)
    if course.is_taken:
        assert passed.taken_bytes >= length, f"{passed.taken_bytes} of {length} bytes came"
    else:
        assert str(length).encode() in passed.last, f"{passed.last!r} were counted, not {length}"
    return passed
