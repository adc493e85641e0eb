"""Documentation that a binary carries: the custom section `package-docs` of the component tools.

The section is a byte of version and a JSON object: `docs`, and `interfaces` and `worlds` by their
plain names, each with `docs` and `funcs`. It is an extra: one that does not parse is left out.
"""

from __future__ import annotations

import json
from dataclasses import replace

from lattice.component.types import ComponentType, Function, Interface

DOCS_BYTES_MAX = 4 * 1024 * 1024
"""A larger section is left out: far above the documentation of any package."""


def parse_docs(payload: bytes) -> dict[str, object]:
    """Return the section's object, an empty one when it does not parse."""
    try:
        found = json.loads(payload[1:] if payload[:1] in (b"\0", b"\1") else payload)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def with_docs(component: ComponentType, docs: dict[str, object]) -> ComponentType:
    """Return the component with the documentation attached to its interfaces and functions."""
    if not docs:
        return component
    return replace(
        component,
        imports={key: _documented(each, docs) for key, each in component.imports.items()},
        exports={key: _documented(each, docs) for key, each in component.exports.items()},
        docs=_text(docs.get("docs")),
    )


def _documented(interface: Interface, docs: dict[str, object]) -> Interface:
    plain = interface.name.partition("@")[0].rpartition("/")[2]
    found = _map(_map(docs.get("interfaces")).get(plain))
    functions = _map(found.get("funcs"))
    return replace(
        interface,
        docs=_text(found.get("docs")),
        functions={
            name: _with_text(function, functions.get(name))
            for name, function in interface.functions.items()
        },
    )


def _with_text(function: Function, found: object) -> Function:
    # Version 0 of the section has the text itself, version 1 an object.
    text = _text(_map(found).get("docs") if isinstance(found, dict) else found)
    return replace(function, docs=text) if text else function


def _map(found: object) -> dict[str, object]:
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""
