"""What a folder is taken for, what its components are made of, and what toolchains are read as."""

from __future__ import annotations

from pathlib import Path

import pytest

from lattice.cli.building.diagnostics import Diagnostic, diagnostics
from lattice.cli.building.project import Component, read_project
from lattice.cli.building.sources import digest_of, is_source, sources_of
from lattice.cli.building.wit import gather
from lattice.errors import InvalidError, NotFoundError

MANIFEST = "lattice: v1\nname: shop\ncomponents: [{name: page, image: build/page.wasm}]\n"

TRACEBACK = """AssertionError: Traceback (most recent call last):
  File "/0/app.py", line 6, in <module>
  File "/0/web.py", line 105
    def (
        ^
SyntaxError: invalid syntax
"""


def fill(folder: Path, **files: str) -> Path:
    """Write files, whose names have `__` for a slash and `_` for a dot before the ending."""
    for name, text in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def only(folder: Path) -> Component:
    [component] = read_project(folder).components
    return component


@pytest.mark.parametrize(
    ("files", "kind", "source"),
    [
        ({"app_py": ""}, "python", "app.py"),
        ({"main_py": "", "other_py": ""}, "python", "main.py"),
        ({"strange_py": ""}, "python", "strange.py"),
        ({"index_js": "", "package_json": "{}"}, "javascript", "index.js"),
        ({"src__index_ts": "", "vite.config_js": ""}, "javascript", "src/index.ts"),
        ({"app_c": "", "app_h": "", "README_md": ""}, "c", "app.c"),
        ({"main_zig": ""}, "zig", "main.zig"),
        ({"thing_wasm": ""}, "wasm", "thing.wasm"),
    ],
)
def test_a_folder_is_known_by_what_lies_in_it(
    tmp_path: Path, files: dict[str, str], kind: str, source: str
) -> None:
    component = only(fill(tmp_path / "My Project", **files))
    assert (component.kind, component.source) == (kind, source)
    if kind != "wasm":
        assert component.image == tmp_path / "My Project" / "build" / "my-project.wasm"


def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing to build.*lattice new"):
        read_project(tmp_path)


def test_several_beginnings_are_not_guessed_from(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"none is called app\.py or main\.py"):
        read_project(fill(tmp_path, one_py="", two_py=""))


def test_a_manifest_names_components_and_their_folders(tmp_path: Path) -> None:
    text = MANIFEST + "services: [{name: store, image: build/store.wasm}]\n"
    fill(tmp_path, lattice_yaml=text, page__app_py="", store__app_c="")
    found = read_project(tmp_path)
    assert found.manifest == tmp_path / "lattice.yaml"
    assert [(each.name, each.kind) for each in found.components] == [
        ("page", "python"),
        ("store", "c"),
    ]


def test_an_image_without_sources_is_refused(tmp_path: Path) -> None:
    text = MANIFEST + "services: [{name: store, image: build/store.wasm}]\n"
    fill(tmp_path, lattice_yaml=text, page__app_py="")
    with pytest.raises(InvalidError, match=r"build/store\.wasm.*components\.store"):
        read_project(tmp_path)


def test_an_image_outside_of_build_is_taken_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path, lattice_yaml=MANIFEST.replace("build/page", "given"), given_wasm="")
    assert (only(tmp_path).kind, only(tmp_path).image) == ("wasm", tmp_path / "given.wasm")


def test_a_project_file_says_what_files_do_not(tmp_path: Path) -> None:
    text = """
[components.one]
folder = "src"
source = "strange.py"
wit = "interfaces"
world = "w"
python-path = ["vendor"]
dev = "rebuild"
"""
    fill(tmp_path, lattice_toml=text, src__strange_py="", src__b_py="", interfaces__a_wit="")
    assert only(tmp_path) == Component(
        name="one",
        kind="python",
        folder=tmp_path / "src",
        source="strange.py",
        image=tmp_path / "build" / "one.wasm",
        wit=tmp_path / "interfaces",
        world="w",
        python_path=(tmp_path / "vendor",),
        is_live=False,
    )


def test_all_faults_of_a_project_file_are_listed(tmp_path: Path) -> None:
    text = '[components.Bad]\nkind = "cobol"\nflag = 1\nflags = "x"\n[other]\n'
    with pytest.raises(InvalidError) as caught:
        read_project(fill(tmp_path, lattice_toml=text, app_py=""))
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "other", "components.Bad", "components.Bad.flag", "components.Bad.flags",
        "components.Bad.kind",
    ]  # fmt: skip


def test_what_was_built_or_installed_is_no_source(tmp_path: Path) -> None:
    fill(tmp_path, app_js="", lib__a_js="", node_modules__x_js="", build__y_js="", wit__w_wit="")
    fill(tmp_path, _git__z_js="")
    project = read_project(tmp_path)
    found = sources_of(project.components[0])
    assert [str(path.relative_to(tmp_path)) for path in found][-3:] == [
        "app.js", "lib/a.js", "wit/w.wit",
    ]  # fmt: skip
    assert is_source(project, tmp_path / "lib" / "new.js")
    assert is_source(project, tmp_path / "lattice.yaml")
    for other in ("node_modules/x.js", "build/y.js", ".git/z.js", "notes.md", ".app.js.swp"):
        assert not is_source(project, tmp_path / other)


def test_the_digest_changes_with_bytes_and_names(tmp_path: Path) -> None:
    fill(tmp_path, a_py="x", b_py="y")
    one = digest_of([tmp_path / "a.py", tmp_path / "b.py"])
    fill(tmp_path, a_py="xy", b_py="")
    assert digest_of([tmp_path / "a.py", tmp_path / "b.py"]) != one
    assert digest_of([], "a", "b") != digest_of([], "ab", "")


def test_wit_is_gathered_in_one_version_of_wasi(tmp_path: Path) -> None:
    world = (
        "package a:b; // wasi:io/poll@0.2.3\nworld w { export wasi:http/incoming-handler@0.2.0;"
        " import wasi:config/store@0.2.0-rc.1; }"
    )
    fill(tmp_path, app_py="", wit__w_wit=world)
    component = only(tmp_path)
    wit = gather(component, tmp_path / "out", version="0.2.10")
    assert wit.world == "w"
    assert "incoming-handler@0.2.10" in (wit.folder / "w.wit").read_text()
    assert "store@0.2.0-rc.1" in (wit.folder / "w.wit").read_text()
    names = {path.name for path in (wit.folder / "deps").iterdir()}
    assert {"wasi-http-0.2.10.wit", "wasi-io-0.2.10.wit", "wasi-config.wit"} <= names
    assert not any("0.2.3" in name for name in names)


def test_the_wit_of_the_lattice_is_brought_along_and_is_what_the_checkout_shows(
    tmp_path: Path,
) -> None:
    world = "package a:b; world w { import lattice:streams/bytes@0.1.0; }"
    fill(tmp_path, app_py="", wit__w_wit=world)
    gather(only(tmp_path), tmp_path / "out")
    for name in ("lattice-streams.wit", "lattice-invoke.wit"):
        shown = (Path(__file__).parents[3] / "wit" / name).read_text()
        assert (tmp_path / "out" / "deps" / name).read_text() == shown


def test_wit_that_a_project_brings_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, app_py="", wit__w_wit="package a:b; world w { import wasi:io/poll@0.2.0; }")
    fill(tmp_path / "wit" / "deps", mine_wit="package wasi:io@0.2.0; interface poll {}")
    gather(only(tmp_path), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "deps").iterdir()}
    assert "mine.wit" in names
    assert "wasi-io-0.2.0.wit" not in names


def test_one_of_several_worlds_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, app_py="", wit__w_wit="package a:b; world one {} world two {}")
    with pytest.raises(InvalidError, match=r"the worlds one, two: .*components\..*world"):
        gather(only(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "/p/app.c:27:9: error: use of undeclared identifier 'y'\n   27 | int x = y;\n",
            Diagnostic(message="use of undeclared identifier 'y'", file="app.c", line=27, column=9),
        ),
        (
            '\x1b[31m✘ [ERROR] \x1b[0mUnexpected ";"\n\n    index.js:35:8:\n      35 │ let x = ;\n',
            Diagnostic(message='Unexpected ";"', file="index.js", line=35, column=8),
        ),
        (
            TRACEBACK,
            Diagnostic(message="SyntaxError: invalid syntax", file="web.py", line=105),
        ),
        (
            "error: failed to parse\n\nCaused by:\n    expected ';'\n     --> /p/wit/a.wit:3:5\n",
            Diagnostic(message="expected ';'", file="wit/a.wit", line=3, column=5),
        ),
        ("no\nidea\n", Diagnostic(message="no\nidea")),
        ("", Diagnostic(message="the tool said nothing")),
    ],
)
def test_places_are_found_in_what_a_tool_says(said: str, expected: Diagnostic) -> None:
    assert diagnostics(said, Path("/p")) == [expected]
