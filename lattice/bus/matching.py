"""What a subject, a key and a message may be, and which subjects a pattern covers.

Both implementations of the bus ask here before they send, so that they refuse the same things
with the same words. Nothing here talks to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from lattice.bus.base import PAYLOAD_BYTES_MAX
from lattice.errors import InvalidError

SUBJECT_BYTES_MAX = 2048
"""Bytes of a subject: a protocol line of nats-server ends at 4,096 by default."""

SUBJECTS_KNOWN = 1024
"""Subjects whose check is remembered: a process calls few of them, very often."""

_TOKEN = r"[^\s.*>\x00-\x1f\x7f]+"  # noqa: S105 - a token of a subject, nothing secret
_SUBJECT = re.compile(rf"{_TOKEN}(\.{_TOKEN})*")
_PATTERN = re.compile(rf"(({_TOKEN}|\*)\.)*({_TOKEN}|\*|>)")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_HEADER_VALUE = re.compile(r"(?! )[^\r\n\x00]*(?<! )")
_KEY = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*")


def check_subject(subject: str) -> None:
    """Refuse what cannot be published to.

    Raises:
        InvalidError: empty tokens, wildcards, white space, or too long.
    """
    if not _is_subject(subject):
        raise InvalidError(
            f"{subject[:100]!r} is not a subject: tokens without spaces, '*' and '>', "
            f"joined by dots, at most {SUBJECT_BYTES_MAX} bytes"
        )


@lru_cache(maxsize=SUBJECTS_KNOWN)
def _is_subject(subject: str) -> bool:
    return len(subject) <= SUBJECT_BYTES_MAX and _SUBJECT.fullmatch(subject) is not None


def check_pattern(pattern: str) -> None:
    """Refuse what cannot be subscribed to.

    Raises:
        InvalidError: empty tokens, a wildcard inside a token, '>' before the end, or too long.
    """
    if not _PATTERN.fullmatch(pattern) or len(pattern) > SUBJECT_BYTES_MAX:
        raise InvalidError(
            f"{pattern[:100]!r} is not a subject pattern: tokens, '*' for one and '>' for the "
            f"rest, joined by dots, at most {SUBJECT_BYTES_MAX} bytes"
        )


def check_key(key: str) -> None:
    """Refuse what cannot be a key of a store.

    Raises:
        InvalidError: it is not tokens of `[A-Za-z0-9_=/-]` joined by dots.
    """
    if not _KEY.fullmatch(key) or len(key) > SUBJECT_BYTES_MAX // 2:
        raise InvalidError(
            f"{key[:100]!r} is not a key: tokens of [A-Za-z0-9_=/-] joined by dots, "
            f"at most {SUBJECT_BYTES_MAX // 2} bytes"
        )


def check_prefix(prefix: str) -> None:
    """Refuse what cannot name a key or a family of keys; the empty prefix names all.

    Raises:
        InvalidError: it is neither empty nor a key.
    """
    if prefix:
        check_key(prefix)


def check_message(subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Refuse a message that cannot be sent.

    Raises:
        InvalidError: as `check_subject` and `check_payload`.
    """
    check_subject(subject)
    check_payload(subject, body, headers)


def check_payload(
    subject: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    limit_bytes: int = PAYLOAD_BYTES_MAX,
) -> None:
    """Refuse a payload for which the server would close the connection.

    Raises:
        InvalidError: a header is malformed, or body and headers together are larger than the
            limit.
    """
    if not headers and len(body) <= limit_bytes:  # most messages of the data path
        return
    for name, value in (headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise InvalidError(
                f"header {name[:100]!r} of a message to {subject} is malformed: a name of "
                "printable ASCII without ':' and a value on one line, neither padded with spaces"
            )
    size = len(body) + header_bytes(headers)
    if size > limit_bytes:
        raise InvalidError(
            f"message to {subject} has {size} bytes with its headers, at most {limit_bytes}: "
            "put large bytes into the object store and send their digest",
            size_bytes=size,
            limit_bytes=limit_bytes,
        )


def header_bytes(headers: Mapping[str, str] | None) -> int:
    """Return the bytes that headers take in a message (NATS ADR-4)."""
    if not headers:
        return 0
    lines = sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    return len("NATS/1.0\r\n\r\n") + lines


def covers(pattern: str, subject: str) -> bool:
    """Tell whether a pattern matches a subject: `*` one token, `>` one or more at the end."""
    wanted = pattern.split(".")
    tokens = subject.split(".")
    for position, want in enumerate(wanted):
        if want == ">":
            return position < len(tokens)
        if position >= len(tokens) or want not in ("*", tokens[position]):
            return False
    return len(wanted) == len(tokens)


def in_family(prefix: str, key: str) -> bool:
    """Tell whether a key is the one named by `prefix`, or below it; `""` has all below it."""
    return not prefix or key == prefix or key.startswith(prefix + ".")
