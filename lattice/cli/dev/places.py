"""Where in the project's own files an error lies that a guest or a tool told of.

Guests see copies of the sources in another folder, and JavaScript one bundle of all of them.
"""

from __future__ import annotations

import bisect
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lattice.cli.dev.live import MOUNT, Live

BACKTRACE = "error while executing at wasm backtrace:"

FRAMES_MAX = 8
"""Calls that are shown when none of them has a place."""

HEADER_LINES = 2
"""Lines that JavaScript's engine counts before the first one of a function made of text."""

_PYTHON = re.compile(rf"{MOUNT}/(?P<key>\w+)/v\d+/(?P<folder>\d+)/(?P<path>[^\s\"',:)]+)")
_BUNDLE = re.compile(r"bundle\.js:(?P<line>\d+):(?P<column>\d+)")
_OWN_FRAMES = (
    "@lattice_live.", "/lattice_live.py", "live.js", "<frozen ", 'File "/python/', "initializer.js",
)  # fmt: skip
_CALL = re.compile(r"^\s+(?:\d+:\s+0x[0-9a-f]+)?\s+- (?:[\w.-]+!)?(?P<function>.+)$")
_PLACE = re.compile(r"^\s+at (?P<place>.+:\d+:\d+)$")
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

_NOISE = (
    re.compile(r"^thread '<unnamed>' \(\d+\) panicked at runtime/"),
    re.compile(r"^Python function threw an unexpected exception$"),
    re.compile(r"^note: run with `RUST_BACKTRACE=1`"),
)
"""Lines that toolchains add to an error and that tell its author nothing."""


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Which line of which source a line of a bundle came from (source map, version 3)."""

    sources: tuple[str, ...]
    lines: tuple[tuple[tuple[int, int, int, int], ...], ...]
    # lines: of the bundle; (column, source, line, column), all from 0, by column

    def place(self, line: int, column: int) -> tuple[str, int, int] | None:
        """Return source, line and column, from 1, of a place in the bundle, from 1."""
        if not 1 <= line <= len(self.lines):
            return None
        segments = self.lines[line - 1]
        number = bisect.bisect_right([segment[0] for segment in segments], column - 1) - 1
        if number < 0:
            return None
        _, source, source_line, source_column = segments[number]
        return self.sources[source], source_line + 1, source_column + 1


def read_source_map(text: str) -> SourceMap:
    """Return the map that a bundler wrote.

    Raises:
        ValueError: it is none.
    """
    document = json.loads(text)
    lines: list[tuple[tuple[int, int, int, int], ...]] = []
    source = line = column = 0
    for group in str(document["mappings"]).split(";"):
        at = 0
        segments: list[tuple[int, int, int, int]] = []
        for word in filter(None, group.split(",")):
            numbers = _numbers(word)
            at += numbers[0]
            if len(numbers) >= 4:
                source, line, column = (
                    source + numbers[1], line + numbers[2], column + numbers[3],
                )  # fmt: skip
                segments.append((at, source, line, column))
        lines.append(tuple(segments))
    return SourceMap(tuple(document["sources"]), tuple(lines))


def _numbers(word: str) -> list[int]:
    """Return the numbers of one segment, each written in pieces of five bits."""
    found: list[int] = []
    value = shift = 0
    for character in word:
        digit = _DIGITS.index(character)
        value |= (digit & 31) << shift
        shift += 5
        if digit < 32:
            found.append(-(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    return found


@dataclass(slots=True)
class _Frame:
    """One call of a backtrace."""

    function: str
    place: str = ""


def told_trap(text: str) -> str:
    """Return the message of a trap as its author needs it: the cause, then the calls with places.

    A text that is no backtrace is returned as it is.
    """
    head, found, rest = text.partition(BACKTRACE)
    if not found:
        return text
    frames: list[_Frame] = []
    causes: list[str] = []
    calls, _, caused = rest.partition("Caused by:")
    for line in calls.splitlines():
        if match := _CALL.match(line):
            frames.append(_Frame(match["function"]))
        elif frames and (match := _PLACE.match(line)):
            frames[-1].place = match["place"]
    for line in caused.splitlines():
        if cause := re.sub(r"^\s*(\d+: )?(wasm trap: )?", "", line).strip():
            causes.insert(0, cause)
    known = [frame for frame in frames if frame.place]
    # Frames of a language's runtime are many, and tell its users nothing.
    named = known or [frame for frame in frames if len(frames) <= FRAMES_MAX]
    lines = [f"  at {frame.place} in {frame.function}".replace(" at  in", " in") for frame in named]
    return "\n".join([": ".join(causes) or head.strip(), *lines])


class Places:
    """Turns places in what guests see into places in the project."""

    def __init__(self, folder: Path, sources: Path) -> None:
        """Take the folder that places are told relative to, and that of all versions."""
        self._folder = folder
        self._sources = sources
        self._folders: dict[str, tuple[Path, ...]] = {}
        self._map: tuple[SourceMap, Path] | None = None

    def learn(self, live: Live) -> None:
        """Take note of a component's newest version."""
        component = live.component
        self._folders[live.key] = (component.folder, *component.python_path)
        bundle = self._sources / live.key / live.versions.name / "bundle.js.map"
        if component.kind == "javascript" and bundle.is_file():
            try:
                found = read_source_map(bundle.read_text(encoding="utf-8"))
            except (ValueError, KeyError, IndexError):
                return
            self._map = found, bundle.parent

    def shown(self, text: str) -> str:
        """Return a text of several lines with places of the project, without our own frames."""
        lines = [self.line(line) for line in text.splitlines()]
        return "\n".join(line for line in lines if line is not None)

    def line(self, line: str) -> str | None:
        """Return a line with places of the project; None for one that tells nothing."""
        if any(noise.match(line) for noise in _NOISE) or any(own in line for own in _OWN_FRAMES):
            return None
        line = line.replace(f"{self._folder}{os.sep}", "")
        if BACKTRACE in line:
            line = line.partition(BACKTRACE)[0] + told_trap(line)
        return _BUNDLE.sub(self._of_bundle, _PYTHON.sub(self._of_python, line))

    def _of_python(self, found: re.Match[str]) -> str:
        folders = self._folders.get(found["key"], ())
        number = int(found["folder"])
        return (
            self._relative(folders[number] / found["path"]) if number < len(folders) else found[0]
        )

    def _of_bundle(self, found: re.Match[str]) -> str:
        if self._map is None:
            return found[0]
        source_map, folder = self._map
        place = source_map.place(int(found["line"]) - HEADER_LINES, int(found["column"]))
        if place is None:
            return found[0]
        source, line, column = place
        return f"{self._relative(Path(os.path.normpath(folder / source)))}:{line}:{column}"

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)
