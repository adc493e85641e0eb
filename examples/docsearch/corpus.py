"""Makes the corpus: the docstrings of the Python standard library on this machine, one a line.

The sources are parsed, never imported, so that the corpus depends on nothing but their text. The
format is the one that `guests/index/index.c` reads: id, kind, module, title and text, separated
by tabs, with `\\n`, `\\t`, `\\r` and `\\\\` for the characters that would break a line.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS_LEFT_OUT = frozenset(
    {
        "__pycache__", "dist-packages", "ensurepip", "idle_test", "idlelib", "lib2to3",
        "site-packages", "test", "tests", "turtledemo",
    }
)  # fmt: skip
"""Tests and applications, which are no part of the library that people search."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One docstring: of a module, a class or a function, by its dotted name in the module."""

    kind: str
    module: str
    title: str
    text: str

    def line(self, number: int) -> str:
        """Return the line of the corpus, its line feed included, for the id `number`."""
        fields = (str(number), self.kind, self.module, self.title, self.text)
        return "\t".join(field.translate(_ESCAPES) for field in fields) + "\n"


def write_corpus(path: Path, library: Path | None = None) -> int:
    """Write the corpus of a library (default: the standard one); return how many documents it has.

    The order is that of the paths, then of the source, so that the same library yields the same
    bytes. The file appears under its name only when it is complete.
    """
    library = library or Path(sysconfig.get_path("stdlib"))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    count = 0
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for source in _sources(library):
            for document in _documents(source, _module_name(source.relative_to(library))):
                count += 1
                file.write(document.line(count))
    unfinished.replace(path)
    return count


def _sources(library: Path) -> list[Path]:
    return sorted(
        path
        for path in library.rglob("*.py")
        if FOLDERS_LEFT_OUT.isdisjoint(path.relative_to(library).parts)
    )


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _documents(source: Path, module: str) -> Iterator[Document]:
    """Yield the docstrings of a source in their order; nothing of one that is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in strings are none of our business
            tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return
    if text := ast.get_docstring(tree):
        yield Document(kind="module", module=module, title=module, text=_valid(text))
    yield from _members(tree, module, "")


def _members(parent: ast.AST, module: str, prefix: str) -> Iterator[Document]:
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _members(node, module, prefix)  # definitions under `if` and `try`
            continue
        title = f"{prefix}{node.name}"
        if text := ast.get_docstring(node):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield Document(kind=kind, module=module, title=title, text=_valid(text))
        yield from _members(node, module, f"{title}.")


def _valid(text: str) -> str:
    """Return the text with what UTF-8 cannot carry (lone surrogates) as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
