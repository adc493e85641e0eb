"""One message of a stream as a consumer delivers it, with its place in the stream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lattice.bus.base import Packet

_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message, and what its consumer said of it."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    sequence: int  # in the stream
    time_s: float  # when it was stored, since the Unix epoch
    consumer: str
    consumer_sequence: int  # counts this consumer's deliveries from 1
    pending: int  # messages that the consumer had yet to deliver after this one


def read_delivery(packet: Packet) -> Delivery | None:
    """Return a delivered message, None if the packet is none.

    Its reply subject says where it stands (NATS ADR-15): `$JS.ACK.[<domain>.<account>.]<stream>.
    <consumer>.<delivered>.<sequence>.<consumer sequence>.<time in ns>.<pending>[.<token>]`.
    """
    tokens = packet.reply_to.split(".")
    if tokens[:2] != ["$JS", "ACK"] or len(tokens) < 9:
        return None
    place = tokens[3:9] if len(tokens) == 9 else tokens[5:11]
    try:
        _, sequence, consumer_sequence, time_ns, pending = map(int, place[1:])
    except ValueError:
        return None
    return Delivery(
        subject=packet.subject,
        body=packet.body,
        headers=packet.headers,
        sequence=sequence,
        time_s=time_ns / _NANO,
        consumer=place[0],
        consumer_sequence=consumer_sequence,
        pending=pending,
    )
