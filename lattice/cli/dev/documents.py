"""The manifest as `lattice dev` runs it: images are what was built, live ones see their sources.

Decides only: gets documents and components, returns documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lattice.cli.building.project import Component, Project
from lattice.cli.dev.live import MOUNT, Live, check_interface
from lattice.model.ids import digest_fault
from lattice.model.manifest import load_documents, parse_document, to_document

GRANT = "lattice-dev"
"""The directory with the sources of live components, as the host grants it."""

VERSION = "LATTICE_DEV_VERSION"
"""Variable of services whose sources are run live: a change of them is a new generation."""

MEMORY = "512Mi"
"""What instances of live components may take: they have a whole library bound in, and compile."""

Body = dict[str, Any]


def documents_of(project: Project) -> list[Body]:
    """Return the deployments of a project as its manifest has them, images as absolute paths.

    A project without a manifest is one deployment with all its components, which answers all
    requests.

    Raises:
        InvalidError: the manifest is wrong; all faults are listed.
    """
    if project.manifest is None:
        parts = [{"name": each.name, "image": str(each.image)} for each in project.components]
        return [
            {"lattice": "v1", "name": project.name, "components": parts, "http": [{"path": "/"}]}
        ]
    text = project.manifest.read_text(encoding="utf-8")
    documents = load_documents(text, source=str(project.manifest))
    found = [to_document(parse_document(each)) for each in documents]
    for body in found:
        for entry, key in _paths_of(body):
            if digest_fault(entry[key]) is not None:
                entry[key] = str(project.manifest.parent / entry[key])
    return found


def services_of(documents: Iterable[Body]) -> set[Path]:
    """Return the images that are services."""
    return {Path(part["image"]) for body in documents for part in body.get("services", ())}


def with_live(
    documents: Sequence[Body], live: Mapping[str, Live], pinned_versions: Mapping[str, str]
) -> list[Body]:
    """Return the documents with live components in place of what they run.

    `live` is by the path of the image that it stands for; `pinned_versions` are the versions of
    those that keep the one they began with.
    """
    return [_with_live(body, live, pinned_versions) for body in documents]


def _with_live(body: Body, live: Mapping[str, Live], pinned_versions: Mapping[str, str]) -> Body:
    interfaces: list[str] = []

    def changed(part: Body) -> Body:
        found = live.get(part["image"])
        if found is None:
            return part
        if not found.is_pinned:
            interfaces.append(check_interface(found.key))
        mount = {"grant": GRANT, "path": MOUNT}
        made = {**part, "image": str(found.image)}
        made["directories"] = [*part.get("directories", ()), mount]
        made["limits"] = {**part.get("limits", {}), "memory": MEMORY}
        if found.is_pinned:
            version = pinned_versions.get(found.key, "")
            made["env"] = {**part.get("env", {}), VERSION: version}
        return made

    made = dict(body)
    for kind in ("components", "services"):
        if kind in body:
            made[kind] = [changed(part) for part in body[kind]]
    if "expose" in body:
        made["expose"] = [*body["expose"], *interfaces]
    return made


def _paths_of(body: Body) -> Iterable[tuple[Body, str]]:
    for kind in ("components", "services"):
        yield from ((part, "image") for part in body.get(kind, ()))
    yield from ((file, "source") for file in body.get("files", ()))


def kind_names(components: Iterable[Component]) -> str:
    """Return what a project is written in, for people."""
    names = {"python": "Python", "javascript": "JavaScript", "c": "C", "zig": "Zig", "wasm": "wasm"}
    return ", ".join(dict.fromkeys(names[each.kind] for each in components))
