"""The bounded queue: what it takes, by number and by bytes, and how it ends."""

from __future__ import annotations

import pytest

from lattice.bus import mailbox as mailbox_module
from lattice.bus.base import Packet
from lattice.bus.mailbox import Mailbox, body_bytes


def packet(size: int) -> Packet:
    return Packet(subject="a", body=b"x" * size)


def test_items_over_the_number_are_dropped_and_counted() -> None:
    box: Mailbox[int] = Mailbox("box", limit=2)
    assert [box.offer(number) for number in range(3)] == [True, True, False]
    assert (len(box), box.dropped) == (2, 1)


def test_items_over_the_bytes_are_dropped_until_others_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mailbox_module, "BYTES_MAX", 100)
    box: Mailbox[Packet] = Mailbox("box", limit=10, size_of=body_bytes)
    assert box.offer(packet(60))
    assert not box.offer(packet(41))
    assert box.offer(packet(40))
    assert box.take() is not None
    assert box.offer(packet(60))


def test_one_item_over_the_bytes_is_taken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_module, "BYTES_MAX", 100)
    box: Mailbox[Packet] = Mailbox("box", limit=10, size_of=body_bytes)
    assert box.offer(packet(200))
    assert not box.offer(packet(1))
