"""The parts of `lattice dev` that decide: versions, places of errors, documents, pages."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from hosts.http.base import Exchange
from lattice.cli.building.project import Component, Project, read_project
from lattice.cli.dev.documents import VERSION, documents_of, services_of, with_live
from lattice.cli.dev.injecting import SCRIPT, WithScript
from lattice.cli.dev.live import MOUNT, Live
from lattice.cli.dev.places import Places, read_source_map, told_trap
from lattice.cli.dev.site import Site
from lattice.cli.dev.state import Build, Line, Problem, State
from lattice.cli.dev.versions import KEPT, Versions, copy_modules
from lattice.errors import GuestTrapError
from tests.integration.recorded_exchange import RecordedExchange

HTML = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"5")]
TRAP = """f trapped: error while executing at wasm backtrace:
    0:  0x1af60 - crash
                    at /p/app.c:30:78
                - answer
                    at /p/app.c:21:32
    1:   0x2447 - <unknown>!<wasm function 38>

Caused by:
    0: memory fault at wasm address 0xfffffff0
    1: wasm trap: out of bounds memory access"""


def live_of(component: Component, folder: Path, *, is_pinned: bool = False) -> Live:
    return Live(
        component=component,
        key="xkey",
        image=Path("/cache/live.wasm"),
        versions=Versions(folder / "xkey"),
        is_pinned=is_pinned,
    )


def project_of(folder: Path, manifest: str = "") -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text("")
    if manifest:
        (folder / "lattice.yaml").write_text(manifest)
    return read_project(folder)


# --- versions ---------------------------------------------------------------------------------


def test_a_version_is_chosen_as_a_whole_and_the_oldest_go(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "x")
    assert versions.name == ""
    for _ in range(KEPT + 2):
        versions.new()
    versions.choose(versions.name)
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert (tmp_path / "x" / "current").read_text() == f"v{KEPT + 2}"
    assert len(names) == KEPT + 1
    assert "v1" not in names


def test_only_modules_are_copied(tmp_path: Path) -> None:
    for name in ("app.py", "notes.txt", "lib/a.py", "build/b.py", ".venv/c.py"):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text("")
    (tmp_path / "to").mkdir()
    copy_modules([tmp_path / "from"], tmp_path / "to")
    copied = sorted(str(p.relative_to(tmp_path / "to")) for p in (tmp_path / "to").rglob("*.py"))
    assert copied == ["0/app.py", "0/lib/a.py"]


# --- places -----------------------------------------------------------------------------------


def test_places_of_python_are_those_of_the_project(tmp_path: Path) -> None:
    project = project_of(tmp_path / "p")
    live = live_of(project.components[0], tmp_path / "sources")
    places = Places(project.folder, tmp_path / "sources")
    places.learn(live)
    line = f'  File "{MOUNT}/xkey/v3/0/web.py", line 91, in handle'
    assert places.line(line) == '  File "web.py", line 91, in handle'
    assert places.line("note: run with `RUST_BACKTRACE=1` environment variable") is None
    assert places.line("hello") == "hello"


def test_a_source_map_is_followed() -> None:
    # Line 1 of the bundle: column 0 is a.js 1:1, column 4 is b.js 3:3. Line 2 is empty.
    text = json.dumps({"version": 3, "sources": ["a.js", "b.js"], "mappings": "AAAA,ICEE;"})
    found = read_source_map(text)
    assert found.place(1, 1) == ("a.js", 1, 1)
    assert found.place(1, 4) == ("a.js", 1, 1)
    assert found.place(1, 9) == ("b.js", 3, 3)
    assert found.place(2, 1) is None
    assert found.place(0, 1) is None
    assert found.place(9, 1) is None


def test_a_trap_is_told_as_its_cause_and_the_lines() -> None:
    assert told_trap(TRAP).splitlines() == [
        "out of bounds memory access: memory fault at wasm address 0xfffffff0",
        "  at /p/app.c:30:78 in crash",
        "  at /p/app.c:21:32 in answer",
    ]
    assert told_trap("something else") == "something else"


# --- documents --------------------------------------------------------------------------------


def test_a_project_without_a_manifest_answers_all_requests(tmp_path: Path) -> None:
    [body] = documents_of(project_of(tmp_path / "shop"))
    assert body == {
        "lattice": "v1",
        "name": "shop",
        "components": [{"name": "shop", "image": str(tmp_path / "shop/build/shop.wasm")}],
        "http": [{"path": "/"}],
    }


MANIFEST = """
lattice: v1
name: shop
components: [{name: page, image: build/page.wasm, limits: {memory: 64Mi, deadline: 2s}}]
services: [{name: book, image: build/book.wasm}]
expose: []
"""


def test_live_components_stand_in_for_what_they_run(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for name in ("page", "book"):
        (folder / name).mkdir(parents=True)
        (folder / name / "app.py").write_text("")
    (folder / "lattice.yaml").write_text(MANIFEST)
    project = read_project(folder)
    documents = documents_of(project)
    page, book = project.components
    assert services_of(documents) == {book.image}
    live = {
        str(page.image): live_of(page, tmp_path / "a"),
        str(book.image): live_of(book, tmp_path / "b", is_pinned=True),
    }
    [body] = with_live(documents, live, {"xkey": "v7"})
    assert body["components"][0]["image"] == "/cache/live.wasm"
    assert body["components"][0]["directories"] == [{"grant": "lattice-dev", "path": MOUNT}]
    assert body["components"][0]["limits"] == {"memory": "512Mi", "deadline": "2s"}
    assert body["services"][0]["env"] == {VERSION: "v7"}
    assert body["expose"] == ["lattice:dev/live-xkey@0.1.0"]
    assert documents[0]["components"][0]["image"] == str(page.image), "it is not changed in place"


# --- the browser ------------------------------------------------------------------------------


def test_a_page_gets_the_script_and_another_length() -> None:
    exchange = RecordedExchange("/")
    WithScript(exchange).answer(200, HTML, b"<h1/>")
    assert bytes(exchange.received) == b"<h1/>" + SCRIPT
    assert [name for name, _ in exchange.headers] == [b"content-type"]


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", 200, HTML),
        ("GET", 304, HTML),
        ("GET", 200, [*HTML, (b"content-encoding", b"gzip")]),
        ("GET", 200, [(b"content-type", b"text/plain")]),
        ("GET", 200, []),
    ],
)
def test_other_answers_stay_as_they_are(
    method: str, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    exchange = RecordedExchange("/", method=method)
    WithScript(exchange).answer(status, headers, b"<h1/>")
    assert bytes(exchange.received) == b"<h1/>"
    assert list(exchange.headers) == headers


@pytest.mark.parametrize(
    ("policy", "in_development"),
    [
        (b"img-src *", b"img-src *"),
        (b"script-src https://x", b"script-src https://x 'self'"),
        (
            b"default-src 'none'; style-src 'self'",
            b"style-src 'self'; default-src 'none'; script-src 'self'; connect-src 'self'",
        ),
        (b"connect-src 'none', img-src *", b"connect-src 'self', img-src *"),
    ],
)
def test_the_script_may_run_where_a_policy_forbids_scripts(
    policy: bytes, in_development: bytes
) -> None:
    exchange = RecordedExchange("/")
    headers = [*HTML, (b"content-security-policy", policy)]
    WithScript(exchange).answer(200, headers, b"<h1/>")
    assert dict(exchange.headers)[b"content-security-policy"] == in_development


async def test_a_streamed_page_ends_with_the_script() -> None:
    exchange = RecordedExchange("/")
    wrapped = WithScript(exchange)
    await wrapped.begin(200, HTML)
    await wrapped.write(b"<h1/>")
    await wrapped.finish()
    assert bytes(exchange.received) == b"<h1/>" + SCRIPT


def site_of(**fields: object) -> tuple[Site, State]:
    state = State(name="shop", kinds="C")
    for name, value in fields.items():
        setattr(state, name, value)
    return Site(state, Places(Path("/p"), Path("/s"))), state


async def test_what_a_guest_wrote_before_it_failed_is_on_the_page() -> None:
    site, state = site_of(version=1, phase="ready")

    async def fail(_exchange: Exchange) -> None:
        state.note(Line(time_s=2e10, level="warn", deployment="shop", text="NameError: <nam>"))
        raise GuestTrapError("f trapped: wasm trap: unreachable")

    exchange = RecordedExchange("/x", headers=[(b"accept", b"text/html")])
    await site.around(fail)(exchange)
    assert exchange.status == 500
    assert b"NameError: &lt;nam&gt;" in exchange.received
    assert state.last_error is not None
    assert state.last_error.text == "NameError: <nam>"


async def test_a_first_build_that_fails_is_what_the_browser_shows() -> None:
    site, state = site_of()
    problem = Problem(title="shop cannot be built", text="app.c:1:1: no", time_s=0, is_build=True)
    state.note(problem)

    async def never(_exchange: Exchange) -> None:
        raise AssertionError("nothing is in service")

    exchange = RecordedExchange("/")
    await site.around(never)(exchange)
    assert (exchange.status, bytes(exchange.received)) == (
        503,
        b"shop cannot be built\n\napp.c:1:1: no\n",
    )


async def test_a_request_waits_for_the_first_build() -> None:
    site, state = site_of()

    async def answer(exchange: Exchange) -> None:
        exchange.answer(200, [], b"at last")

    exchange = RecordedExchange("/")
    async with anyio.create_task_group() as group:
        group.start_soon(site.around(answer), exchange)
        await anyio.lowlevel.checkpoint()
        state.succeed()
    assert bytes(exchange.received) == b"at last"


async def test_the_state_is_told_as_json() -> None:
    site, state = site_of(version=3)
    state.note(Build(time_s=1.0, took_s=0.5, what="app.c", is_good=True))
    exchange = RecordedExchange("/.lattice/state")
    await site.around(lambda _: pytest.fail("the router is not asked"))(exchange)
    found = json.loads(bytes(exchange.received))
    assert found["version"] == 3
    assert [each["what"] for each in found["builds"]] == ["app.c"]


@pytest.mark.parametrize("path", ["/.lattice", "/.lattice/", "/.lattice/live.js"])
async def test_the_pages_are_there(path: str) -> None:
    site, _ = site_of()
    exchange = RecordedExchange(path)
    await site.around(lambda _: pytest.fail("the router is not asked"))(exchange)
    assert exchange.status == 200
    assert b"EventSource" in exchange.received
    assert b"://" not in exchange.received.replace(b"}//", b""), "nothing comes from elsewhere"
