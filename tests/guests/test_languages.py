"""Guests of several languages, built by the tools of each, run unmodified and do the same.

They share one world (`languages/guest.wit`) and see WASI through our adapter, by default nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hosts.engine.base import Instance, Part, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.model.ids import Digest
from tests.guests.languages import building
from tests.guests.languages.building import CATALOG, STOCK, Unavailable

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(600),  # the first run installs compilers and builds the guests
]

DEADLINE_S = 60.0
U64_MAX = 2**64 - 1

ALL = ("print", "env", "args", "clock", "random", "file")
"""What a guest can use of the system; see `probe` in guest.wit."""


@dataclass(frozen=True, slots=True)
class Language:
    """A way to make a guest, and what that way has."""

    build: Callable[[], Path]
    probes: Sequence[str] = ALL
    count_max: int = U64_MAX  # the largest u64 that the language can hold


LANGUAGES = {
    "python": Language(building.python),
    "starlingmonkey": Language(building.starlingmonkey, ("print", "clock", "random")),
    "quickjs": Language(building.quickjs, ("clock", "random"), count_max=2**53 - 1),
    "c": Language(building.c),
    "zig": Language(building.zig, ()),
    "go": Language(building.go),
}


@dataclass
class Running:
    """An instance of a guest and what it said."""

    language: Language
    instance: Instance
    lines: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def apply(self, name: str, *changes: Sequence[Any]) -> Any:
        return await self.instance.call(STOCK, "apply", [name, changes], deadline_s=DEADLINE_S)

    async def handle(self, text: str) -> Any:
        return await self.instance.call("", "handle", [text], deadline_s=DEADLINE_S)

    async def probe(self, what: str) -> str:
        return str(await self.instance.call("", "probe", [what], deadline_s=DEADLINE_S))


def having(probe: str) -> pytest.MarkDecorator:
    """Run a test with the languages that have what it probes."""
    names = [name for name, language in LANGUAGES.items() if probe in language.probes]
    return pytest.mark.parametrize("language", names, indirect=True)


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    return LANGUAGES[request.param]


@pytest.fixture
def engine() -> Iterator[WasmtimeEngine]:
    # What was compiled once stays compiled: 12 MB of SpiderMonkey take some seconds.
    engine = WasmtimeEngine(building.BUILD / "code", optimises_later=False)
    yield engine
    engine.close()


@pytest.fixture
async def guest(
    engine: WasmtimeEngine, language: Language, tmp_path: Path
) -> AsyncIterator[Running]:
    """Yield an instance that sees a variable, arguments and one file."""
    try:
        body = language.build().read_bytes()
    except Unavailable as reason:
        pytest.skip(str(reason))
    items = {
        "glue": {"name": "glue", "count": 3, "tags": [], "note": None},
        "nails": {
            "name": "nails",
            "count": language.count_max - 10,
            "tags": ["iron", "grüß"],
            "note": "sharp",
        },
    }

    async def catalog(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        return items.get(args[0])

    (tmp_path / "greeting").write_text("written in a file\n")
    lines: list[tuple[str, str]] = []
    world = World(
        env={"GUEST": "grüß dich"},
        args=("guest", "one", "two"),
        files={"greeting": tmp_path / "greeting"},
        log=lambda level, line: lines.append((level, line)),
    )
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    program = await engine.load([Part("guest", digest, body)], [])
    instance = await program.instantiate({CATALOG: catalog}, world)
    yield Running(language, instance, lines)
    instance.close()


async def test_values_of_every_shape_go_in_and_out(guest: Running) -> None:
    changes = (["add", 2**40 + 1], ["rename", "Kleber 🌍"], ["tag", ["a", "", "ß"]], ["tag", []])
    assert await guest.apply("glue", *changes) == [
        "ok",
        {"name": "Kleber 🌍", "count": 2**40 + 4, "tags": ["a", "", "ß"], "note": None},
    ]
    changed = {"name": "nails", "count": guest.language.count_max, "tags": ["iron", "grüß"]}
    assert await guest.apply("nails", ["add", 10]) == ["ok", changed | {"note": "sharp"}]
    assert await guest.apply("nails", ["clear", None], ["add", 10]) == [
        "ok",
        changed | {"note": None},
    ]


async def test_errors_of_a_result_are_values(guest: Running) -> None:
    assert await guest.apply("nails", ["add", 11]) == ["err", "too many nails"]
    assert await guest.apply("rope") == ["err", "no rope"]
    assert (await guest.apply("glue"))[0] == "ok"


async def test_text_of_every_length_goes_in_and_out(guest: Running) -> None:
    for text in ("", "Ada", "grüß 🌍", "x" * 50_000):
        assert await guest.handle(text) == f"Hello, {text}!"


async def test_a_thousand_calls_need_no_more_memory_than_one(guest: Running) -> None:
    for number in range(1000):
        assert await guest.handle("x" * 1000) == f"Hello, {'x' * 1000}!", number


@having("print")
async def test_output_becomes_lines_of_the_log(guest: Running) -> None:
    assert await guest.probe("print") == "printed"
    assert sorted(guest.lines) == [("info", "to out"), ("warn", "to err")]


@having("env")
async def test_variables_and_arguments_are_those_of_the_world(guest: Running) -> None:
    assert await guest.probe("env") == "grüß dich"
    assert await guest.probe("args") == "guest one two"


@having("clock")
async def test_clock_tells_the_time(guest: Running) -> None:
    assert abs(int(await guest.probe("clock")) / 1000 - time.time()) < DEADLINE_S


@having("random")
async def test_random_numbers_differ(guest: Running) -> None:
    assert len({await guest.probe("random") for _ in range(20)}) == 20


@having("file")
async def test_files_are_those_of_the_world(guest: Running) -> None:
    assert await guest.probe("file") == "written in a file\n"


async def test_what_a_language_does_not_have_it_says(guest: Running) -> None:
    for what in ALL:
        if what not in guest.language.probes:
            assert await guest.probe(what) == "none"


async def test_guest_says_nothing_that_it_is_not_asked_for(guest: Running) -> None:
    await guest.handle("x")
    assert guest.lines == []
