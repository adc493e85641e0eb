"""Reads the pages of the documentation: their fenced blocks, the marks before these, their links.

A mark is an HTML comment on the line before a block. Readers do not see it; it tells the tests what
to do with the block:

- `not run: REASON` leaves the block out;
- `file: PATH` writes it to a file, relative to where the session stands;
- `background` starts its command and ends it with the page, as in a second terminal;
- `status: N` says that its last command ends with N.

A comment `needs: PROGRAM ...` at the beginning of a page names what must be on the machine for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(`{3,}|~{3,})(\w*)[^`]*$")
_MARK = re.compile(r"^<!--\s*(not run|file|background|status)\s*:?\s*(.*?)\s*-->$")
_NEEDS = re.compile(r"^<!-- needs: (.*) -->$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: where it begins, its language, its text, and the mark before it."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    value: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command as it is typed, and the output that the page shows below it."""

    text: str
    shown: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.text.split(maxsplit=1)[0]


def pages() -> tuple[Path, ...]:
    """Return all pages that people read, sorted."""
    folders = ("docs", "examples", "bench", "changelog.d")
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in folders:
        found += (ROOT / folder).rglob("*.md")
    return tuple(sorted(found))


def blocks_of(path: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page in their order."""
    return tuple(_blocks(path))


def needs_of(path: Path) -> tuple[str, ...]:
    """Return the programs that a page needs and the project does not bring along."""
    found = _NEEDS.match(path.read_text(encoding="utf-8"))
    return tuple(found[1].split()) if found else ()


def commands_of(block: Block) -> tuple[Command, ...]:
    """Return the commands of a console block: lines after `$ `, with what continues them.

    Other lines are output that the page shows.
    """
    found: list[tuple[list[str], list[str]]] = []
    continues = False
    for line in block.text.splitlines():
        is_typed = continues or line.startswith("$ ")
        if continues:
            found[-1][0].append(line)
        elif is_typed:
            found.append(([line[2:]], []))
        elif found:
            found[-1][1].append(line)
        continues = is_typed and line.endswith("\\")
    return tuple(Command(text="\n".join(typed), shown=tuple(out)) for typed, out in found)


def links_of(path: Path) -> tuple[str, ...]:
    """Return the targets of all links that are not in blocks."""
    prose = _without_blocks(path)
    return tuple(target for line in prose for target in _LINK.findall(line))


def anchors_of(path: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    found = (_HEADING.match(line) for line in _without_blocks(path))
    return frozenset(_anchor(heading[1]) for heading in found if heading)


def is_shown(shown: tuple[str, ...], output: str) -> bool:
    """Tell whether an output is as a page shows it; `...` stands for anything, or for nothing."""
    if not shown:
        return True
    wanted = re.escape(" ".join(" ".join(shown).split()))
    pattern = re.sub(r"(\\ )?\\\.\\\.\\\.(\\ )?", ".*", wanted)
    return re.fullmatch(pattern, " ".join(output.split()), re.DOTALL) is not None


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.strip().replace(" ", "-")


def _without_blocks(path: Path) -> list[str]:
    prose: list[str] = []
    fence = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := _FENCE.match(line.strip()):
            fence = "" if fence and line.strip().startswith(fence) else fence or found[1]
        elif not fence:
            prose.append(re.sub(r"`[^`]*`", "`code`", line) if "](" in line else line)
    return prose


def _blocks(path: Path) -> Iterator[Block]:
    page = str(path.relative_to(ROOT))
    fence, language, indent, begin, mark, value = "", "", "", 0, "", ""
    text: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        stripped = line.strip()
        if fence and stripped == fence:
            body = "\n".join(text) + "\n"
            yield Block(page=page, line=begin, language=language, text=body, mark=mark, value=value)
            fence, mark, value, text = "", "", "", []
        elif fence:
            text.append(line.removeprefix(indent))
        elif found := _FENCE.match(stripped):
            fence, language, begin = found[1], found[2], number
            indent = line[: len(line) - len(line.lstrip())]
        elif found := _MARK.match(stripped):
            mark, value = found[1], found[2]
        elif stripped:
            mark, value = "", ""
