"""Compositions of random types run; links by function, renamed links, and the hard shapes hold."""

from __future__ import annotations

import random
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Link, Part, World
from hosts.engine.bulk import wrap_if_possible
from hosts.engine.compose import compose
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.reader import read_component
from lattice.component.types import WitType
from lattice.errors import IncompatibleError, InvalidError, LatticeError
from lattice.model.ids import Digest
from tests.guests import components, relays

pytestmark = pytest.mark.wasm

TOOL = Path(sysconfig.get_path("scripts")) / "wasm-tools"

Dummy = Callable[[str, str], Part]
Check = Callable[[bytes], None]


@pytest.fixture
def dummy(tmp_path: Path) -> Dummy:
    """Make a part, named like its world, out of WIT; its code traps."""

    def make(world: str, wit: str) -> Part:
        folder = tmp_path / world
        folder.mkdir()
        (folder / "world.wit").write_text(f"package test:{world};\n{wit}", encoding="utf-8")
        core, component = folder / "core.wasm", folder / "component.wasm"
        embed: Sequence[str | Path] = [TOOL, "component", "embed", "--dummy", folder]
        subprocess.run([*embed, "--world", world, "-o", core], check=True)
        subprocess.run([TOOL, "component", "new", core, "-o", component], check=True)
        return part(world, component.read_bytes())

    return make


@pytest.fixture
def valid(tmp_path: Path) -> Check:
    def check(body: bytes) -> None:
        path = tmp_path / "composition.wasm"
        path.write_bytes(body)
        command: Sequence[str | Path] = [TOOL, "validate", "-f", "all", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return check


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[WasmtimeEngine]:
    engine = WasmtimeEngine(tmp_path / "cache")
    yield engine
    engine.close()


def part(name: str, body: bytes) -> Part:
    return Part(name, Digest(f"sha256:{name}"), body)


async def echo(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0]


def chain(seed: int, length: int, depth: int) -> tuple[list[Part], list[Link], dict[str, WitType]]:
    """Return relays that call each other in a row, the last one the host; types by function."""
    parts, links, first = [], [], {}
    for index in range(length):
        # Each has types of its own, of the same structure.
        types = relays.Types(f"test:relay/stage{index + 1}@0.1.0", seed)
        functions = {f"f{i}": types.make(depth) for i in range(2)}
        first = first or functions
        body = relays.relay(types, functions, exports=f"test:relay/stage{index}@0.1.0")
        parts.append(part(f"part{index}", body))
        if index:
            wanted = f"test:relay/stage{index}@0.1.0"
            links.append(Link(f"part{index - 1}", wanted, f"part{index}"))
    return parts, links, first


@pytest.mark.parametrize("seed", range(100, 120))
async def test_chain_of_random_types_returns_what_was_sent(
    engine: WasmtimeEngine, valid: Check, seed: int
) -> None:
    parts, links, functions = chain(seed, length=seed % 3 + 2, depth=3)
    random.Random(seed).shuffle(parts)
    valid(compose(parts, links))
    program = await engine.load(parts, links)
    choose = random.Random(seed)
    for name, wit in functions.items():
        instance = await program.instantiate(
            dict.fromkeys(program.type.imports, echo), World(memory_bytes_max=1 << 30)
        )
        for _ in range(3):
            value = relays.value(wit, choose)
            found = await instance.call("test:relay/stage0@0.1.0", name, [value], deadline_s=10)
            assert found == value
        instance.close()


async def test_chain_of_twenty_parts_runs(engine: WasmtimeEngine) -> None:
    parts, links, functions = chain(7, length=20, depth=1)
    program = await engine.load(parts, links)
    instance = await program.instantiate(
        dict.fromkeys(program.type.imports, echo), World(memory_bytes_max=1 << 30)
    )
    value = relays.value(functions["f0"], random.Random(7))
    found = await instance.call("test:relay/stage0@0.1.0", "f0", [value], deadline_s=10)
    assert found == value


async def test_one_component_twice_is_two_parts(engine: WasmtimeEngine) -> None:
    links = [Link("a", "test:counter/counter@0.1.0", "c"),
             Link("b", "test:counter/counter@0.1.0", "d")]  # fmt: skip
    bodies = {"a": components.ticket(), "b": components.ticket(),
              "c": components.counter(), "d": components.counter()}  # fmt: skip
    parts = [part(name, body) for name, body in bodies.items()]
    program = await engine.load(parts, links)
    instance = await program.instantiate({}, World())
    draws = [
        await instance.call("test:ticket/ticket@0.1.0", "draw", [], deadline_s=10) for _ in "12"
    ]
    assert draws == [2, 3]


def test_function_at_the_root_is_linked_to_one_of_an_interface(dummy: Dummy, valid: Check) -> None:
    asker = dummy(
        "asker",
        "world asker { import greet: func() -> string; import add: func(a: u32) -> u32; "
        "export run: func(); }",
    )
    giver = dummy("giver", "world giver { export texts: interface { hello: func() -> string; } }")
    other = dummy("other", "world other { export add: func(a: u32) -> u32; }")
    links = [
        Link("asker", "", "giver", "texts", "greet", "hello"),
        Link("asker", "", "other", function="add"),
    ]
    composed = compose([asker, giver, other], links)
    valid(composed)
    assert list(read_component(composed).imports) == []
    partly = compose([asker, giver, other], links[:1])
    valid(partly)
    assert list(read_component(partly).imports[""].functions) == ["add"]


def test_interface_is_linked_under_another_name(dummy: Dummy, valid: Check) -> None:
    one = "interface texts { record word { text: string } up: func(w: word) -> word; }"
    asker = dummy("asker", f"world asker {{ import texts; export run: func(); }} {one}")
    giver = dummy("giver", f"world giver {{ export texts; }} {one}")
    composed = compose(
        [asker, giver], [Link("asker", "test:asker/texts", "giver", "test:giver/texts")]
    )
    valid(composed)
    assert list(read_component(composed).imports) == []


def test_link_by_function_that_does_not_fit_is_explained(dummy: Dummy) -> None:
    asker = dummy("asker", "world asker { import greet: func(a: u8) -> string; }")
    giver = dummy("giver", "world giver { export hello: func(a: string) -> string; }")
    with pytest.raises(IncompatibleError) as caught:
        compose([asker, giver], [Link("asker", "", "giver", "", "greet", "hello")])
    for text in ("'asker'", "'giver'", "`u8`", "`string`", "a"):
        assert text in caught.value.message
    with pytest.raises(InvalidError, match="does not import function 'nothing' at its root"):
        compose([asker, giver], [Link("asker", "", "giver", function="nothing")])
    with pytest.raises(IncompatibleError, match="not offered"):
        compose([asker, giver], [Link("asker", "", "giver", function="greet")])


BLOBS = """
package lib:blobs {
  interface blobs {
    resource blob { size: func() -> u64; }
    record pair { one: blob, other: option<blob> }
    make: func() -> blob;
  }
  interface users { use blobs.{blob}; pass: func(which: blob); }
}
"""


def test_resource_at_the_root_is_that_of_the_linked_part(dummy: Dummy, valid: Check) -> None:
    asker = dummy(
        "asker",
        "world asker { use lib:blobs/blobs.{blob, pair}; "
        "export run: func(a: borrow<blob>) -> pair; }" + BLOBS,
    )
    giver = dummy("giver", "world giver { export lib:blobs/blobs; }" + BLOBS)
    composed = compose([asker, giver], [Link("asker", "lib:blobs/blobs", "giver")])
    valid(composed)
    assert list(read_component(composed).imports) == []


def test_remaining_import_with_a_linked_resource_names_both_parts(dummy: Dummy) -> None:
    asker = dummy("asker", "world asker { import lib:blobs/users; export run: func(); }" + BLOBS)
    giver = dummy("giver", "world giver { export lib:blobs/blobs; }" + BLOBS)
    with pytest.raises(InvalidError) as caught:
        compose([asker, giver], [Link("asker", "lib:blobs/blobs", "giver")])
    for text in ("lib:blobs/users", "'asker'", "'blob'", "lib:blobs/blobs", "'giver'"):
        assert text in caught.value.message


def test_async_functions_pass(valid: Check) -> None:
    asker = """
    (component
      (import "lib:a/a" (instance (export "wait" (func async (param "n" u32) (result u32))))))
    """
    giver = "(component)"
    composed = compose([part("a", bytes(wat2wasm(asker))), part("b", bytes(wat2wasm(giver)))], [])
    valid(composed)
    assert read_component(composed).imports["lib:a/a"].functions["wait"].is_async


@pytest.mark.parametrize("seed", range(8))
def test_mutated_parts_are_refused_or_composed(seed: int) -> None:
    choose = random.Random(seed)
    bodies = [components.greeter(), components.hello(), components.ticket(), components.values()]
    link = Link("a", "test:hello/greet@0.1.0", "b")
    refused = 0
    for _ in range(150):
        first, second = bytearray(components.greeter()), bytearray(choose.choice(bodies))
        for target in (first, second):
            for _ in range(choose.randint(0, 3)):
                target[choose.randrange(8, len(target))] = choose.randrange(256)
        parts = [part("a", bytes(first)), part("b", bytes(second))]
        try:
            compose(parts, [link])
        except (InvalidError, IncompatibleError):
            refused += 1
        except LatticeError as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert refused


def test_imports_that_share_a_type_are_refused() -> None:
    # Wasmtime 49 would end the process on the composition.
    text = """
    (component
      (type $both (instance
        (type $item' (record (field "data" u32)))
        (export "item" (type $item (eq $item')))
        (export "get" (func (result $item)))))
      (import "lib:a/a" (instance (type $both)))
      (import "lib:b/b" (instance (type $both))))
    """
    parts = [part("a", bytes(wat2wasm(text))), part("b", components.add())]
    with pytest.raises(InvalidError, match="'a': its imports lib:a/a and lib:b/b share one type"):
        compose(parts, [])
    assert wrap_if_possible(parts[0].body, lambda _: False).body is parts[0].body
