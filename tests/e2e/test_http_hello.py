"""`examples/http-hello`: the same routes in three languages, alone by `lattice serve`, and together
on a lattice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, Lattice, lattice_up
from tests.e2e.sites import Site, apply_manifest, served
from tests.guests import example_guests
from tests.guests.languages import building

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nats,
    pytest.mark.wasm,
    pytest.mark.timeout(400),  # the first run builds the guests and compiles them
]

LANGUAGES = {"c": "C", "javascript": "JavaScript", "python": "Python"}
"""The folders of the example, and what each guest says of itself."""


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    """A lattice of two hosts with the guests in all languages."""
    manifest = _built() / "lattice.yaml"
    with lattice_up(tmp_path_factory.mktemp("lattice"), "--hosts", "2", "--http", "0") as running:
        apply_manifest(running, manifest)
        yield running


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["serve", "lattice"])
def site(
    request: pytest.FixtureRequest, language: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The guest, answering alone or on the lattice."""
    if request.param == "lattice":
        running: Lattice = request.getfixturevalue("lattice")
        yield Site.at(running.facts["http"], f"hello-{language}.localhost")
        return
    guest = _built(language) / "build" / f"{language}.wasm"
    with served(Cli(tmp_path_factory.mktemp(language)), guest) as site:
        yield site


def _built(*names: str) -> Path:
    try:
        return example_guests.built("http-hello", *names)
    except building.Unavailable as reason:
        pytest.skip(str(reason))


def test_it_greets_the_world_and_who_is_named(site: Site, language: str) -> None:
    shown = LANGUAGES[language]
    assert site.ask("/").text == f"Hello, world! This is {shown}.\n"
    answer = site.ask("/hello/Ada?x=1")
    assert (answer.status, answer.text) == (200, f"Hello, Ada! This is {shown}.\n")
    assert answer.headers["content-type"].startswith("text/plain")


def test_it_sends_json_back(site: Site, language: str) -> None:
    sent = {"numbers": [1, 2.5], "text": "žluťoučký kůň"}
    answer = site.ask("/echo", json.dumps(sent).encode(), content_type="application/json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == {"language": language, "you_sent": sent}


def test_what_is_not_there_is_404(site: Site) -> None:
    answers = [site.ask("/nowhere"), site.ask("/echo")]
    assert [(each.status, each.text.startswith("There is")) for each in answers] == [
        (404, True),
        (404, True),
    ]


def test_events_come_one_by_one(site: Site) -> None:
    seen: list[tuple[float, bytes]] = []
    with site.request("GET", "/ticks") as answer:
        assert answer.getheader("content-type") == "text/event-stream"
        while line := answer.readline():
            if line.strip():
                seen.append((time.monotonic(), line))
    assert [line for _, line in seen] == [b"data: tick %d\n" % n for n in range(1, 6)]
    assert seen[-1][0] - seen[0][0] > 0.5  # four pauses of 0.2 s lie between them


def test_a_client_that_leaves_in_the_middle_does_no_harm(site: Site) -> None:
    with site.request("GET", "/ticks") as answer:
        answer.readline()
    assert site.ask("/hello/after").status == 200
