"""What a request asks for, in the one form that routes are compared with.

Whatever could mean two things to two readers is refused rather than mended, because the guest sees
the target as it came: a path that was matched after `..` was resolved, and handed on before, would
be one path here and another there.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass

from lattice.errors import InvalidError
from lattice.model.http import INTERNAL_SUFFIX
from lattice.model.ids import DeploymentName, name_fault
from lattice.model.network import normal_name
from lattice.model.paths import normal_segment

__all__ = [
    "AUTHORITY_LENGTH_MAX",
    "INTERNAL_SUFFIX",
    "InternalName",
    "Target",
    "parse_host",
    "parse_internal",
    "parse_segments",
    "parse_target",
]

AUTHORITY_LENGTH_MAX = 1024
"""Characters of an authority: a name has at most 253, in ASCII."""

_AUTHORITY = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\])|([^:\[\]@/?#\\]*))(?::([0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class Target:
    """Whom and what a request is for."""

    host: str | None  # None: an address, or nothing: only routes of no host match
    segments: tuple[str, ...]  # of the path; `/` has none, `/a/` has `a` and an empty one


@dataclass(frozen=True, slots=True)
class InternalName:
    """A deployment, as others of the lattice name it."""

    deployment: DeploymentName
    lattice: str


def parse_target(authority: str, target: str) -> Target:
    """Return the normal form of what a request asks for.

    Host: any case, a port, one dot at the end and international names are taken; a user is not.
    Path: escapes of letters, digits and `-._~` are undone, others (`%2F` too) stay escapes within
    their segment; empty segments stay, and match no plain segment of a route.

    Raises:
        InvalidError: neither is well-formed, or the path has `.` or `..` as a segment, also in
            disguise. The answer is 400.
    """
    return Target(parse_host(authority), parse_segments(target))


def parse_host(authority: str) -> str | None:
    """Return the host name of an authority in its normal form, None for an address or nothing.

    Raises:
        InvalidError: it is no authority.
    """
    match = _AUTHORITY.fullmatch(authority) if len(authority) <= AUTHORITY_LENGTH_MAX else None
    if match is None or (match[3] and int(match[3]) > 65535):
        raise InvalidError(f"host {authority[:80]!r} is none, expected NAME or NAME:PORT")
    if match[1] is not None:
        with contextlib.suppress(ValueError):
            ipaddress.IPv6Address(match[1][1:-1])
            return None
        raise InvalidError(f"host {authority!r} has no address in its brackets")
    if not match[2] and not match[3]:
        return None
    with contextlib.suppress(ValueError):
        ipaddress.IPv4Address(match[2])
        return None
    name = normal_name(match[2])
    if name is None:
        raise InvalidError(f"host {authority[:80]!r} is no host name")
    return name


def parse_segments(target: str) -> tuple[str, ...]:
    """Return the segments of a target's path in their normal form; the query is left out.

    Raises:
        InvalidError: it is no path, see `parse_target`.
    """
    path = target.partition("?")[0]
    if not path.startswith("/"):
        raise InvalidError(f"path {path[:80]!r} begins with no '/'")
    if path == "/":
        return ()
    segments: list[str] = []
    for part in path[1:].split("/"):
        segment = normal_segment(part)
        if segment is None:
            raise InvalidError(
                f"path {path[:80]!r} has a segment {part[:80]!r}: '.', '..', a bad escape, or a "
                "character that must be escaped"
            )
        segments.append(segment)
    return tuple(segments)


def parse_internal(authority: str) -> InternalName | None:
    """Return the deployment that `<deployment>.<lattice>.lattice.internal` names; None: another.

    Raises:
        InvalidError: it is no authority, or ends like such a name and is none: it must never be
            looked up elsewhere.
    """
    host = parse_host(authority)
    if host is None or not f".{host}".endswith(INTERNAL_SUFFIX):
        return None
    labels = host.split(".")
    if len(labels) != 4 or any(name_fault(label) for label in labels[:2]):
        raise InvalidError(
            f"host {host!r} names no deployment, expected DEPLOYMENT.LATTICE{INTERNAL_SUFFIX}"
        )
    return InternalName(DeploymentName(labels[0]), labels[1])
