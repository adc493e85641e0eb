"""What answers the browser: the project, and under `/.lattice` what there is to know of it.

Stands before the host's router. It waits while nothing is in service yet, and turns what a guest
failed with into a page that says why.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import anyio

from hosts.http.accesslog import Served
from hosts.http.base import Exchange, Handler, Headers
from hosts.http.failures import status_of
from lattice.cli.dev.injecting import SCRIPT, WithScript
from lattice.cli.dev.places import Places, told_trap
from lattice.cli.dev.state import Problem, Request, State
from lattice.errors import GuestTrapError, LatticeError

ROOT = "/.lattice"
HOST = "lattice.localhost"
"""All of this name is the status page."""

PAGES = Path(__file__).parent / "pages"

FIRST_S = 120.0
"""Seconds that a request waits for the first build."""

LINES_S = 0.03
"""Seconds until what a guest wrote before it failed has come."""

LINES_SHOWN = 40
"""Lines of a guest's last words that are shown."""

BEAT_S = 15.0
"""Seconds between two signs of life to a browser that follows."""

UPDATES_S = 0.1
"""Least seconds between two updates of a browser."""

_OWN_END = re.compile(r"\bunreachable\b|before the body of its answer was finished")

_HTML = b"text/html; charset=utf-8"


class Site:
    """What a browser sees. `around` goes to the host, `on_served` to its server."""

    def __init__(self, state: State, places: Places, *, adds_script: bool = True) -> None:
        self._state = state
        self._places = places
        self._adds_script = adds_script

    def around(self, router: Handler) -> Handler:
        """Return what answers in place of the router."""

        async def answer(exchange: Exchange) -> None:
            head = exchange.head
            is_root = head.path == ROOT or head.path.startswith(f"{ROOT}/")
            if is_root or head.authority.partition(":")[0] == HOST:
                await self._own(exchange)
            else:
                await self._answered(exchange, router)

        return answer

    def on_served(self, served: Served) -> None:
        """Take note of a request, unless it was for one of the pages here."""
        is_own = served.target.startswith(ROOT) or served.authority.partition(":")[0] == HOST
        if is_own:
            return
        self._state.note(
            Request(
                time_s=time.time() - served.duration_s,
                method=served.method,
                target=served.target,
                status=served.status,
                took_ms=served.duration_s * 1000,
                leg=served.leg,
                deployment=served.deployment,
            )
        )

    # --- the project ----------------------------------------------------------------------

    async def _answered(self, exchange: Exchange, router: Handler) -> None:
        with anyio.move_on_after(FIRST_S):
            await self._state.settled()
        if not self._state.version:
            self._show_problem(exchange, 503, self._state.problem)
            return
        wrapped = WithScript(exchange)
        started_s = time.time()
        try:
            await router(wrapped if self._adds_script else exchange)
        except LatticeError as error:
            problem = await self._failed(exchange, error, started_s)
            if wrapped.is_begun or not self._adds_script:
                raise
            self._show_problem(exchange, status_of(error), problem)

    async def _failed(self, exchange: Exchange, error: LatticeError, started_s: float) -> Problem:
        """Take note of why a request failed: the guest's last words say more than its trap."""
        await anyio.sleep(LINES_S)
        lines = [
            line.text
            for line in self._state.lines
            if line.time_s >= started_s and line.level in ("warn", "error", "critical")
        ]
        said = "\n".join(lines[-LINES_SHOWN:])
        told = self._places.shown(told_trap(str(error)))
        if isinstance(error, GuestTrapError) and said and _OWN_END.search(told):
            told = ""  # how a runtime ends after it has said why
        head = exchange.head
        problem = Problem(
            title=f"{head.method} {head.target} failed",
            text=f"{said}\n\n{told}".strip(),
            time_s=time.time(),
            is_build=False,
            is_logged=not told,
        )
        self._state.note(problem)
        return problem

    def _show_problem(self, exchange: Exchange, status: int, problem: Problem | None) -> None:
        """Answer with what is wrong: a page for browsers, text for everybody else."""
        title = problem.title if problem else f"{self._state.name} is being built"
        text = problem.text if problem else self._state.step
        accepted = next((v for name, v in exchange.head.headers if name == b"accept"), b"")
        no_store = (b"cache-control", b"no-store")
        if b"text/html" not in accepted:
            kind = (b"content-type", b"text/plain; charset=utf-8")
            exchange.answer(status, [kind, no_store], f"{title}\n\n{text}\n".encode())
            return
        page = (PAGES / "problem.html").read_text(encoding="utf-8")
        for name, value in (("TITLE", title), ("TEXT", text)):
            page = page.replace(f"{{{{{name}}}}}", html.escape(value))
        body = page.encode() + SCRIPT
        exchange.answer(status, [(b"content-type", _HTML), no_store], body)

    # --- what there is to know ------------------------------------------------------------

    async def _own(self, exchange: Exchange) -> None:
        path = exchange.head.path.removeprefix(ROOT)
        pages: dict[str, Callable[[Exchange], Awaitable[None]]] = {
            "/events": self._events,
            "/changes": self._changes,
            "/state": self._document,
        }
        if path in pages:
            await pages[path](exchange)
        elif path == "/live.js":
            _send(exchange, b"text/javascript; charset=utf-8", (PAGES / "live.js").read_bytes())
        elif path in ("", "/"):
            _send(exchange, _HTML, (PAGES / "status.html").read_bytes())
        else:
            exchange.answer(404, [(b"content-type", b"text/plain")], b"there is no such page\n")

    async def _document(self, exchange: Exchange) -> None:
        _send(exchange, b"application/json", json.dumps(document_of(self._state)).encode())

    async def _events(self, exchange: Exchange) -> None:
        await self._follow(exchange, document_of)

    async def _changes(self, exchange: Exchange) -> None:
        await self._follow(exchange, _brief_of)

    async def _follow(self, exchange: Exchange, document: Callable[[State], object]) -> None:
        """Send what is known now and each time it changes, until the browser leaves."""
        headers: Headers = [
            (b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"),
        ]  # fmt: skip
        await exchange.begin(200, headers)
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                await exchange.closed()
                group.cancel_scope.cancel()

            group.start_soon(leave)
            sent = ""
            while not self._state.is_closing:
                seen = self._state.changes
                found = json.dumps(document(self._state))
                if found != sent:
                    await exchange.write(f"data: {found}\n\n".encode())
                    await anyio.sleep(UPDATES_S)  # changes that come together travel together
                sent = found
                with anyio.move_on_after(BEAT_S) as beat:
                    while self._state.changes == seen and not self._state.is_closing:
                        await self._state.change()
                if beat.cancelled_caught:
                    await exchange.write(b": still here\n\n")
            group.cancel_scope.cancel()
        await exchange.finish()


def _brief_of(state: State) -> dict[str, object]:
    """Return what a page of the project follows."""
    problem = state.problem
    return {
        "version": state.version,
        "phase": state.phase,
        "problem": {"title": problem.title, "text": problem.text} if problem else None,
    }


def document_of(state: State) -> dict[str, object]:
    """Return the state as plain values."""
    problem, error = state.problem, state.last_error
    return {
        "name": state.name,
        "kinds": state.kinds,
        "urls": state.urls,
        "phase": state.phase,
        "step": state.step,
        "version": state.version,
        "routes": state.routes,
        "hint": state.hint,
        "problem": asdict(problem) if problem else None,
        "error": asdict(error) if error else None,
        "builds": [asdict(each) for each in reversed(state.builds)],
        "requests": [asdict(each) for each in reversed(state.requests)],
        "lines": [asdict(each) for each in state.lines],
    }


def _send(exchange: Exchange, kind: bytes, body: bytes) -> None:
    exchange.answer(200, [(b"content-type", kind), (b"cache-control", b"no-store")], body)
