"""`lattice dev` with real processes: a change is seen, no request is lost, mistakes are shown."""

from __future__ import annotations

import shutil
import ssl
import urllib.request
from pathlib import Path

import pytest

from lattice.testing import eventually
from tests.e2e.developing import CHANGE_S, FIRST_S, Dev, Hammer, developing, lattice
from tests.guests.languages import building

pytestmark = [pytest.mark.e2e, pytest.mark.wasm, pytest.mark.timeout(400)]


def change(path: Path, old: str, new: str) -> None:
    """Save a file as editors do."""
    text = path.read_text()
    assert old in text
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text.replace(old, new))
    unfinished.replace(path)


def fetch(url: str, authority: Path | None = None, data: bytes | None = None) -> str:
    context = ssl.create_default_context(cafile=authority) if authority else None
    with urllib.request.urlopen(url, data=data, context=context) as answer:
        return str(answer.read().decode())


async def started(dev: Dev, path: str, text: str) -> None:
    await dev.find_ports()
    await dev.until_phase("ready", is_first=True)
    assert text in dev.get(path)[1]


async def test_c_is_changed_while_it_answers(tmp_path: Path) -> None:
    told = lattice(tmp_path, "new", "http-c", "hello", folder=tmp_path)
    assert "cd hello" in told
    source = tmp_path / "hello" / "app.c"
    with developing(tmp_path, tmp_path / "hello") as dev:
        await started(dev, "/hello/Ada", "Hello, Ada!")
        with Hammer(dev, "/hello/Bo") as hammer:
            for greeting in ("Ahoy", "Servus"):
                change(source, "Ahoy, " if greeting == "Servus" else "Hello, ", f"{greeting}, ")
                await dev.until_answers("/hello/Ada", f"{greeting}, Ada!")
        assert not hammer.failures
        assert hammer.count > 10

        change(source, 'reply(200, TEXT, "Servus', 'repl(200, TEXT, "Servus')
        state = await dev.until_phase("failed")
        assert "app.c:" in state["problem"]["text"]
        assert "repl" in state["problem"]["text"]
        assert dev.get("/hello/Ada") == (200, "Servus, Ada!\n")
        change(source, 'repl(200, TEXT, "Servus', 'reply(200, TEXT, "Salve')
        await dev.until_answers("/hello/Ada", "Salve, Ada!")
        assert (await dev.until_phase("ready"))["problem"] is None

        change(source, 'reply(200, TEXT, "Salve', '__builtin_trap(), reply(200, TEXT, "Salve')
        await dev.until_answers("/hello/Ada", "app.c:")
        assert dev.state()["error"]["title"] == "GET /hello/Ada failed"

        [authority] = (tmp_path / "data").rglob("authority.pem")
        assert "/.lattice/live.js" in fetch(f"https://localhost:{dev.ports['https']}/", authority)
        with dev.follow():
            await dev.end()


async def test_python_is_changed_without_a_build(tmp_path: Path) -> None:
    lattice(tmp_path, "new", "http-python", "hello", folder=tmp_path)
    source = tmp_path / "hello" / "app.py"
    with developing(tmp_path, tmp_path / "hello") as dev:
        await started(dev, "/hello/Ada", "Hello, Ada!")
        with Hammer(dev, "/hello/Bo") as hammer:
            change(source, "Hello, ", "Ahoy, ")
            await dev.until_answers("/hello/Ada", "Ahoy, Ada!")
        assert not hammer.failures

        change(source, "def answer(", "def answer((")
        state = await dev.until_phase("failed")
        assert 'File "app.py", line' in state["problem"]["text"]
        assert "SyntaxError" in state["problem"]["text"]
        assert "Ahoy, Ada!" in dev.get("/hello/Ada")[1]
        change(source, "def answer((", "def answer(")
        await dev.until_phase("ready")

        change(source, "html.escape(name)", "html.escape(nam)")
        await dev.until_answers("/hello/Ada", "NameError")
        status, page = dev.get("/hello/Ada", accept="text/html")
        assert status == 500
        assert "app.py" in page
        await dev.end()
    assert not (tmp_path / "hello" / "build" / "hello.wasm").exists(), "nothing was built"


async def test_javascript_is_changed_without_a_build(tmp_path: Path) -> None:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on the PATH")
    lattice(tmp_path, "new", "http-js", "hello", folder=tmp_path)
    folder = tmp_path / "hello"
    try:
        (folder / "node_modules").symlink_to(building.npm_packages())
    except building.Unavailable as reason:
        pytest.skip(str(reason))
    with developing(tmp_path, folder) as dev:
        await started(dev, "/hello/Ada", "Hello, Ada!")
        with Hammer(dev, "/hello/Bo") as hammer:
            change(folder / "index.js", "Hello, ", "Ahoy, ")
            await dev.until_answers("/hello/Ada", "Ahoy, Ada!")
        assert not hammer.failures

        change(folder / "index.js", "async function", "async functio")
        state = await dev.until_phase("failed")
        assert "index.js:3:" in state["problem"]["text"]
        change(folder / "index.js", "async functio", "async function")
        await dev.until_phase("ready")

        change(folder / "index.js", "escaped(decode", "escapd(decode")
        await dev.until_answers("/hello/Ada", "escapd is not defined")
        assert "index.js:" in dev.get("/hello/Ada")[1]
        await dev.end()


async def test_a_service_goes_on_when_what_calls_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "guestbook"
    example = Path(__file__).parents[2] / "examples" / "guestbook"
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns("build", "__pycache__"))
    with developing(tmp_path, folder) as dev:
        await started(dev, "/", "<form")
        sign = f"http://localhost:{dev.ports['http']}/sign"
        assert "Ada" in fetch(sign, data=b"name=Ada&message=here")
        change(folder / "page" / "app.py", "<h1>", "<h1>Our ")
        await dev.until_answers("/", "<h1>Our ")
        assert "Ada" in dev.get("/")[1], "the book was kept"
        assert dev.said.count("starting guestbook") == 1
        await dev.end()


async def test_a_worker_begins_anew_with_its_new_sources(tmp_path: Path) -> None:
    lattice(tmp_path, "new", "worker-python", "work", folder=tmp_path)
    with developing(tmp_path, tmp_path / "work") as dev:
        await dev.find_ports()
        await eventually(lambda: "piece of work number 2" in dev.said, FIRST_S)
        change(tmp_path / "work" / "app.py", "piece of", "bit of")
        await eventually(lambda: "bit of work number 1" in dev.said, CHANGE_S)
        await dev.end()


async def test_build_is_quick_when_nothing_changed(tmp_path: Path) -> None:
    lattice(tmp_path, "new", "http-c", "hello", folder=tmp_path)
    folder = tmp_path / "hello"
    assert "built in" in lattice(tmp_path, "build", folder=folder)
    assert "unchanged" in lattice(tmp_path, "build", folder=folder)
    (folder / "app.c").write_text((folder / "app.c").read_text() + "\n")
    assert "built in" in lattice(tmp_path, "build", folder=folder)


async def test_a_second_one_of_the_same_project_is_refused(tmp_path: Path) -> None:
    lattice(tmp_path, "new", "http-c", "hello", folder=tmp_path)
    with developing(tmp_path, tmp_path / "hello") as dev:
        await dev.find_ports()
        with pytest.raises(AssertionError, match="already runs this project"):
            lattice(tmp_path, "dev", tmp_path / "hello", folder=tmp_path)
        await dev.end()
