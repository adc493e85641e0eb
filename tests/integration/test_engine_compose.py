"""Compositions of any supported shape are valid components; others are refused with the reason.

The oracle is `wasm-tools`: it validates each composition and reads its world. Parts are made from
WIT alone, their code traps.
"""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Link, Part
from hosts.engine.compose import compose
from lattice.component.reader import read_component
from lattice.component.types import Interface
from lattice.errors import IncompatibleError, InvalidError
from lattice.model.ids import Digest
from tests.guests import components

pytestmark = pytest.mark.wasm

TOOL = Path(sysconfig.get_path("scripts")) / "wasm-tools"

Dummy = Callable[[str, str], Part]
Oracle = Callable[[bytes], str]


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
def oracle(tmp_path: Path) -> Oracle:
    """Validate a composition by wasm-tools and return its world as WIT text."""

    def check(body: bytes) -> str:
        path = tmp_path / "composition.wasm"
        path.write_bytes(body)
        validate: Sequence[str | Path] = [TOOL, "validate", "-f", "all", path]
        done = subprocess.run(validate, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        show: Sequence[str | Path] = [TOOL, "component", "wit", path]
        done = subprocess.run(show, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("}")[0]

    return check


def part(name: str, body: bytes) -> Part:
    return Part(name, Digest(f"sha256:{name}"), body)


def names(interfaces: Mapping[str, Interface]) -> list[str]:
    return sorted(interfaces)


def test_only_part_without_links_is_passed_through_unchanged() -> None:
    body = components.add()
    assert compose([part("add", body)], []) is body


def test_nothing_and_equal_names_are_refused() -> None:
    with pytest.raises(InvalidError, match="at least one"):
        compose([], [])
    twice = [part("a", components.add()), part("a", components.echo())]
    with pytest.raises(InvalidError, match="two parts are named 'a'"):
        compose(twice, [])


def test_part_that_is_no_component_is_named() -> None:
    with pytest.raises(InvalidError, match="part 'b': this is a core module"):
        compose([part("a", components.add()), part("b", bytes(wat2wasm("(module)")))], [])


TYPES = """
interface types {
  record item { name: string, size: u64, tags: list<tuple<string, option<u8>>> }
  variant change { none, added(item), removed(string) }
  flags rights { read, write }
  enum color { red, green }
}
"""


def test_types_of_a_shared_interface_are_named_in_the_composition(
    dummy: Dummy, oracle: Oracle
) -> None:
    wit = (
        TYPES
        + """
    interface store {
      use types.{item, change, rights, color};
      put: func(what: item, how: rights) -> result<change, color>;
    }
    """
    )
    asker = dummy("asker", wit + "world asker { import store; export run: func(); }")
    other = dummy("other", wit + "world other { import store; export walk: func(); }")
    composed = compose([asker, other], [])
    assert "import test:asker/store" in oracle(composed)
    assert names(read_component(composed).imports) == [
        "test:asker/store", "test:asker/types", "test:other/store", "test:other/types",
    ]  # fmt: skip


def test_imports_of_one_track_merge_under_the_highest_version(dummy: Dummy, oracle: Oracle) -> None:
    def asker(name: str, version: str, function: str) -> Part:
        return dummy(
            name,
            f"""
            world {name} {{ import lib:log/log@{version}; export {name}-run: func(); }}
            package lib:log@{version} {{
              interface log {{
                enum level {{ low, high }}
                {function}: func(level: level, text: string);
              }}
            }}
            """,
        )

    parts = [asker("old", "0.2.3", "write"), asker("new", "0.2.11", "flush"),
             asker("other", "0.3.0", "write")]  # fmt: skip
    composed = compose(parts, [])
    world = oracle(composed)
    assert "import lib:log/log@0.2.11;" in world
    assert "import lib:log/log@0.3.0;" in world
    merged = read_component(composed).imports
    assert names(merged) == ["lib:log/log@0.2.11", "lib:log/log@0.3.0"]
    assert sorted(merged["lib:log/log@0.2.11"].functions) == ["flush", "write"]


def test_same_function_of_other_types_cannot_merge(dummy: Dummy) -> None:
    package = "package lib:x {{ interface ask {{ ask: func(a: {}); }} }}"
    parts = [
        dummy(name, f"world {name} {{ import lib:x/ask; }}\n" + package.format(kind))
        for name, kind in (("first", "u8"), ("second", "string"))
    ]
    with pytest.raises(IncompatibleError, match="'first' and 'second' import lib:x/ask"):
        compose(parts, [])


STREAMS = """
package lib:io {
  interface error { resource error { text: func() -> string; } }
  interface streams {
    use error.{error};
    variant fault { failed(error), closed }
    resource output { write: func(bytes: list<u8>) -> result<_, fault>; }
  }
  interface stdout { use streams.{output}; get: func() -> output; }
}
"""


def test_resource_of_the_host_is_one_type_for_all_parts(dummy: Dummy, oracle: Oracle) -> None:
    parts = [
        dummy("one", "world one { import lib:io/stdout; export a: func(); }" + STREAMS),
        dummy("two", "world two { import lib:io/streams; export b: func(); }" + STREAMS),
    ]
    world = oracle(compose(parts, []))
    for name in ("error", "streams", "stdout"):
        assert world.count(f"import lib:io/{name};") == 1


def test_resource_of_one_part_is_used_by_another(dummy: Dummy, oracle: Oracle) -> None:
    wit = """
    package lib:things {
      interface things {
        resource thing { constructor(name: string); name: func() -> string; }
        all: func() -> list<thing>;
        look: func(at: borrow<thing>);
      }
    }
    """
    asker = dummy("asker", "world asker { import lib:things/things; export run: func(); }" + wit)
    giver = dummy("giver", "world giver { export lib:things/things; }" + wit)
    composed = compose([asker, giver], [Link("asker", "lib:things/things", "giver")])
    world = oracle(composed)
    assert "import" not in world.replace("world root", "")
    assert names(read_component(composed).exports) == ["", "lib:things/things"]


def test_remaining_import_that_uses_a_resource_of_a_linked_one_is_refused(dummy: Dummy) -> None:
    asker = dummy("asker", "world asker { import lib:io/stdout; export a: func(); }" + STREAMS)
    giver = dummy("giver", "world giver { export lib:io/error; export lib:io/streams; }" + STREAMS)
    links = [Link("asker", "lib:io/error", "giver"), Link("asker", "lib:io/streams", "giver")]
    with pytest.raises(InvalidError) as caught:
        compose([asker, giver], links)
    assert "lib:io/stdout (imported by part 'asker') uses resource" in caught.value.message
    assert "lib:io/streams" in caught.value.message


def test_value_type_of_a_linked_interface_may_be_used_by_a_remaining_one(
    dummy: Dummy, oracle: Oracle
) -> None:
    wit = """
    package lib:docs {
      interface types { record doc { title: string } }
      interface store { use types.{doc}; put: func(doc: doc); }
    }
    """
    asker = dummy("asker", "world asker { import lib:docs/store; export a: func(); }" + wit)
    giver = dummy("giver", "world giver { export lib:docs/types; export b: func(); }" + wit)
    composed = compose([asker, giver], [Link("asker", "lib:docs/types", "giver")])
    oracle(composed)
    assert names(read_component(composed).imports) == ["lib:docs/store"]


def test_chain_and_diamond_of_links(dummy: Dummy, oracle: Oracle) -> None:
    wit = """
    package lib:x {
      interface a { a: func() -> u32; }
      interface b { b: func() -> u32; }
      interface c { c: func() -> u32; }
    }
    """
    top = dummy("top", "world top { import lib:x/a; import lib:x/b; export run: func(); }" + wit)
    left = dummy("left", "world left { import lib:x/c; export lib:x/a; }" + wit)
    right = dummy("right", "world right { import lib:x/c; export lib:x/b; }" + wit)
    base = dummy("base", "world base { export lib:x/c; }" + wit)
    links = [
        Link("top", "lib:x/a", "left"),
        Link("top", "lib:x/b", "right"),
        Link("left", "lib:x/c", "base"),
        Link("right", "lib:x/c", "base"),
    ]
    composed = compose([top, left, right, base], links)
    oracle(composed)
    assert names(read_component(composed).imports) == []
    assert names(read_component(composed).exports) == ["", "lib:x/a", "lib:x/b", "lib:x/c"]


def test_circle_is_refused_and_shown(dummy: Dummy) -> None:
    wit = "package lib:x { interface a { a: func(); } interface b { b: func(); } }"
    first = dummy("first", "world first { import lib:x/a; export lib:x/b; }" + wit)
    second = dummy("second", "world second { import lib:x/b; export lib:x/a; }" + wit)
    links = [Link("first", "lib:x/a", "second"), Link("second", "lib:x/b", "first")]
    with pytest.raises(InvalidError, match="first -> second -> first"):
        compose([first, second], links)


def test_of_one_export_of_two_parts_the_first_ones_is_seen(dummy: Dummy, oracle: Oracle) -> None:
    wit = "package lib:x@{} {{ interface a {{ {}: func(); }} }}"
    first = dummy("first", "world first { export lib:x/a@1.0.0; }" + wit.format("1.0.0", "one"))
    second = dummy("second", "world second { export lib:x/a@1.2.0; }" + wit.format("1.2.0", "two"))
    composed = compose([first, second], [])
    oracle(composed)
    exports = read_component(composed).exports
    assert {name: list(each.functions) for name, each in exports.items()} == {
        "lib:x/a@1.0.0": ["one"]
    }


def test_another_version_of_the_track_satisfies_a_link(dummy: Dummy, oracle: Oracle) -> None:
    wit = "package lib:x@{} {{ interface a {{ a: func(); }} }}"
    asker = dummy("asker", "world asker { import lib:x/a@1.0.0; }" + wit.format("1.0.0"))
    giver = dummy("giver", "world giver { export lib:x/a@1.2.0; }" + wit.format("1.2.0"))
    composed = compose([asker, giver], [Link("asker", "lib:x/a@1.0.0", "giver")])
    oracle(composed)
    assert names(read_component(composed).imports) == []


def test_functions_at_the_root_are_linked_by_name(dummy: Dummy, oracle: Oracle) -> None:
    asker = dummy("asker", "world asker { import greet: func() -> string; export run: func(); }")
    giver = dummy("giver", "world giver { export greet: func() -> string; }")
    linked = compose([asker, giver], [Link("asker", "", "giver")])
    oracle(linked)
    assert names(read_component(linked).imports) == []
    apart = compose([asker, giver], [])
    oracle(apart)
    assert list(read_component(apart).imports[""].functions) == ["greet"]


def test_types_at_the_root_stay_named(dummy: Dummy, oracle: Oracle) -> None:
    wit = """
    world {} {{
      record point {{ x: s32, y: s32 }}
      import move: func(by: point) -> point;
      export turn: func(by: point) -> list<point>;
    }}
    """
    parts = [dummy("first", wit.format("first")), dummy("second", wit.format("second"))]
    composed = compose(parts, [])
    oracle(composed)
    component = read_component(composed)
    assert list(component.imports[""].functions) == ["move"]
    assert list(component.exports[""].functions) == ["turn"]


def test_maps_and_labelled_imports_pass(oracle: Oracle) -> None:
    labelled = """
    (component
      (type $store (instance
        (export "get" (func (param "keys" (map string u32)) (result (option string))))))
      (import "primary" (implements "lib:kv/store@0.1.0") (instance (type $store)))
      (import "secondary" (implements "lib:kv/store@0.1.0") (instance (type $store))))
    """
    parts = [part("a", bytes(wat2wasm(labelled))), part("b", components.add())]
    composed = compose(parts, [])
    oracle(composed)
    component = read_component(composed)
    assert component.labels == {
        "primary": "lib:kv/store@0.1.0",
        "secondary": "lib:kv/store@0.1.0",
    }
    assert names(component.imports) == ["primary", "secondary"]
