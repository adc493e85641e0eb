"""Events as CloudEvents: what is written is read back, and anything else is refused."""

from __future__ import annotations

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
