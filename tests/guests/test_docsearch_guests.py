"""The guests of `examples/docsearch` keep the promises of their WIT, run by plain wasmtime."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from wasmtime import Trap, WasmtimeError

from examples.docsearch import build, corpus
from tests.guests.oracle import Guest, Imports

pytestmark = pytest.mark.wasm

TEXT = "docs:search/text@0.1.0"
INDEX = "docs:search/index@0.1.0"
QUERY = "docs:search/query@0.1.0"
ASK = "docs:ask/ask@0.1.0"

DOCUMENTS = (
    ("module", "json", "json", "Encode and decode JSON text."),
    ("function", "json", "loads", "Deserialize a JSON document.\n\n\tThe text is UTF-8."),
    ("class", "json", "JSONDecoder", "Decoder of text, C:\\new\\table."),
    ("function", "os.path", "join", "Join paths. Grüße 🌍 日本"),
)


def small_guest(name: str, **options: Any) -> Guest:
    return Guest((build.GUESTS / name / f"{name}.wasm").read_bytes(), **options)


def corpus_of(*documents: tuple[str, str, str, str]) -> bytes:
    lines = (
        corpus.Document(kind=kind, module=module, title=title, text=text).line(number)
        for number, (kind, module, title, text) in enumerate(documents, 1)
    )
    return "".join(lines).encode()


def started_index(folder: Path, body: bytes) -> Guest:
    (folder / "corpus").write_bytes(body)
    guest = small_guest("index", files=folder)
    guest.call(None, "start")
    return guest


def lookup(index: Guest, *terms: str, limit: int = 10) -> list[tuple[int, float]]:
    return [(hit.id, hit.score) for hit in index.call(INDEX, "lookup", list(terms), limit)]


def stats(index: Guest) -> dict[str, int]:
    return dict(vars(index.call(INDEX, "stats")))


@pytest.fixture(scope="module")
def text() -> Guest:
    return small_guest("tokenize")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    return started_index(tmp_path_factory.mktemp("files"), corpus_of(*DOCUMENTS))


# --- tokenize -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "terms"),
    [
        ("", []),
        ("the of a", []),
        ("Read_Text, read TEXT!", ["read", "text", "read", "text"]),
        ("x y2 2", ["y2"]),
        ("Grüße naïve—well “quoted” 日本 語 5→5",
         ["grüße", "naïve", "well", "quoted", "日本", "語"]),
        ("a" * 50, ["a" * 40]),
        ("é" * 50, ["é" * 20]),
        ("x" + "é" * 50, ["x" + "é" * 19]),
        ("🌍🌍 \0\t\x7f", []),
    ],
)  # fmt: skip
def test_tokenize_cuts_text_into_terms(text: Guest, given: str, terms: list[str]) -> None:
    assert text.call(TEXT, "tokenize", given) == terms


def test_tokenize_gives_its_memory_back(text: Guest) -> None:
    words = "alpha beta " * 10_000
    for _ in range(10):
        assert len(text.call(TEXT, "tokenize", words)) == 20_000


# --- index ----------------------------------------------------------------------------------


def test_index_gives_back_documents_as_they_were(index: Guest) -> None:
    for number, (kind, module, title, body) in enumerate(DOCUMENTS, 1):
        found = index.call(INDEX, "document", number)
        assert (found.id, found.kind, found.module, found.title, found.text) == (
            number, kind, module, title, body,
        )  # fmt: skip
    assert index.call(INDEX, "document", 0) is None
    assert index.call(INDEX, "document", 2**32 - 1) is None


def test_index_scores_by_bm25(index: Guest, text: Guest) -> None:
    counts = [
        Counter(3 * text.call(TEXT, "tokenize", title) + text.call(TEXT, "tokenize", body))
        for _, _, title, body in DOCUMENTS
    ]
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(lengths)
    expected: dict[int, float] = {}
    for term in ("text", "json", "absent"):
        having = sum(term in count for count in counts)
        rarity = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
        for number, (count, length) in enumerate(zip(counts, lengths, strict=True), 1):
            if times := count[term]:
                norm = times + 1.2 * (1 - 0.75 + 0.75 * length / mean)
                expected[number] = expected.get(number, 0) + rarity * times * 2.2 / norm
    ranked = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    found = lookup(index, "text", "json", "absent")
    assert [number for number, _ in found] == [number for number, _ in ranked]
    for (_, score), (_, wanted) in zip(found, ranked, strict=True):
        assert score == pytest.approx(wanted, rel=1e-12)


def test_lookup_keeps_to_its_limits(index: Guest) -> None:
    everything = lookup(index, "text", "json", "join", limit=2**32 - 1)
    assert len(everything) == 4
    for limit in range(5):
        assert lookup(index, "text", "json", "join", limit=limit) == everything[:limit]
    assert lookup(index, *["absent"] * 64, "text") == []
    assert lookup(index) == []
    assert lookup(index, "") == []
    assert lookup(index, "日本")[0][0] == 4


def test_lookup_orders_equal_scores_by_id(tmp_path: Path) -> None:
    body = corpus_of(*[("function", "m", "f", "same words")] * 1500)
    index = started_index(tmp_path, body)
    assert [number for number, _ in lookup(index, "same", limit=7)] == [1, 2, 3, 4, 5, 6, 7]
    assert [n for n, _ in lookup(index, "same", limit=5000)] == list(range(1, 1001))


def test_stats_count_what_the_index_holds(index: Guest) -> None:
    totals = stats(index)
    assert (totals["documents"], totals["skipped-lines"], totals["postings"]) == (4, 0, 19)
    assert totals["tokens"] > totals["terms"] > 0
    assert totals["memory-bytes"] % 65536 == 0


@pytest.mark.parametrize("body", [b"", b"\n", b"\n\n\xff\xfe\n"])
def test_index_of_an_empty_corpus_finds_nothing(tmp_path: Path, body: bytes) -> None:
    index = started_index(tmp_path, body)
    totals = stats(index)
    assert (totals["documents"], totals["terms"]) == (0, 0)
    assert totals["skipped-lines"] == body.count(b"\n")
    assert lookup(index, "text") == []
    assert index.call(INDEX, "document", 1) is None


def test_lines_that_are_no_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    good = [b"1\tmodule\tm\tt\tgood", b"7\tclass\tm\tt\tgood", b"8\tfunction\tm\tt\tgood"]
    bad = [
        b"", b"no tabs at all", b"2\tmodule\tm\tt", b"2\tmodule\tm\tt\tbad\tsix",
        b"x\tmodule\tm\tt\tbad", b"-2\tmodule\tm\tt\tbad", b"4294967296\tmodule\tm\tt\tbad",
        b"99999999999999999999999\tmodule\tm\tt\tbad", b"\tmodule\tm\tt\tbad",
        b"2\tpackage\tm\tt\tbad", b"2\tmodule\tm\tt\tbad \\x escape", b"2\tmodule\tm\tt\tbad \\",
        b"2\tmodule\tm\tt\tbad \xff", b"2\tmodule\tm\tt\tbad \xed\xa0\x80",
        b"2\tmodule\tm\tt\tbad \xc0\x80", b"2\tmodule\tm\tt\tbad \xf4\x90\x80\x80",
        b"2\tmodule\tm\tt\tbad \xe2\x82", b"1\tmodule\tm\tt\tbad, the id again", b"\t\t\t\t\t\t",
    ]  # fmt: skip
    index = started_index(tmp_path, b"\n".join([good[0], *bad, *good[1:]]))
    totals = stats(index)
    assert (totals["documents"], totals["skipped-lines"]) == (3, len(bad))
    assert sorted(number for number, _ in lookup(index, "good")) == [1, 7, 8]
    assert lookup(index, "bad") == []


@pytest.mark.parametrize("has_folder", [True, False])
def test_start_without_a_corpus_says_so_and_traps(tmp_path: Path, has_folder: bool) -> None:
    errors = tmp_path / "errors"
    (tmp_path / "files").mkdir()
    files = tmp_path / "files" if has_folder else None
    guest = small_guest("index", files=files, stderr=errors)
    with pytest.raises((Trap, WasmtimeError)):
        guest.call(None, "start")
    assert errors.read_text() == (
        "index: cannot read /files/corpus: opening failed, there is no such file\n"
    )


def test_start_says_what_it_indexed_and_does_it_once(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    (tmp_path / "corpus").write_bytes(corpus_of(*DOCUMENTS) + b"no document\n")
    guest = small_guest("index", files=tmp_path, stderr=errors)
    for _ in range(2):
        guest.call(None, "start")
    assert errors.read_text() == "index: 4 documents, 16 terms, 1 lines skipped\n"


def test_start_refuses_a_corpus_that_is_too_large(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with (tmp_path / "corpus").open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    guest = small_guest("index", files=tmp_path, stderr=errors)
    with pytest.raises((Trap, WasmtimeError)):
        guest.call(None, "start")
    assert "larger than 32 MiB" in errors.read_text()


def test_lookup_before_start_finds_nothing() -> None:
    guest = small_guest("index")
    assert lookup(guest, "text") == []
    assert guest.call(INDEX, "document", 1) is None


def test_index_gives_the_memory_of_calls_back(index: Guest) -> None:
    before = stats(index)["memory-bytes"]
    for _ in range(300):
        lookup(index, *["text" * 10] * 60, limit=1000)
    assert stats(index)["memory-bytes"] <= before + 65536


# --- The whole corpus -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("library")
    return started_index(folder, build.build_corpus().read_bytes())


def test_corpus_of_the_standard_library_has_its_documents(library: Guest) -> None:
    totals = stats(library)
    assert totals["documents"] > build.DOCUMENTS_MIN
    assert totals["skipped-lines"] == 0
    assert totals["memory-bytes"] < 32 * 1024 * 1024


@pytest.fixture(scope="module")
def query(library: Guest, text: Guest) -> Guest:
    imports: Imports = {
        TEXT: {"tokenize": lambda _, given: text.call(TEXT, "tokenize", given)},
        INDEX: {
            "lookup": lambda _, terms, limit: library.call(INDEX, "lookup", terms, limit),
            "document": lambda _, number: library.call(INDEX, "document", number),
            "stats": lambda _: library.call(INDEX, "stats"),
        },
    }
    body = build.build_query_guest().read_bytes()
    return Guest(body, imports, is_large=True)


@pytest.mark.parametrize(
    ("words", "module", "title"),
    [
        ("deserialize json document", "json", "loads"),
        ("JSON encoder", "json.encoder", "JSONEncoder"),
        ("named tuple factory", "collections", "namedtuple"),
        ("glob path pattern", "glob", "glob"),
        ("read text file", "pathlib", "Path.read_text"),
    ],
)
def test_search_finds_what_a_person_means(
    query: Guest, words: str, module: str, title: str
) -> None:
    answers = query.call(QUERY, "search", words, 10)
    assert (module, title) in [(answer.module, answer.title) for answer in answers]
    scores = [answer.score for answer in answers]
    assert scores == sorted(scores, reverse=True)
    for answer in answers:
        assert len(answer.snippet) <= 160
        assert not re.search(r"[\r\n\t]", answer.snippet)


def test_search_answers_nothing_to_unknown_words(query: Guest) -> None:
    assert query.call(QUERY, "search", "qwertzuiop 日本", 5) == []


@pytest.mark.parametrize(
    ("words", "limit", "tag", "payload"),
    [
        ("", 5, "no-terms", None),
        ("the of !?", 5, "no-terms", None),
        ("x" * 100_000, 5, "query-too-long", 1000),
        ("json", 0, "limit-out-of-range", 100),
        ("json", 2**32 - 1, "limit-out-of-range", 100),
    ],
)
def test_search_refuses_with_a_reason(
    query: Guest, words: str, limit: int, tag: str, payload: int | None
) -> None:
    refusal = query.call(QUERY, "search", words, limit)
    assert (refusal.tag, refusal.payload) == (tag, payload)


def test_search_takes_the_largest_query_and_limit(query: Guest) -> None:
    assert len(query.call(QUERY, "search", "return " * 140, 100)) == 100


def test_query_stats_are_those_of_the_index(query: Guest, library: Guest) -> None:
    mine, theirs = query.call(QUERY, "stats"), library.call(INDEX, "stats")
    assert (mine.documents, mine.terms) == (theirs.documents, theirs.terms)


# --- ask ------------------------------------------------------------------------------------


def test_ask_answers_in_lines(query: Guest) -> None:
    guest = small_guest(
        "ask", imports={QUERY: {"search": lambda _, *args: query.call(QUERY, "search", *args)}}
    )
    for _ in range(3):
        lines = guest.call(ASK, "ask", "How do I deserialize a JSON document?")
        assert len(lines) == 3
        assert any(line.startswith("loads, a function of json: Deserialize") for line in lines)
    assert guest.call(ASK, "ask", "qwertzuiop") is None  # nothing-found, the case without payload
    assert guest.call(ASK, "ask", "?") == "the question has no word to look for"
    assert guest.call(ASK, "ask", "x" * 1001) == "the question is too long, at most 1000 characters"
