"""Events as CloudEvents 1.0 in binary mode: `ce-*` headers and a JSON body.

The envelope is stated once, here, for those who publish and those who read. (CloudEvents 1.0,
NATS protocol binding.) Two extension attributes tell of gaps: `ce-sequence` counts the events of
one source within one `ce-run`, from 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from lattice.errors import DecodeError
from lattice.wire.codec import decode
from lattice.wire.messages import Event
from lattice.wire.subjects import Names

TYPE_PREFIX = "lattice."
"""What the CloudEvents `type` puts before the kind of an event."""

DATA_BYTES_MAX = 64 * 1024
"""Bytes of an event's data: reasons and names, never payloads."""

SEQUENCE_DIGITS = 18
"""Digits of a sequence number that is read as one: what a signed 64-bit integer always holds."""


def to_packet(event: Event, names: Names) -> tuple[str, bytes, dict[str, str]]:
    """Return subject, body and headers of an event."""
    body = json.dumps(dict(event.data), separators=(",", ":")).encode()
    if len(body) > DATA_BYTES_MAX:
        body = json.dumps({"truncated_bytes": len(body)}).encode()
    headers = {
        "ce-specversion": "1.0",
        "ce-id": event.id,
        "ce-source": event.source,
        "ce-type": TYPE_PREFIX + event.kind,
        "ce-subject": event.entity,
        "ce-time": datetime.fromtimestamp(event.time_s, UTC).isoformat().replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    if event.sequence:
        headers |= {"ce-run": event.run, "ce-sequence": str(event.sequence)}
    return names.event(event.kind, event.entity), body, headers


def from_packet(body: bytes, headers: Mapping[str, str], *, position: int = 0) -> Event:
    """Return the event that a record of the event log holds, at `position` of the log.

    Raises:
        DecodeError: a CloudEvents attribute is missing or malformed, or the body is not JSON.
    """
    attributes = {name.lower(): value for name, value in headers.items()}
    try:
        data = decode(body, as_json=True) if body else {}
        return Event(
            id=attributes["ce-id"],
            kind=attributes["ce-type"].removeprefix(TYPE_PREFIX),
            source=attributes["ce-source"],
            entity=attributes.get("ce-subject", ""),
            time_s=datetime.fromisoformat(attributes["ce-time"]).timestamp(),
            data=data if isinstance(data, dict) else {"value": data},
            run=attributes.get("ce-run", ""),
            sequence=_number(attributes.get("ce-sequence", "")),
            position=position,
        )
    except (KeyError, ValueError, OverflowError) as exc:
        raise DecodeError(f"not a CloudEvent: {type(exc).__name__} {exc}") from None


def _number(text: str) -> int:
    """Return a sequence number, 0 for none: events of others may be numbered otherwise."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= SEQUENCE_DIGITS else 0
