"""Manifests: the one place where a document becomes a checked `Deployment`, and the way back.

One description of the fields (`lattice.model.manifest_fields`) gives the reader, the writer and the
JSON Schema. Paths of images and files are not looked at here: `apply` uploads what they name and
puts digests in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lattice.errors import InvalidError
from lattice.model.deployment import Deployment
from lattice.model.document import Document, load_documents
from lattice.model.http import HttpAddress
from lattice.model.manifest_checks import check_references
from lattice.model.manifest_fields import DEPLOYMENT
from lattice.model.manifest_http import HTTP
from lattice.model.manifest_scheduling_checks import check_scheduling
from lattice.model.scalar import Faults

__all__ = [
    "Document",
    "http_addresses",
    "json_schema",
    "load_documents",
    "parse_deployment",
    "parse_document",
    "to_document",
]


def parse_deployment(document: Mapping[str, object]) -> Deployment:
    """Return the deployment that a document describes.

    Raises:
        InvalidError: `faults` lists everything that is wrong, each with the path of its field.
            More than `lattice.model.scalar.FAULTS_MAX` faults are counted, not listed.
    """
    return _parse(document, lambda _: "")


def parse_document(document: Document) -> Deployment:
    """Return the deployment that a loaded document describes.

    Raises:
        InvalidError: as `parse_deployment`, each fault with source and line in front.
    """
    return _parse(document.body, document.place)


def http_addresses(document: Mapping[str, object]) -> tuple[HttpAddress, ...]:
    """Return the requests over HTTP that a document asks for; the rest of it is not looked at.

    Raises:
        InvalidError: they are malformed.
    """
    faults = Faults()
    addresses = HTTP.read(document.get("http", ()), "http", faults)
    if faults.lines or not isinstance(addresses, tuple):
        raise InvalidError("routes are invalid", [f"{path}: {text}" for path, text in faults.lines])
    return addresses


def to_document(deployment: Deployment) -> dict[str, object]:
    """Return the shortest document that `parse_deployment` reads as an equal deployment.

    Fields that have their default are left out, and labels, environment and configuration are
    sorted, so that equal deployments give equal documents.
    """
    document = DEPLOYMENT.write(deployment)
    assert isinstance(document, dict), "an object is written as a dict"
    return document


def json_schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of manifests, for editors.

    It cannot state what only the reader checks: that names are unique and refer to something, and
    the bounds of quantities with units.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lattice manifest",
        **DEPLOYMENT.json(),
    }


def _parse(body: object, place: Callable[[str], str]) -> Deployment:
    faults = Faults()
    deployment = DEPLOYMENT.read(body, "", faults)
    check_references(body, faults)
    check_scheduling(body, faults)
    if isinstance(deployment, Deployment) and not faults.lines:
        return deployment
    lines = [
        ": ".join(part for part in (place(path), path, message) if part)
        for path, message in faults.lines
    ]
    if faults.left_out:
        lines.append(f"and {faults.left_out} more")
    name = body.get("name") if isinstance(body, Mapping) else None
    title = f"deployment {name!r}" if isinstance(name, str) and len(name) < 100 else "the manifest"
    raise InvalidError(f"{title} is invalid", lines)
