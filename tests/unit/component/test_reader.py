"""What `read_component` makes of real components, and what it refuses."""

from __future__ import annotations

import time

import pytest

from lattice.component.reader import callable_exports, read_component
from lattice.component.types import (
    BorrowType,
    Function,
    Interface,
    ListType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
)
from lattice.errors import InvalidError
from tests.unit.component.building import (
    SEARCH,
    SYNTAX,
    compiled,
    custom,
    from_wit,
    leb,
    package_of,
    section,
)

QUERY = "docs:search/query@0.1.0"
TEXT = "docs:search/text@0.1.0"
STRING, U32, U8 = Primitive("string"), Primitive("u32"), Primitive("u8")
HIT = NamedType(
    QUERY, "hit", RecordType((("title", STRING), ("line", U32), ("score", Primitive("f32"))))
)
FAULT = NamedType(QUERY, "fault", VariantType((("empty", None), ("too-long", U32))))
CURSOR = ResourceType(QUERY, "cursor")
PREAMBLE = b"\0asm\x0d\0\x01\0"

LEFTOVERS = """
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $e (export "f" (func $f)))
  (export "init" (func $f))
  (export "go" (func $f))
  (export "exports" (instance $e))
  (export "docs:a/b" (instance $e)))
"""


def test_exported_functions_carry_the_names_of_their_types() -> None:
    query = read_component(from_wit(SEARCH)).exports[QUERY]

    assert query.functions["search"] == Function(
        params=(("query", STRING), ("limit", U32)), result=ResultType(ListType(HIT), FAULT)
    )
    assert list(query.types) == ["hit", "fault", "how", "order", "cursor"]


def test_methods_keep_the_names_of_the_binary() -> None:
    query = read_component(from_wit(SEARCH)).exports[QUERY]

    assert query.functions["[constructor]cursor"].result == OwnType(CURSOR)
    assert query.functions["[method]cursor.next"] == Function(
        params=(("self", BorrowType(CURSOR)),), result=OptionType(HIT)
    )
    assert query.functions["[static]cursor.open"].result == ResultType(OwnType(CURSOR), FAULT)


def test_used_types_keep_the_interface_that_defines_them() -> None:
    text = read_component(from_wit(SEARCH)).imports[TEXT]

    hits = NamedType(TEXT, "hits", ListType(HIT))
    assert text.types == {"hit": HIT, "hits": hits, "marker": CURSOR}
    assert text.functions["split"].result == hits
    assert text.functions["mark"].params == (
        ("at", BorrowType(CURSOR)),
        ("pair", TupleType((Primitive("s8"), Primitive("f64")))),
    )


def test_functions_at_the_root_form_the_interface_without_a_name() -> None:
    component = read_component(from_wit(SEARCH))

    assert component.imports[""].functions == {"note": Function(params=(("line", STRING),))}
    assert component.exports[""].functions == {"ping": Function(result=STRING)}


def test_code_is_passed_over_however_large_it_is() -> None:
    code = section(1, bytes(18_000_000))
    body = from_wit(SEARCH)
    large = PREAMBLE + code + body[len(PREAMBLE) :]

    took_s = []
    for _ in range(5):
        started_s = time.perf_counter()
        component = read_component(large)
        took_s.append(time.perf_counter() - started_s)
    assert component == read_component(body)
    assert min(took_s) < 0.05


def test_order_is_that_of_the_binary() -> None:
    assert list(read_component(from_wit(SEARCH)).imports) == [QUERY, TEXT, ""]


def test_types_of_the_world_belong_to_the_root() -> None:
    component = read_component(from_wit(SYNTAX))

    local = component.imports[""].types["local"]
    assert isinstance(local, NamedType)
    assert (local.interface, local.name) == ("", "local")
    assert component.exports[""].functions["run"].params == (("arg", local),)


def test_types_of_an_instance_put_together_by_hand_are_named() -> None:
    body = compiled("""
    (component
      (core module $m (func (export "f") (param i32) (result i32) i32.const 0))
      (core instance $i (instantiate $m))
      (type $hit (record (field "a" u32)))
      (func $f (param "h" $hit) (result u32) (canon lift (core func $i "f")))
      (instance $e (export "hit" (type $hit)) (export "f" (func $f)))
      (export "docs:x/y" (instance $e)))
    """)

    hit = NamedType("docs:x/y", "hit", RecordType((("a", U32),)))
    assert read_component(body).exports["docs:x/y"] == Interface(
        name="docs:x/y",
        types={"hit": hit},
        functions={"f": Function(params=(("h", hit),), result=U32)},
    )


def test_labelled_imports_name_the_interface_that_they_implement() -> None:
    store = "lab:i/store@0.1.0"
    shape = section(7, b"\x01\x42\x02\x01\x40\x00\x01\x00\x04\x00\x03get\x01\x00")

    def labelled(name: str) -> bytes:
        attribute = b"\x01\x00" + leb(len(store)) + store.encode()
        return b"\x02" + leb(len(name)) + name.encode() + attribute + b"\x05\x00"

    body = PREAMBLE + shape + section(10, b"\x02" + labelled("primary") + labelled("secondary"))
    component = read_component(body)

    assert component.labels == {"primary": store, "secondary": store}
    assert list(component.imports) == ["primary", "secondary"]
    assert component.imports["primary"].name == store


def test_docs_of_the_binary_are_attached() -> None:
    docs = (
        b'\x01{"docs": "All of it.", "interfaces": {"query": {"docs": "Finding.", '
        b'"funcs": {"search": {"docs": "Finds."}, "[method]cursor.next": "The next one."}}}}'
    )
    component = read_component(from_wit(SEARCH) + custom("package-docs", docs))

    query = component.exports[QUERY]
    assert (component.docs, query.docs) == ("All of it.", "Finding.")
    assert query.functions["search"].docs == "Finds."
    assert query.functions["[method]cursor.next"].docs == "The next one."


@pytest.mark.parametrize("docs", [b"", b"\x01{", b"[" * 100_000, b'\x01{"interfaces": 3}'])
def test_docs_that_do_not_parse_are_left_out(docs: bytes) -> None:
    body = from_wit(SEARCH)

    assert read_component(body + custom("package-docs", docs)) == read_component(body)


def test_leftovers_of_toolchains_are_not_callable() -> None:
    component = read_component(compiled(LEFTOVERS))

    assert list(component.exports) == ["", "exports", "docs:a/b"]
    found = callable_exports(component)
    assert list(found) == ["", "docs:a/b"]
    assert list(found[""].functions) == ["go"]


def test_types_pass_through_a_component_that_is_composed_of_others() -> None:
    inner = from_wit(SEARCH)
    outer = PREAMBLE + section(4, inner)
    # An instance of it without arguments: the reader validates no code, it only looks into it.
    outer += section(5, b"\x01\x00\x00\x00")
    name = leb(len(QUERY)) + QUERY.encode()
    outer += section(6, b"\x01\x05\x00\x00" + name)
    outer += section(11, b"\x01\x00" + name + b"\x05\x01\x00")

    assert read_component(outer).exports[QUERY] == read_component(inner).exports[QUERY]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\0asm\x01\0\0\0", "wrap it with `wasm-tools component new`"),
        (b"", "found no bytes"),
        (b"(component)", "found text that begins with '(component)': compile it with"),
        (b"name: docsearch\nreplicas: 3\n", "found text that begins with 'name: docsearch"),
        (b"\x7fELF\x02\x01", "found bytes that begin with 7f454c460201"),
        (b"\0asm\x0e\0\x01\0", "found a WebAssembly binary of version 0e000100"),
        (b"\0asm", "found a WebAssembly binary of version none"),
    ],
)
def test_what_is_no_component_is_named(body: bytes, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_component(body)

    assert message in caught.value.message


def test_a_wit_package_is_no_component() -> None:
    with pytest.raises(InvalidError, match="this is a WIT package, not a component"):
        read_component(package_of(SEARCH))


def test_an_exported_function_type_is_no_function() -> None:
    body = compiled(
        """(component
          (type $run (func (result u32)))
          (instance $inside (export "inner" (type $run)))
          (export "run" (type $run))
          (export "test:types/all@0.1.0" (instance $inside)))"""
    )

    exports = read_component(body).exports

    assert {name: list(each.functions) for name, each in exports.items()} == {
        "test:types/all@0.1.0": []
    }


def test_an_import_of_a_component_is_refused() -> None:
    body = compiled('(component (import "c" (component)))')

    with pytest.raises(InvalidError, match="import 'c' is a component: only interfaces"):
        read_component(body)
