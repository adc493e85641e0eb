"""Paths of routes as manifests write them: `/search`, `/users/{id}`, `/files/{rest...}`.

Plain segments come first, then parameters, then perhaps the rest of the path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lattice.errors import InvalidError

SEGMENTS_MAX = 64
"""Segments of a route: paths of people have fewer, and a limit keeps tables small."""

PARAMETERS_MAX = 8
"""Parameters of a route, the rest not counted: a lookup looks at each number of them."""

_UNSAFE = re.compile(r"[^\x21-\x7e]|[\\#]")
_ESCAPE = re.compile(r"%(?:([0-9A-Fa-f]{2})|)")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PARAMETER = re.compile(r"\{([a-z][a-z0-9_-]{0,31})(\.\.\.)?\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPattern:
    """What a path must begin with, and which of it has names."""

    segments: tuple[str, ...] = ()  # in their normal form
    parameters: tuple[str, ...] = ()  # each takes one segment that is not empty
    rest: str | None = None  # takes one segment or more, which may be empty

    @property
    def shape(self) -> tuple[tuple[str, ...], int, bool]:
        """Return what equal patterns share but for the names of their parameters."""
        return self.segments, len(self.parameters), self.rest is not None

    def parameters_of(self, segments: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return what a path that matches says for each parameter, the rest joined by `/`."""
        first = len(self.segments)
        end = first + len(self.parameters)
        found = tuple(zip(self.parameters, segments[first:end], strict=True))
        if self.rest is None:
            return found
        return (*found, (self.rest, "/".join(segments[end:])))

    def __str__(self) -> str:
        """Return a text that `parse_path` reads as an equal value."""
        names = [f"{{{name}}}" for name in self.parameters]
        rest = [] if self.rest is None else [f"{{{self.rest}...}}"]
        return "/" + "/".join((*self.segments, *names, *rest))


def parse_path(text: str) -> PathPattern:
    """Return the pattern of a route's path; one `/` at its end says nothing.

    Raises:
        InvalidError: it is none.
    """
    if not text.startswith("/"):
        raise InvalidError(f"path {text!r} begins with no '/'")
    parts = text[1:].removesuffix("/").split("/") if text != "/" else []
    if len(parts) > SEGMENTS_MAX:
        raise InvalidError(f"path {text!r} has {len(parts)} segments, at most {SEGMENTS_MAX}")
    segments: list[str] = []
    parameters: list[str] = []
    rest: str | None = None
    for part in parts:
        if rest is not None:
            raise InvalidError(f"path {text!r}: nothing may follow {{{rest}...}}")
        match = _PARAMETER.fullmatch(part)
        if match is None:
            if parameters:
                raise InvalidError(
                    f"path {text!r}: {part!r} follows a parameter, only parameters may"
                )
            segments.append(_plain(part, text))
        elif match[2]:
            rest = match[1]
        else:
            parameters.append(match[1])
    names = [*parameters, *([] if rest is None else [rest])]
    if len(set(names)) < len(names):
        raise InvalidError(f"path {text!r} has two parameters of one name")
    if len(parameters) > PARAMETERS_MAX:
        raise InvalidError(
            f"path {text!r} has {len(parameters)} parameters, at most {PARAMETERS_MAX}"
        )
    return PathPattern(segments=tuple(segments), parameters=tuple(parameters), rest=rest)


def normal_segment(part: str) -> str | None:
    """Return a segment with no more escapes than it needs; None: it is none, or a dot segment."""
    if _UNSAFE.search(part):
        return None
    if "%" in part:
        if any(match[1] is None for match in _ESCAPE.finditer(part)):
            return None
        part = _ESCAPE.sub(_plainer, part)
    return None if part in (".", "..") else part


def _plain(part: str, text: str) -> str:
    if any(each in part for each in "{}?#"):
        raise InvalidError(
            f"path {text!r}: {part!r} is no segment, expected such as search, {{id}} or {{rest...}}"
        )
    segment = normal_segment(part)
    if not segment:
        raise InvalidError(
            f"path {text!r}: {part!r} is no segment: empty, '.', '..', or not percent-encoded"
        )
    return segment


def _plainer(match: re.Match[str]) -> str:
    byte = int(match[1], 16)
    return chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
