"""Paths of routes as manifests write them: `/search`, `/users/{id}`, `/files/{rest...}`.

Plain segments come first, then parameters, then perhaps the rest of the path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lattice.errors import InvalidError
from lattice.routing.targets import normal_segment

SEGMENTS_MAX = 64
"""Segments of a route: paths of people have fewer, and a limit keeps tables small."""

PARAMETERS_MAX = 8
"""Parameters of a route, the rest not counted: a lookup looks at each number of them."""

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_-]{0,31})(\.\.\.)?\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPattern:
    """What a path must begin with, and which of it has names."""

    segments: tuple[str, ...] = ()  # in their normal form
    parameters: tuple[str, ...] = ()  # each takes one segment that is not empty
    rest: str | None = None  # takes one segment or more, which may be empty

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
