"""Projects that `lattice new` makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lattice.cli.building.project import read_project
from lattice.cli.templates import NAME, TEMPLATES, Template, make_project, template_of
from lattice.errors import ConflictError, InvalidError, NotFoundError

KINDS = {"http-python": "python", "http-js": "javascript", "http-c": "c", "worker-python": "python"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_each_template_is_a_project_that_can_be_read(tmp_path: Path, template: Template) -> None:
    files = make_project(template, tmp_path / "shop", "shop")
    project = read_project(tmp_path / "shop")
    [component] = project.components
    assert component.kind == KINDS[template.name]
    assert component.image == tmp_path / "shop" / "build" / "shop.wasm"
    assert template.first in {path.name for path in files}
    assert {"README.md", ".gitignore", "lattice.yaml"} <= {path.name for path in files}
    assert not [path for path in files if NAME in path.read_text()]


def test_the_python_of_templates_compiles(tmp_path: Path) -> None:
    files = make_project(template_of("http-python"), tmp_path / "shop", "shop")
    for path in files:
        if path.suffix == ".py":
            compile(path.read_text(), str(path), "exec")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not empty"):
        make_project(TEMPLATES[0], tmp_path / "shop", "shop")
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["mine.txt"]
    with pytest.raises(ConflictError, match="no folder"):
        make_project(TEMPLATES[0], tmp_path / "shop" / "mine.txt", "shop")


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    assert make_project(TEMPLATES[0], tmp_path / "shop", "shop")


@pytest.mark.parametrize("name", ["", "Shop", "-x", "a b", "x" * 64, "a/b"])
def test_a_name_that_no_deployment_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError, match="cannot be called"):
        make_project(TEMPLATES[0], tmp_path / "folder", name)
    assert not list(tmp_path.iterdir())


def test_an_unknown_template_is_told_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"(?s)http-rust.*http-python.*http-js.*http-c"):
        template_of("http-rust")
