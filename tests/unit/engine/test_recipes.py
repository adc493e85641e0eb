"""A composition that was loaded before comes back without being read and joined again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.engine.base import Link, World
from hosts.engine.bulk import Bulk
from hosts.engine.cache import CODE_SUFFIX
from hosts.engine.recipes import Recipe, Recipes
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.reader import read_component
from lattice.component.types import ComponentType
from lattice.errors import IncompatibleError
from tests.contract.engine.building import HELLO, VALUES, WELCOME, part
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 10.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path)
    yield made
    made.close()


def recipe(name: str) -> Recipe:
    nothing = ComponentType(imports={}, exports={})
    return Recipe.of(Bulk(body=b"body", original=nothing, type=nothing), name)


def test_longest_unused_recipe_is_forgotten_first() -> None:
    recipes = Recipes(count_max=2)
    recipes.keep("a", recipe("a"))
    recipes.keep("b", recipe("b"))
    assert recipes.find("a") == recipe("a")
    recipes.keep("c", recipe("c"))
    assert [recipes.find(key) for key in "abc"] == [recipe("a"), None, recipe("c")]


def test_recipe_has_the_size_of_the_body_and_not_the_body() -> None:
    assert (recipe("a").bulk.body, recipe("a").body_bytes) == (b"", 4)


async def test_program_comes_back_with_its_type_and_its_frames(engine: WasmtimeEngine) -> None:
    parts = [part("v", components.values())]
    first = await engine.load(parts, [])
    again = await engine.load(parts, [])
    assert again is not first
    assert again.type == first.type == read_component(components.values())
    assert again.footprint_bytes == first.footprint_bytes
    instance = await again.instantiate({}, World())
    got = await instance.call(VALUES, "bytes", [b"\xff" * 5000], deadline_s=DEADLINE_S)
    assert got == b"\xff" * 5000
    instance.close()


def tamper(directory: Path) -> None:
    for path in directory.glob(f"*{CODE_SUFFIX}"):
        path.unlink()  # what is mapped into memory stays as it is
        path.write_bytes(b"tampered")


async def test_code_that_went_meanwhile_is_compiled_again(
    engine: WasmtimeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="hosts.engine.cache")
    parts = [part("v", components.echo())]
    await engine.load(parts, [])
    tamper(tmp_path)
    await engine.load(parts, [])
    assert sum("compiled in" in message for message in caplog.messages) == 2


async def test_other_links_are_another_composition(engine: WasmtimeEngine) -> None:
    parts = [part("a", components.greeter()), part("b", components.hello())]
    joined = await engine.load(parts, [Link("a", HELLO, "b")])
    apart = await engine.load(parts, [])
    assert [set(each.type.imports) for each in (joined, apart)] == [set(), {HELLO}]
    assert WELCOME in joined.type.exports


async def test_what_was_refused_is_refused_again(engine: WasmtimeEngine) -> None:
    parts = [part("a", components.greeter()), part("b", components.hostile()["wrong-type"])]
    for _ in range(2):
        with pytest.raises(IncompatibleError):
            await engine.load(parts, [Link("a", HELLO, "b")])
