"""Whatever text or bytes the C guests of `examples/docsearch` get, they keep their word."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples.docsearch import build
from tests.guests.oracle import Guest

pytestmark = pytest.mark.wasm

TEXT = "docs:search/text@0.1.0"
INDEX = "docs:search/index@0.1.0"

TERM_BYTES_MAX = 40
STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "by", "for", "in", "is", "it", "of", "on", "or",
        "that", "the", "this", "to",
    }
)  # fmt: skip

# Characters outside ASCII whose category and block agree about what they are.
LETTERS = string.ascii_letters + string.digits + "äßéжלあ日𝒳"
SEPARATORS = string.punctuation + string.whitespace + "\0—“”\u00d7÷→、🌍\u00a0"

small_guests = {
    name: (build.GUESTS / name / f"{name}.wasm").read_bytes() for name in ("tokenize", "index")
}


def reference_terms(text: str) -> list[str]:
    """Return the terms of a text of LETTERS and SEPARATORS as `docs:search/text` defines them."""
    runs = "".join(char if char in LETTERS else " " for char in text).split(" ")
    terms = []
    for run in runs:
        cut = "".join(char.lower() if char.isascii() else char for char in run).encode()
        term = cut[:TERM_BYTES_MAX].decode("utf-8", "ignore")
        if len(term.encode()) > 1 and term not in STOP_WORDS:
            terms.append(term)
    return terms


@pytest.fixture(scope="module")
def tokenizer() -> Guest:
    return Guest(small_guests["tokenize"])


@settings(deadline=None, max_examples=150)
@given(text=st.text(alphabet=LETTERS + SEPARATORS, max_size=200))
@example(text="the" + "x" * 39 + "日日 é a the_of")
def test_terms_are_those_of_the_reference(tokenizer: Guest, text: str) -> None:
    assert tokenizer.call(TEXT, "tokenize", text) == reference_terms(text)


@settings(deadline=None, max_examples=150)
@given(text=st.text(max_size=200))
def test_terms_of_any_text_are_short_parts_of_it_in_order(tokenizer: Guest, text: str) -> None:
    at = 0
    lower = "".join(char.lower() if char.isascii() else char for char in text)
    for term in tokenizer.call(TEXT, "tokenize", text):
        assert 2 <= len(term.encode()) <= TERM_BYTES_MAX
        at = lower.index(term, at) + len(term)


lines = st.one_of(
    st.binary(max_size=40),
    st.tuples(
        st.integers(min_value=0, max_value=20).map(lambda number: str(number).encode()),
        st.sampled_from([b"module", b"class", b"function", b"other"]),
        st.just(b"m"),
        st.binary(max_size=10),
        st.text(alphabet="ab \\nt", max_size=10).map(str.encode),
    ).map(b"\t".join),
)


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(lines, max_size=12))
def test_every_line_of_any_corpus_is_a_document_or_is_counted(parts: list[bytes]) -> None:
    body = b"".join(part.replace(b"\n", b" ") + b"\n" for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpus").write_bytes(body)
        index = Guest(small_guests["index"], files=Path(folder))
        index.call(None, "start")
        totals = vars(index.call(INDEX, "stats"))
        assert totals["documents"] + totals["skipped-lines"] == len(parts)
        found = [index.call(INDEX, "document", number) for number in range(21)]
        assert sum(document is not None for document in found) == totals["documents"]
