"""Names and ids, and the rules that make them safe to use in subjects, keys and files.

A deployment's name is a DNS label, because it becomes a subject token, a KV key, a metric label
and a host name. Ids are made by shells (they need randomness) and only checked here.
"""

from __future__ import annotations

import re
from typing import NewType

HostId = NewType("HostId", str)
"""The host's public nkey (`U...`, 56 characters): who it is, not where it runs."""

DeploymentName = NewType("DeploymentName", str)
ReplicaId = NewType("ReplicaId", str)
"""`<deployment>/<generation>/<host>/<assignment>.<ordinal>`: new for every assignment."""

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hex digits."""

NAME_LENGTH_MAX = 63
"""Characters of a name: the limit of a DNS label (RFC 1123), since names become host names."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def name_fault(name: str) -> str | None:
    """Return why a string cannot be a name, or None if it can (RFC 1123 label)."""
    if len(name) > NAME_LENGTH_MAX:
        return f"name has {len(name)} characters, at most {NAME_LENGTH_MAX}"
    if not _NAME.fullmatch(name):
        return (
            f"{name!r} is not a name: lower-case letters, digits and '-', "
            "beginning and ending with a letter or digit"
        )
    return None


def digest_fault(text: str) -> str | None:
    """Return why a string is no digest, or None if it is one."""
    if _DIGEST.fullmatch(text):
        return None
    return f"{text!r} is not a digest: 'sha256:' and 64 lower-case hex digits"


def digest_hex(digest: Digest) -> str:
    """Return the 64 hex digits of a digest."""
    return digest.removeprefix("sha256:")


HOST_SHORT_LENGTH = 12
"""Characters that stand for a host in replica ids and tables: 55 random bits of its key."""


def host_short(host: str) -> str:
    """Return the short form of a host's id, for people and for replica ids."""
    return host[:HOST_SHORT_LENGTH]


def replica_id(
    deployment: str, generation: int, host: str, assignment: int, ordinal: int
) -> ReplicaId:
    """Return the id of the `ordinal`-th replica of one assignment (see `ReplicaId`)."""
    return ReplicaId(f"{deployment}/{generation}/{host_short(host)}/{assignment}.{ordinal}")
