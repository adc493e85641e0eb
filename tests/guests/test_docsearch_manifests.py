"""The manifests of `examples/docsearch` are valid and name files that exist after a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.docsearch import build
from lattice.component.reader import read_component
from lattice.model.deployment import Deployment
from lattice.model.manifest import load_documents, parse_document


def deployment(name: str) -> Deployment:
    path = build.HERE / f"{name}.yaml"
    (document,) = load_documents(path.read_text(encoding="utf-8"), source=path.name)
    return parse_document(document)


@pytest.mark.wasm
def test_docsearch_names_what_the_build_makes() -> None:
    made = {build.build_corpus(), build.build_query_guest()}
    found = deployment("docsearch")
    sources = [part.image for part in found.parts] + [file.source for file in found.files]
    paths = {(build.HERE / source).resolve() for source in sources}
    small = {build.GUESTS / name / f"{name}.wasm" for name in ("tokenize", "index")}
    assert paths == made | small


def test_ask_links_to_what_docsearch_exposes() -> None:
    found = deployment("ask")
    assert [(build.HERE / part.image).is_file() for part in found.parts] == [True]
    assert [link.interface for link in found.links] == list(deployment("docsearch").expose or ())
    assert found.links[0].to == deployment("docsearch").name


@pytest.mark.parametrize("name", build.SMALL_GUESTS)
def test_small_guests_import_only_what_their_world_says(name: str) -> None:
    body = Path(build.GUESTS / name / f"{name}.wasm").read_bytes()
    component = read_component(body)
    imports = {
        "tokenize": set(),
        "index": {"wasi:cli/stderr", "wasi:filesystem/preopens", "wasi:filesystem/types",
                  "wasi:io/error", "wasi:io/streams"},
        "ask": {"docs:search/query"},
    }  # fmt: skip
    assert {interface.partition("@")[0] for interface in component.imports} == imports[name]
