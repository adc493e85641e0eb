"""Texts become plain documents; what is no document is refused with line and column."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import InvalidError
from lattice.model.document import DOCUMENTS_MAX, TEXT_BYTES_MAX, load_documents


def body(text: str) -> object:
    (document,) = load_documents(text)
    return document.body


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    text = "a: yes\ni: 2001-01-01\nb: 010\nc: 0o10\nd: 0x1F\ne: 1e3\nf: ~\ng: true\nh: '1'"
    assert body(text) == {
        "a": "yes", "b": 10, "c": 8, "d": 31, "e": 1000.0, "f": None, "g": True, "h": "1",
        "i": "2001-01-01",
    }  # fmt: skip


def test_several_documents_come_in_order_and_empty_ones_are_left_out() -> None:
    documents = load_documents("---\na: 1\n---\n# nothing\n---\na: 2\n", source="two.yaml")
    assert [document.body for document in documents] == [{"a": 1}, {"a": 2}]


def test_json_is_read_with_its_own_rules() -> None:
    assert body('{\t"a": "\\ud83d\\ude00",\n\t"b": [1.5, null]}') == {
        "a": "\U0001f600",
        "b": [1.5, None],
    }


def test_a_flow_map_that_is_no_json_is_read_as_yaml() -> None:
    assert body("{a: b}") == {"a": "b"}


def test_an_alias_stands_for_the_anchored_value() -> None:
    assert body("a: &x [1, 2]\nb: *x\nc: &k 5\nd: *k") == {"a": [1, 2], "b": [1, 2], "c": 5, "d": 5}


def test_fields_know_their_line() -> None:
    (document,) = load_documents("a:\n  - b: 1\n\n    c: [x,\n      y]\n", source="f.yaml")
    places = [document.place(path) for path in ("a", "a[0].c", "a[0].c[1]", "a[0].gone", "")]
    assert places == ["f.yaml:1", "f.yaml:4", "f.yaml:5", "f.yaml:2", "f.yaml:1"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "f.yaml:1:6: expected ',' or ']'"),
        ("a: 1\na: 2", "f.yaml:2:1: key 'a' is given twice"),
        ('{"a": 1, "a": 2}', "f.yaml: key 'a' is given twice"),
        ("- 1", "f.yaml:1:1: a document is a map"),
        ("hello", "f.yaml:1:1: a document is a map"),
        ("", "f.yaml holds no document"),
        ("# only a comment", "f.yaml holds no document"),
        ("a: *x", "f.yaml:1:4: alias *x names nothing before it"),
        ("a: &x [*x]", "f.yaml:1:8: alias *x names nothing before it"),
        ("a: !!python/object:x.y x", "f.yaml:1:4: tag tag:yaml.org,2002:python/object:x.y"),
        ("a: !mine {}", "f.yaml:1:4: tag !mine is not allowed"),
        ("? [a]\n: b", "f.yaml:1:3: expected a plain key"),
        ("a: " + "[" * 5000, "f.yaml:1:35: nests deeper than 32 levels"),
        ('{"a":' * 5000, "f.yaml:1:"),
        ('{"a":' * 40 + "1" + "}" * 40, "f.yaml: nests deeper than 32 levels"),
        ("a: " + "9" * 5000, "f.yaml:1:4: integer of 5000 digits"),
        ('{"a": ' + "9" * 5000 + "}", "f.yaml:1:7: integer of 5000 digits"),
        ('a: "\\UFFFFFFFF"', "f.yaml is not YAML"),
        ("a: \x00", "f.yaml is not YAML"),
        ("%YAML 3.0\n---\na: 1", "f.yaml:1:1: found incompatible YAML document"),
        ("a: 1\n---\n" * (DOCUMENTS_MAX + 1), f"f.yaml:514:1: more than {DOCUMENTS_MAX} documents"),
        ("#" * (TEXT_BYTES_MAX + 1), "f.yaml has 1048577 bytes, at most 1048576"),
    ],
)  # fmt: skip
def test_what_is_no_document_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        load_documents(text, source="f.yaml")
    assert str(caught.value).startswith(reason)


def test_a_wrong_json_file_is_reported_as_json() -> None:
    with pytest.raises(InvalidError, match=r"^f\.json:2:1: "):
        load_documents('{"a": 1,\n}', source="f.json")


def test_aliases_that_grow_to_gigabytes_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(InvalidError, match="more than 100000 values, aliases written out"):
        load_documents("\n".join(lines))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_every_json_object_is_read_back(value: dict[str, object]) -> None:
    assert body(json.dumps(value)) == value


@given(
    st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,?~\n\t \\0x\u00e9\ufeff\x85", max_size=60) | st.text()
)
def test_any_text_is_read_or_refused_but_nothing_else(text: str) -> None:
    try:
        documents = load_documents(text)
    except InvalidError:
        return
    assert all(isinstance(document.body, dict) for document in documents)
