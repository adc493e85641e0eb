"""The projects that `lattice new` makes: files of each template, as they lie in the package.

A file is called as in the project, with `.tmpl` behind: so no tool takes it for one of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lattice.errors import ConflictError, InvalidError, NotFoundError
from lattice.model.ids import name_fault

FOLDER = Path(__file__).parent
ENDING = ".tmpl"
NAME = "{{name}}"
"""What stands in a template for the name of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One kind of project."""

    name: str
    about: str
    first: str  # the file that one begins with
    steps: tuple[str, ...]  # what to type in the new folder


TEMPLATES: Final = (
    Template(
        name="http-python",
        about="a web application in Python",
        first="app.py",
        steps=("lattice dev",),
    ),
    Template(
        name="http-js",
        about="a web application in JavaScript or TypeScript",
        first="index.js",
        steps=("npm install", "lattice dev"),
    ),
    Template(name="http-c", about="a web application in C", first="app.c", steps=("lattice dev",)),
    Template(
        name="worker-python",
        about="a service in Python that works by itself",
        first="app.py",
        steps=("lattice dev",),
    ),
)


def template_of(name: str) -> Template:
    """Return a template.

    Raises:
        NotFoundError: there is none of that name; all are listed.
    """
    for template in TEMPLATES:
        if template.name == name:
            return template
    known = "".join(f"\n  {each.name:<12} {each.about}" for each in TEMPLATES)
    raise NotFoundError(f"there is no template {name!r}, there are{known}")


def make_project(template: Template, folder: Path, name: str) -> list[Path]:
    """Write a new project into a folder, which is made, and return its files, sorted.

    Raises:
        InvalidError: the name is none that a deployment may have, or the folder cannot be written.
        ConflictError: the folder is there and holds something.
    """
    if fault := name_fault(name):
        raise InvalidError(f"a project cannot be called {name!r}: {fault}")
    files = {folder / path: text.replace(NAME, name) for path, text in _files_of(template)}
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConflictError(f"{folder} is there already and not empty: choose another name")
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except NotADirectoryError:
        raise ConflictError(f"{folder} is there already and no folder") from None
    except OSError as exc:
        raise InvalidError(f"cannot write to {folder}: {exc.strerror}") from None
    return sorted(files)


def _files_of(template: Template) -> Iterator[tuple[Path, str]]:
    root = FOLDER / template.name
    for path in root.rglob(f"*{ENDING}"):
        yield path.relative_to(root).with_suffix(""), path.read_text(encoding="utf-8")
