"""Generated modules, the client that waits, and the pytest fixtures, on a real lattice."""

from __future__ import annotations

import _thread
import ast
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

import lattice
from lattice.client import LatticeClient, typed
from lattice.client.jobs import Jobs
from lattice.client.sync import SyncClient, SyncJobs, connect
from lattice.client.waiting import blocking, iterating
from lattice.component.python_stub import python_stub
from lattice.component.reader import callable_exports, read_component
from lattice.config import Settings
from lattice.errors import IncompatibleError, NotFoundError, UnavailableError
from tests.guests import components

pytest_plugins = ["lattice.pytest_plugin"]
pytestmark = [pytest.mark.nats, pytest.mark.wasm]

ROOT = Path(__file__).parents[2]


def stub(name: str, body: bytes, *, blocking: bool = False) -> Any:
    """Return the module generated for a component."""
    module = ModuleType(name)
    sys.modules[name] = module
    text = python_stub(callable_exports(read_component(body)), blocking=blocking)
    exec(compile(text, name, "exec"), module.__dict__)
    return module


def manifest(folder: Path, name: str, body: bytes) -> dict[str, object]:
    image = folder / f"{name}.wasm"
    image.write_bytes(body)
    return {"lattice": "v1", "name": name, "components": [{"name": "main", "image": str(image)}]}


@pytest.fixture(scope="module")
def shared(
    running_lattice: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SyncClient]:
    """A client of a lattice with the guest of all values."""
    with connect(running_lattice) as client:
        folder = tmp_path_factory.mktemp("guests")
        client.apply(manifest(folder, "echo", components.values()), wait=True)
        yield client
        client.delete("echo")


# --- generated modules ------------------------------------------------------------------------


async def test_every_shape_of_value_goes_to_a_guest_and_comes_back(
    shared: SyncClient, running_lattice: Settings
) -> None:
    values = stub("generated_values", components.values())
    point = values.Point(x=-1, y=2.5, name="ä")
    cases = {
        "bool_": True, "u8": 255, "s64": -(2**63), "f64": 0.5, "char": "ß", "string": "",
        "enum_": values.Color.GREEN, "flags": values.Rights.RUN | values.Rights.READ,
        "bytes_": b"\0\xff", "numbers": [1, 2], "record": point, "records": [point, point],
        "nested": [["a"], []], "variants": [values.ShapeDot(), values.ShapeCircle(1.5)],
        "variant": values.ShapeLabel("x"), "option": None,
        "options": [None, typed.Some(None), typed.Some("a")],
        "result": typed.Err("no"), "tuple_": (7, "x"), "tuples": [("a", 2**64 - 1)],
    }  # fmt: skip
    async with lattice.connect(running_lattice) as client:
        echo = values.Echo(client, "echo")
        found = {name: await getattr(echo, name)(value) for name, value in cases.items()}
        assert await echo.flags(values.Rights(0)) == values.Rights(0)
    assert found == cases


async def test_four_megabytes_go_to_a_guest_and_come_back_in_parts(
    shared: SyncClient, running_lattice: Settings
) -> None:
    values = stub("generated_large", components.values())
    body = bytes(range(256)) * 16_384
    async with lattice.connect(running_lattice) as client:
        assert await values.Echo(client, "echo").bytes_(body) == body
        as_text = await client.call("echo", "numbers", [[7] * 400_000], as_json=True)
    assert as_text == [7] * 400_000


async def test_bytes_stream_to_a_guest_and_back_from_either_client(
    shared: SyncClient, running_lattice: Settings, tmp_path: Path
) -> None:
    shared.apply(manifest(tmp_path, "streams", components.streams()), wait=True)
    text = tmp_path / "letters.txt"
    text.write_bytes(b"letters " * 100_000)
    async with lattice.connect(running_lattice) as client:
        with text.open("rb") as file:
            async with client.stream("streams", "upper", body=file) as call:
                found = b"".join([part async for part in call])
                assert await call.value() == len(found)
                assert call.host
        assert found == b"LETTERS " * 100_000
        with pytest.raises(NotFoundError, match="exposes no function 'lower'"):
            async with client.stream("streams", "lower"):
                pass
        async with client.stream("streams", "produce", [300_000, 7], as_json=True) as call:
            assert len([part async for part in call]) > 1
            assert await call.value() == 300_000

    def waiting() -> bytes:
        with shared.stream("streams", "upper", body=[b"a", b"b"]) as call:
            return b"".join(call)

    assert await anyio.to_thread.run_sync(waiting) == b"AB"
    shared.delete("streams")


def test_a_blocking_module_does_the_same(shared: SyncClient) -> None:
    values = stub("generated_waiting", components.values(), blocking=True)
    echo = values.Echo(shared, "echo", key="once", deadline_s=20.0)
    assert echo.record(values.Point(x=1, y=2.0, name="n")) == values.Point(x=1, y=2.0, name="n")


def test_a_function_of_another_type_is_incompatible_and_not_run(
    lattice_client: SyncClient, tmp_path: Path
) -> None:
    hello = stub("generated_hello", components.hello(), blocking=True)
    body = components.hostile()["wrong-type"]
    lattice_client.apply(manifest(tmp_path, "hello", body), wait=True)
    greet = hello.Greet(lattice_client, "hello")
    for _ in range(2):  # the second time the look-up is remembered
        with pytest.raises(IncompatibleError, match="generate it again with `lattice bindgen`"):
            greet.greet("you")


# --- the client that waits --------------------------------------------------------------------


@pytest.mark.parametrize(("waiting", "of"), [(SyncClient, LatticeClient), (SyncJobs, Jobs)])
def test_the_waiting_client_has_every_method_of_the_client(waiting: type, of: type) -> None:
    missing: list[str] = []
    for name, member in inspect.getmembers(of, inspect.isfunction):
        yields = str(member.__annotations__.get("return")).startswith("AsyncIterator")
        if name.startswith("_") or not (yields or inspect.iscoroutinefunction(member)):
            continue
        kind = iterating if yields else blocking
        found = vars(waiting).get(name)
        if not isinstance(found, kind) or found.__wrapped__ is not member:
            missing.append(f"{name} = {kind.__name__}({of.__name__}.{name})")
    assert missing == [], "add these lines to lattice/client/sync.py"


def test_the_signatures_of_call_are_those_of_the_client() -> None:
    def signatures(path: str) -> list[str]:
        tree = ast.parse((ROOT / path).read_text())
        return [
            ast.unparse(node.args)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == "call"
            and any(ast.unparse(each) == "overload" for each in node.decorator_list)
        ]

    assert signatures("lattice/client/sync.py") == signatures("lattice/client/session.py")


async def test_it_waits_where_a_loop_runs_already(shared: SyncClient) -> None:
    assert shared.call("echo", "u8", [7]) == 7
    assert shared.call("echo", "u8", [7], detail=True).value == 7


def test_errors_are_those_of_the_client(shared: SyncClient) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        shared.status("nobody")
    with pytest.raises(NotFoundError, match="exposes no function 'nothing'"):
        shared.call("echo", "nothing")


def test_events_come_one_by_one_and_leaving_early_ends_them(shared: SyncClient) -> None:
    kinds = [event.kind for event in shared.events()]
    assert "replica-running" in kinds
    following = shared.events(follow=True)
    assert next(following).kind == kinds[0]
    following.close()
    left_open = shared.events(follow=True)
    assert next(left_open).kind == kinds[0]  # closing the client ends it


def test_ctrl_c_ends_the_wait_and_cancels_what_was_asked(shared: SyncClient) -> None:
    cancelled = threading.Event()

    async def endless() -> None:
        _thread.interrupt_main()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        shared.loop.wait_for(endless)
    assert cancelled.wait(20)
    assert shared.call("echo", "u8", [1]) == 1


def test_a_closed_client_says_so(running_lattice: Settings) -> None:
    client = connect(running_lattice)
    following = client.events(follow=True)
    next(following)
    client.close()
    client.close()
    with pytest.raises(UnavailableError, match="the client is closed"):
        client.deployments()
    with pytest.raises(UnavailableError, match="the client is closed"):
        list(following)


def test_what_cannot_be_reached_is_an_error_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(UnavailableError):
        connect(Settings(servers=("nats://127.0.0.1:1",)))
    assert threading.active_count() == before


# --- fixtures ---------------------------------------------------------------------------------

SESSION = """
import lattice, pytest
from pathlib import Path

IMAGE = {image!r}
MATH = {{"lattice": "v1", "name": "math", "components": [{{"name": "m", "image": IMAGE}}]}}

@pytest.mark.parametrize("number", [1, 2])
def test_waiting(lattice_client, number):
    assert lattice_client.deployments() == []
    lattice_client.apply(MATH, wait=True)
    assert lattice_client.call("math", "add", [1, number]) == 1 + number

async def test_asynchronous(lattice_settings):
    async with lattice.connect(lattice_settings) as client:
        assert await client.deployments() == []
        await client.apply(MATH, wait=True)
        assert await client.call("math", "add", [1, 2]) == 3
"""


def test_each_test_of_a_session_finds_its_lattice_empty(tmp_path: Path) -> None:
    image = tmp_path / "add.wasm"
    image.write_bytes(components.add())
    (tmp_path / "test_session.py").write_text(SESSION.format(image=str(image)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "lattice.pytest_plugin", "-W", "error",
         "-p", "no:cacheprovider", "-o", "anyio_mode=auto", "test_session.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
