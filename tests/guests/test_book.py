"""The service of `examples/guestbook` by itself: a book that behaves as a list with a limit."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hosts.engine.base import Instance, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from tests.contract.engine.building import part
from tests.guests import example_guests

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(400),  # the first compilation on a machine builds the library of C
]

BOOK = "example:book/book@0.1.0"
ENTRIES_MAX = 200


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Instance]:
    body = (example_guests.built("guestbook") / "build" / "book.wasm").read_bytes()
    engine = WasmtimeEngine(tmp_path)
    program = await engine.load([part("book", body)], [])
    instance = await program.instantiate({}, World())
    yield instance
    instance.close()
    engine.close()


def entry(name: str, message: str, signed_at: int = 0) -> dict[str, Any]:
    return {"name": name, "message": message, "signed-at": signed_at}


async def sign(book: Instance, written: dict[str, Any]) -> Any:
    return await book.call(BOOK, "sign", [written], deadline_s=10)


async def entries(book: Instance, limit: int) -> Any:
    return await book.call(BOOK, "entries", [limit], deadline_s=10)


async def test_the_newest_entries_come_first_and_the_oldest_go(
    book: Instance, rng: random.Random
) -> None:
    written: list[dict[str, Any]] = []
    for number in range(450):
        text = "".join(rng.choice("až日🌍\n<&") for _ in range(rng.randrange(1, 20)))
        written.insert(0, entry(text, f"{number} {text * rng.randrange(6)}", number))
        assert await sign(book, written[0]) == ["ok", min(number + 1, ENTRIES_MAX)]
        limit = rng.choice((0, 1, 7, ENTRIES_MAX, 10**9))
        assert await entries(book, limit) == written[: min(limit, ENTRIES_MAX)]


@pytest.mark.parametrize(
    ("name", "message", "problem"),
    [
        ("", "x", "needed"),
        ("x", "", "needed"),
        ("x" * 81, "x", "name is too long"),
        ("é" * 41, "x", "name is too long"),
        ("x", "y" * 501, "message is too long"),
        ("x", "y" * 60_000, "message is too long"),
    ],
)
async def test_what_is_refused_leaves_no_trace(
    book: Instance, name: str, message: str, problem: str
) -> None:
    case, said = await sign(book, entry(name, message))
    assert case == "err"
    assert problem in said
    assert await entries(book, 10) == []


async def test_what_just_fits_is_taken(book: Instance) -> None:
    written = entry("é" * 40, "y" * 500, 2**64 - 1)
    assert await sign(book, written) == ["ok", 1]
    assert await entries(book, 1) == [written]
