"""A project in its embedded lattice: what is put into service, and what a mistake leaves there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hosts.http.front import HttpOptions
from hosts.sharing import listening_on, own_socket
from lattice.cli.building.project import read_project
from lattice.cli.dev.documents import GRANT
from lattice.cli.dev.embedded import embedded_lattice
from lattice.cli.dev.places import Places
from lattice.cli.dev.session import Session
from lattice.cli.dev.site import Site
from lattice.cli.dev.state import State
from tests.guests import components, web_guests

pytestmark = pytest.mark.wasm

MANIFEST = (
    "lattice: v1\nname: {name}\ncomponents: [{{name: x, image: x.wasm}}]\nhttp: [{{path: /}}]\n"
)


class Developed:
    """A session, and a client of what it serves."""

    def __init__(self, session: Session, port: int) -> None:
        self.session = session
        self.state = session.state
        self._port = port

    async def refresh(self, what: str = "x.wasm") -> None:
        await self.session.refresh(what)

    async def get(self, path: str = "/") -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            line = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            await stream.send(line.encode())
            with anyio.fail_after(20):
                return b"".join([part async for part in stream])


@asynccontextmanager
async def developed(folder: Path, place: Path) -> AsyncIterator[Developed]:
    """Yield a project that is kept in a folder beside it; nothing is in service yet."""
    sources = folder / "sources"
    sources.mkdir()
    project = read_project(place)
    state = State(name=project.name, kinds="wasm")
    places = Places(project.folder, sources)
    site = Site(state, places)
    listening = listening_on(own_socket("127.0.0.1", 0), backlog=16)
    port = listening.getsockname()[1]
    http = HttpOptions(plain=[listening], is_dev=True, around=site.around, on_served=site.on_served)
    async with embedded_lattice(folder / "own", http, grant=GRANT, sources=sources) as client:
        session = Session(place=place, sources=sources, client=client, state=state, places=places)
        yield Developed(session, port)
        state.is_closing = True
        state.changed()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "x.wasm").write_bytes(web_guests.hello())
    return folder


async def test_a_component_is_served_and_requests_are_noted(tmp_path: Path, project: Path) -> None:
    async with developed(tmp_path, project / "x.wasm") as dev:
        await dev.refresh("start")
        assert (dev.state.phase, dev.state.version) == ("ready", 1)
        assert b"Hello, world!" in await dev.get("/some/where")
        [request] = dev.state.requests
        assert (request.method, request.target, request.status) == ("GET", "/some/where", 200)
        assert (request.deployment, request.leg) == ("x", "local")
        assert dev.state.routes == (("/", "x"),)


async def test_a_refresh_without_a_change_changes_nothing(tmp_path: Path, project: Path) -> None:
    async with developed(tmp_path, project) as dev:
        await dev.refresh("start")
        await dev.refresh()
        assert (dev.state.phase, dev.state.version, len(dev.state.builds)) == ("ready", 1, 1)


async def test_a_component_that_is_none_leaves_the_one_before(
    tmp_path: Path, project: Path
) -> None:
    async with developed(tmp_path, project) as dev:
        await dev.refresh("start")
        (project / "x.wasm").write_bytes(b"no component")
        await dev.refresh()
        assert dev.state.phase == "failed"
        assert dev.state.problem is not None
        assert "x.wasm" in dev.state.problem.text
        assert b"Hello, world!" in await dev.get()
        (project / "x.wasm").write_bytes(components.padded(web_guests.hello(), 100))
        await dev.refresh()
        assert (dev.state.phase, dev.state.problem, dev.state.version) == ("ready", None, 2)


async def test_a_manifest_that_changes_is_followed(tmp_path: Path, project: Path) -> None:
    (project / "lattice.yaml").write_text(MANIFEST.format(name="one"))
    async with developed(tmp_path, project) as dev:
        await dev.refresh("start")
        (project / "lattice.yaml").write_text(MANIFEST.format(name="two"))
        await dev.refresh("lattice.yaml")
        assert dev.state.routes == (("/", "two"),)
        assert b"Hello, world!" in await dev.get()
        assert [view.name for view in await dev.session.client.deployments()] == ["two"]
        (project / "lattice.yaml").write_text("lattice: v1\nname: [\n")
        await dev.refresh("lattice.yaml")
        assert dev.state.phase == "failed"
        assert b"Hello, world!" in await dev.get()


async def test_what_nobody_foresaw_is_told_and_the_session_goes_on(
    tmp_path: Path, project: Path
) -> None:
    async with developed(tmp_path, project) as dev:
        dev.session.place = None  # type: ignore[assignment]  # a mistake of the program itself
        await dev.refresh("start")
        assert dev.state.phase == "failed"
        assert dev.state.problem is not None
        assert dev.state.problem.title.startswith("internal: ")
        dev.session.place = project
        await dev.refresh()
        assert dev.state.phase == "ready"
