"""Subjects: every name becomes one token and comes back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.bus.matching import covers
from lattice.errors import InvalidError
from lattice.wire.subjects import CallTarget, Names, interface_token, token, untoken

NAMES = Names("dev")


@given(st.text())
def test_any_name_becomes_one_safe_token_and_comes_back(name):
    assert re.fullmatch(r"[A-Za-z0-9_-]*", token(name))
    assert untoken(token(name)) == name


@given(st.text(), st.text())
def test_different_names_have_different_tokens(one, other):
    assert (token(one) == token(other)) == (one == other)


@pytest.mark.parametrize("text", ["_", "_g0", "a_3", "_C3", "_ff"])
def test_what_token_never_writes_is_refused(text):
    with pytest.raises(InvalidError):
        untoken(text)


def test_patch_versions_of_one_track_share_a_subject():
    assert interface_token("a:b/c@0.2.1") == interface_token("a:b/c@0.2.9")
    assert interface_token("a:b/c@0.2.1") != interface_token("a:b/c@0.3.0")
    assert interface_token("") == "_"


def test_calls_are_read_back_from_their_subjects():
    subject = NAMES.call("docs", "docs:search/query@0.1.0", "search")
    assert subject == "lat.dev.inv.docs.docs_3asearch_2fquery_400_2e1.search"
    assert NAMES.parse_call(subject) == CallTarget("docs", "docs:search/query@0.1", "search")
    chosen = NAMES.call_at("UHOST", "docs", 3, "", "add")
    assert NAMES.parse_call(chosen) == CallTarget("docs", "", "add", "UHOST", 3)


@pytest.mark.parametrize(
    "subject",
    ["", "lat.dev.inv.a.b", "lat.dev.at.h.d.x.i.f", "lat.dev.evt.a.b", "lat.dev.inv.a._._g"],
)
def test_other_subjects_are_no_calls(subject):
    with pytest.raises(InvalidError):
        NAMES.parse_call(subject)


def test_requests_over_http_are_read_back_from_their_subjects():
    assert NAMES.http("a_b") == "lat.dev.http.a_5fb"
    assert NAMES.parse_http(NAMES.http("a_b")) == CallTarget("a_b", "", "")
    chosen = NAMES.http_at("UHOST", "http", 3)
    assert NAMES.parse_http(chosen) == CallTarget("http", "", "", "UHOST", 3)


@pytest.mark.parametrize(
    "subject",
    [
        "", "lat.dev.http", "lat.dev.http.a.b", "lat.dev.at.h.d.x.http", "lat.dev.inv.a._.b",
        NAMES.http_lanes("UHOST", "p1", "http"), NAMES.call_at("UHOST", "d", 1, "", "http"),
    ],
)  # fmt: skip
def test_other_subjects_are_no_requests_over_http(subject):
    with pytest.raises(InvalidError):
        NAMES.parse_http(subject)


def test_no_subject_of_a_host_is_of_two_kinds():
    kinds = {
        "call": (NAMES.call_at("H", "http", 1, "a:b/c", "http"), NAMES.typed_calls_at("H")),
        "http": (NAMES.http_at("H", "http", 1), NAMES.every_http_at("H")),
        "lane": (NAMES.http_lanes("H", "p1", "ab"), NAMES.http_lanes("H", "p1")),
    }
    for name, (subject, _) in kinds.items():
        matching = {kind for kind, (_, pattern) in kinds.items() if covers(pattern, subject)}
        assert matching == {name}
        assert NAMES.is_http_lane(subject) == (name == "lane")
        assert covers(NAMES.calls_at("H"), subject)
    assert not NAMES.is_http_lane(NAMES.http_lanes("H", "p1"))
