"""What a toolchain says, as errors that a person can go to: file, line, column, message.

Decides only: gets the text of a tool, returns values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHOWN_MAX = 20
"""Errors of one build that are shown: the later ones mostly follow from the first."""

TAIL_LINES = 15
"""Lines that are shown of what no error was found in."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PLACE = r"(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?P<column>\d+)"
_C = re.compile(rf"^{_PLACE}: (?:fatal )?error: (?P<what>.*)$")
_PYTHON = re.compile(r'^\s*File "/\d+/(?P<file>[^"]+)", line (?P<line>\d+)')
_PYTHON_END = re.compile(r"^(?P<what>\w*(?:Error|Exception|Exit|Interrupt)\b.*)$")
_ESBUILD = re.compile(r"^(?:✘|X) \[ERROR\] (?P<what>.*)$")
_ESBUILD_PLACE = re.compile(rf"^\s+{_PLACE}:\s*$")
_WIT = re.compile(rf"^\s*-->\s*{_PLACE}\s*$")
_CAUSE = re.compile(r"^(?:Error|error): (?P<what>.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One error of a build. Without a place `file` is empty and the numbers are 0."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.file:
            return self.message
        column = f":{self.column}" if self.column else ""
        return f"{self.file}:{self.line}{column}: {self.message}"


def plain_text(output: str) -> str:
    """Return what a tool said without colours."""
    return _COLOURS.sub("", output)


def diagnostics(output: str, folder: Path) -> list[Diagnostic]:
    """Return the errors in what a tool said, at most `SHOWN_MAX`; files relative to `folder`.

    Where none is recognised, the end of the text is one error without a place.
    """
    lines = plain_text(output).splitlines()
    found = list(dict.fromkeys([*_of_compiler(lines), *_of_bundler(lines), *_of_wit(lines)]))
    found = found or list(_of_python(lines))
    if not found:
        tail = [line for line in lines if line.strip()][-TAIL_LINES:]
        found = [Diagnostic(message="\n".join(tail) or "the tool said nothing")]
    return [_relative(each, folder) for each in found[:SHOWN_MAX]]


def _of_compiler(lines: list[str]) -> Iterator[Diagnostic]:
    """Yield the errors of clang and Zig."""
    for line in lines:
        if match := _C.match(line):
            yield _diagnostic(match, match["what"])


def _of_bundler(lines: list[str]) -> Iterator[Diagnostic]:
    """Yield the errors of esbuild: the message, and the place two lines below."""
    for number, line in enumerate(lines):
        if not (match := _ESBUILD.match(line)):
            continue
        place = next(filter(None, map(_ESBUILD_PLACE.match, lines[number + 1 : number + 4])), None)
        yield _diagnostic(place, match["what"]) if place else Diagnostic(message=match["what"])


def _of_wit(lines: list[str]) -> Iterator[Diagnostic]:
    """Yield the errors of readers of WIT: the message stands somewhere above the place."""
    for number, line in enumerate(lines):
        if not (match := _WIT.match(line)):
            continue
        above = [each.strip() for each in lines[:number] if each.strip()]
        causes = [_CAUSE.sub(r"\g<what>", each) for each in above]
        yield _diagnostic(match, re.sub(r"^\d+: ", "", causes[-1]) if causes else "error in WIT")


def _of_python(lines: list[str]) -> Iterator[Diagnostic]:
    """Yield the error that a traceback ends with, at the innermost place of the user's own.

    The toolchain sees the first folder of modules as `/0`.
    """
    place: re.Match[str] | None = None
    for line in lines:
        place = _PYTHON.match(line) or place
        if place is not None and (end := _PYTHON_END.match(line.strip())):
            yield _diagnostic(place, end["what"])
            return


def _diagnostic(match: re.Match[str], message: str) -> Diagnostic:
    groups = match.groupdict()
    return Diagnostic(
        message=message.strip(),
        file=groups["file"],
        line=int(groups["line"]),
        column=int(groups.get("column") or 0),
    )


def _relative(found: Diagnostic, folder: Path) -> Diagnostic:
    if not found.file:
        return found
    path = Path(found.file)
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    return Diagnostic(message=found.message, file=str(path), line=found.line, column=found.column)
