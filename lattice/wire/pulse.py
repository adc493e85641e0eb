"""Signs of life of a call that takes long, for callers that ask for them.

A request with the header `Lattice-Pulse` may be answered by any number of pulses, empty messages
with the status 102, before its reply. Who does not ask gets none, so that the first message that
comes is the reply.
"""

from __future__ import annotations

from collections.abc import Mapping

PULSE_HEADERS: Mapping[str, str] = {"Lattice-Pulse": "1"}
"""What a caller adds to the headers of a request to get pulses."""

PULSE_S = 0.4
"""Seconds between two pulses: long enough that most calls are over before the first."""

SILENCE_S = 1.2
"""Seconds without any word after which a caller takes the host for lost: three pulses, so that one
that is late or lost does not make a call run twice."""

PULSE_STATUS: Mapping[str, str] = {"Status": "102"}
"""The headers of a pulse; its body is empty."""


def wants_pulses(headers: Mapping[str, str]) -> bool:
    """Tell whether who asks wants to hear that its call is at work."""
    return bool(headers) and "Lattice-Pulse" in headers


def is_pulse(body: bytes, headers: Mapping[str, str]) -> bool:
    """Tell whether a message is a pulse and no reply."""
    return not body and headers.get("Status") == "102"
