"""Events as CloudEvents: what is written is read back, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lattice.errors import DecodeError
from lattice.wire.events import from_packet, to_packet
from lattice.wire.messages import Event
from lattice.wire.subjects import Names

EVENT = Event(
    id="b.1", kind="host-joined", source="/lattice/test/host/H1", entity="H1", time_s=1.5,
    data={"name": "one"},
)  # fmt: skip


def test_an_event_comes_back_from_its_packet() -> None:
    subject, body, headers = to_packet(EVENT, Names("test"))
    assert subject == "lat.test.evt.host-joined.H1"
    assert from_packet(body, headers) == EVENT


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b"[" * 100_000, {}),
        (b"\xff", {}),
        (b"{}", {"ce-time": "soon"}),
    ],
)
def test_what_is_no_event_is_a_decode_error(body: bytes, changed: dict[str, str]) -> None:
    _, _, headers = to_packet(EVENT, Names("test"))
    with pytest.raises(DecodeError):
        from_packet(body, headers | changed)


def test_the_number_of_an_event_comes_back_with_it() -> None:
    numbered = replace(EVENT, run="b", sequence=7)
    _, body, headers = to_packet(numbered, Names("test"))
    assert headers["ce-sequence"] == "7"
    assert from_packet(body, headers, position=40) == replace(numbered, position=40)


@pytest.mark.parametrize("sequence", ["-1", "x", "\u0663", "9" * 30, ""])
def test_a_number_that_is_none_of_ours_is_no_number(sequence: str) -> None:
    _, body, headers = to_packet(EVENT, Names("test"))
    assert from_packet(body, headers | {"ce-sequence": sequence}).sequence == 0
