"""The component `query`: `docs:search/query`, a person's words in, ranked answers out.

It has no state: the terms come from `docs:search/text`, hits and documents from the service behind
`docs:search/index`. Its own part is the order of the best hits and the snippets.
"""

import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import query
from wit_world.imports import index, text

QUERY_LENGTH_MAX = 1000
"""Characters of a query; nobody types more, and the tokenizer's answer stays small."""

LIMIT_MAX = 100
"""Answers to one query; each costs a call to the index."""

CANDIDATES_MORE = 20
"""Hits fetched beyond the limit, so that a better order can lift one of them into the answers."""

SNIPPET_LENGTH = 160
"""Characters of a snippet, the signs of omission included."""

NAME_WEIGHT = 1.25
"""How much more a document counts when all words of its own name are terms of the query."""

PRIVATE_WEIGHT = 0.7
"""How much less a document counts whose name begins with an underscore: few people look for it."""


class Query(exports.Query):
    """The exported interface; componentize-py finds the class by its name."""

    def search(self, query_text: str, limit: int) -> list[query.Answer]:
        if not 1 <= limit <= LIMIT_MAX:
            raise Err(query.SearchError_LimitOutOfRange(LIMIT_MAX))
        if len(query_text) > QUERY_LENGTH_MAX:
            raise Err(query.SearchError_QueryTooLong(QUERY_LENGTH_MAX))
        terms = list(dict.fromkeys(text.tokenize(query_text)))
        if not terms:
            raise Err(query.SearchError_NoTerms())
        answers = []
        for hit in index.lookup(terms, limit + CANDIDATES_MORE):
            found = index.document(hit.id)
            if found is not None:  # the index knows all its hits; None would be its mistake
                answers.append(_answer(hit, found, terms))
        answers.sort(key=lambda answer: (-answer.score, answer.id))
        return answers[:limit]

    def stats(self) -> query.Totals:
        totals = index.stats()
        return query.Totals(
            documents=totals.documents, terms=totals.terms, skipped_lines=totals.skipped_lines
        )


def _answer(hit: index.Hit, found: index.Docstring, terms: list[str]) -> query.Answer:
    return query.Answer(
        id=hit.id,
        title=found.title,
        module=found.module,
        kind=query.Kind(found.kind.value),
        score=hit.score * _weight(found, terms),
        snippet=_snippet(found.text, terms),
    )


def _weight(found: index.Docstring, terms: list[str]) -> float:
    """Return the share of the terms that the document has, times what its name tells."""
    whole = f"{found.title}\n{found.text}".lower()
    weight = sum(term in whole for term in terms) / len(terms)
    name = found.title.rpartition(".")[2]
    if set(name.lower().strip("_").split("_")) <= set(terms):
        weight *= NAME_WEIGHT
    if name.startswith("_"):
        weight *= PRIVATE_WEIGHT
    return weight


def _snippet(body: str, terms: list[str]) -> str:
    """Return the line's worth of text with the most different terms in it, on one line."""
    line = " ".join(body.split())
    if len(line) <= SNIPPET_LENGTH:
        return line
    room = SNIPPET_LENGTH - 8  # both signs of omission, with a space each
    pattern = "|".join(re.escape(term) for term in terms)
    found_terms = re.finditer(pattern, line, re.IGNORECASE)
    places = [(found.start(), found[0].lower()) for found in found_terms]
    start, most = 0, 0
    for first, (begin, _) in enumerate(places):
        inside = {term for at, term in places[first : first + 32] if at + len(term) <= begin + room}
        if len(inside) > most:
            start, most = begin, len(inside)
    start = 0 if start < room // 2 else line.rfind(" ", 0, start - room // 4) + 1
    end = min(len(line), start + room)
    if end < len(line):
        end = max(line.rfind(" ", start, end), start + room // 2)
    head = "... " if start > 0 else ""
    tail = " ..." if end < len(line) else ""
    return f"{head}{line[start:end]}{tail}"
