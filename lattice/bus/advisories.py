"""What NATS itself tells about connections that end: which identity it was. Pure.

The server publishes it in its system account; the accounts that `lattice.bus.auth` writes pass it
on to the scheduler of the lattice. Under other accounts nothing comes, which is no error: it is a
hint that makes things faster, and proves nothing, because a client that reconnects ends a
connection too.
"""

from __future__ import annotations

import json
from typing import Any

ADVISORY_BYTES_MAX = 16 * 1024
"""An advisory takes a kilobyte; what is much larger is none."""


def disconnects_of(account: str) -> str:
    """Return the subject in the system account under which an account's disconnects are told."""
    return f"$SYS.ACCOUNT.{account}.DISCONNECT"


def disconnected_identity(body: bytes) -> str:
    """Return the public nkey whose connection ended, "" when the body does not tell."""
    if len(body) > ADVISORY_BYTES_MAX:
        return ""
    try:
        advisory: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    client = advisory.get("client") if isinstance(advisory, dict) else None
    if not isinstance(client, dict):
        return ""
    identity = client.get("nkey") or client.get("user")
    return identity if isinstance(identity, str) else ""
