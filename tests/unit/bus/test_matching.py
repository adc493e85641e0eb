"""Which subjects a pattern covers, held to the rules of NATS."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.bus.matching import check_pattern, check_subject, covers, in_family
from lattice.errors import InvalidError

TOKENS = st.sampled_from(["a", "b", "lat", "x-y", "_2e"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.tuples(
    st.lists(TOKENS | st.just("*"), min_size=1, max_size=4), st.sampled_from([[], [">"]])
).map(lambda parts: ".".join([*parts[0], *parts[1]]))


def expected(pattern: str) -> str:
    """Return the regular expression that says the same as a pattern."""
    tokens = [
        {"*": r"[^.]+", ">": r".+"}.get(token, re.escape(token)) for token in pattern.split(".")
    ]
    return r"\.".join(tokens)


@given(PATTERNS, SUBJECTS)
def test_a_pattern_covers_what_its_regular_expression_matches(pattern: str, subject: str) -> None:
    check_pattern(pattern)
    check_subject(subject)
    assert covers(pattern, subject) == bool(re.fullmatch(expected(pattern), subject))


@given(SUBJECTS)
def test_a_subject_covers_itself_and_is_in_its_families(subject: str) -> None:
    assert covers(subject, subject)
    assert covers(">", subject)
    assert not covers(subject + ".>", subject)
    tokens = subject.split(".")
    assert all(in_family(".".join(tokens[:count]), subject) for count in range(len(tokens) + 1))
    assert not in_family(subject + "x", subject)


@given(st.text(max_size=20))
def test_what_is_accepted_has_no_white_space_and_no_empty_token(text: str) -> None:
    try:
        check_subject(text)
    except InvalidError:
        return
    assert text
    assert not re.search(r"\s|[*>\x00-\x1f]", text)
    assert all(text.split("."))


@pytest.mark.parametrize("subject", ["a\n", "a\u2028b", "a\x00", "a\x7f"])
def test_control_characters_are_refused(subject: str) -> None:
    with pytest.raises(InvalidError):
        check_subject(subject)
