"""The routes of a manifest: what is read, and every fault of theirs at once."""

from __future__ import annotations

import pytest

from lattice.errors import InvalidError
from lattice.model.http import ANY, HttpAddress
from lattice.model.manifest import http_addresses, parse_deployment, to_document
from lattice.model.network import NamePattern
from lattice.model.paths import parse_path
from tests.unit.model.builders import minimal

INTERNAL = (
    "host 'x.lattice.internal' lies in lattice.internal, whose names the lattice gives: every "
    "deployment has its own"
)


def faults_of(http: object, **fields: object) -> list[str]:
    with pytest.raises(InvalidError) as refused:
        parse_deployment(minimal(http=http, **fields))
    return list(refused.value.faults)


def test_a_route_without_words_is_for_every_host_and_path():
    assert parse_deployment(minimal(http=[{}])).http == (
        HttpAddress(host=ANY, path=parse_path("/"), component=""),
    )


def test_hosts_and_paths_are_kept_in_their_normal_form():
    written = [{"host": "*.Bücher.example.", "path": "/%61/{id}/"}, {"host": "*", "path": "/"}]
    deployment = parse_deployment(minimal(http=written))
    assert deployment.http[0].host == NamePattern("*.xn--bcher-kva.example")
    assert to_document(deployment)["http"] == [
        {"host": "*.xn--bcher-kva.example", "path": "/a/{id}"},
        {},
    ]


def test_all_faults_are_told_at_once():
    http = [
        {"path": "search"},
        {"host": "a b"},
        {"host": "x.lattice.internal"},
        {"path": "/{id}/x"},
        {"component": "b"},
        {"hots": "a.org"},
    ]
    assert faults_of(http) == [
        "http[0].path: path 'search' begins with no '/'",
        "http[1].host: 'a b' is no host name, expected such as db.example.com or *.a.org",
        f"http[2].host: {INTERNAL}",
        "http[3].path: path '/{id}/x': 'x' follows a parameter, only parameters may",
        "http[5].hots: unknown field, did you mean 'host'?",
        "http[4].component: no component or service is named 'b', known are a",
    ]


@pytest.mark.parametrize(
    ("http", "fault"),
    [
        (
            [{"path": "/{id}"}, {"path": "/{name}"}],
            "http: */{name} matches what */{id} matches already",
        ),
        ([{}, {"host": "*", "path": "/"}], "http: */ matches what */ matches already"),
        ({"path": "/"}, "http: expected a list, found a map"),
        ([{"path": f"/{n}"} for n in range(257)], "http: expected 0 to 256 entries, found 257"),
    ],
)
def test_routes_that_cannot_stand_together_are_refused(http: object, fault: str):
    assert faults_of(http) == [fault]


def test_one_part_answers_for_a_deployment():
    parts = [{"name": name, "image": "a.wasm"} for name in ("a", "b")]
    routes = [{"path": "/a", "component": "a"}, {"path": "/b", "component": "b"}, {"path": "/c"}]
    assert faults_of(routes, components=parts) == [
        "http: one part answers for a deployment, `component` names a, b"
    ]
    kept = parse_deployment(minimal(http=[routes[0], routes[2]], components=parts))
    assert [address.component for address in kept.http] == ["a", ""]


def test_routes_are_read_alone_from_a_document_whose_rest_is_not_understood():
    document = {"lattice": "v9", "http": [{"path": "/a"}], "more": 1}
    assert [str(each) for each in http_addresses(document)] == ["*/a"]
    assert http_addresses({}) == ()
    with pytest.raises(InvalidError, match="routes are invalid"):
        http_addresses({"http": [{"path": "a"}]})
