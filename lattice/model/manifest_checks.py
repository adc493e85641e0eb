"""The checks across the fields of a manifest: unique names, and references that lead somewhere.

They work on the document as it stands, also when other fields of it are wrong, so that a person
sees all faults at once. What has the wrong type is skipped here: the reader has reported it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lattice.model.scalar import Faults
from lattice.model.schema import child

Entry = tuple[str, Mapping[object, object]]
"""The path of an entry of a list, and the entry."""


def check_references(document: object, faults: Faults) -> None:
    """Add a fault for each name given twice, each reference to nothing, and for a lack of parts."""
    if not isinstance(document, Mapping):
        return
    if all(document.get(key, []) in ([], ()) for key in ("components", "services")):
        faults.add("", "has neither components nor services, needs at least one")
    services = _entries(document, "services")
    parts = _names([*_entries(document, "components"), *services], "component or service", faults)
    files = _names(_entries(document, "files"), "file", faults)
    _check_wiring(_entries(document, "wiring"), parts, faults)
    for path, service in services:
        for below, name in _texts(service, "files", path):
            _check_known(below, name, files, "file", faults)
    for path, route in _entries(document, "http"):
        component = _text(route, "component")
        if component is not None:
            _check_known(child(path, "component"), component, parts, "component or service", faults)
    for path, link in _entries(document, "links"):
        if "name" in document and link.get("to") == document["name"]:
            faults.add(child(path, "to"), "leads to this deployment itself, expected another")
    links = [(path, (_text(link, "import"),)) for path, link in _entries(document, "links")]
    _check_once(links, "a link for", faults)
    bindings = [
        (path, (_text(binding, "interface"), binding.get("name", "default")))
        for path, binding in _entries(document, "bindings")
    ]
    _check_once(bindings, "a binding for", faults)
    exposed = [(path, (name,)) for path, name in _texts(document, "expose", "")]
    _check_once(exposed, "an entry for", faults)


def _check_wiring(wiring: list[Entry], parts: dict[str, str], faults: Faults) -> None:
    for path, wire in wiring:
        for key in ("component", "to"):
            name = _text(wire, key)
            if name is not None:
                _check_known(child(path, key), name, parts, "component or service", faults)
        if _text(wire, "to") is not None and wire.get("component") == wire.get("to"):
            faults.add(child(path, "to"), "a part cannot satisfy its own import")
    wires = [(path, (_text(wire, "component"), _text(wire, "import"))) for path, wire in wiring]
    _check_once(wires, "a wire for", faults)


def _check_known(path: str, name: str, known: dict[str, str], what: str, faults: Faults) -> None:
    if name not in known:
        listed = ", ".join(list(known)[:10]) or "none"
        faults.add(path, f"no {what} is named {name[:80]!r}, known are {listed}")


def _check_once(keys: Iterable[tuple[str, tuple[object, ...]]], what: str, faults: Faults) -> None:
    first: dict[tuple[str, ...], str] = {}
    for path, key in keys:
        names = tuple(name for name in key if isinstance(name, str))
        if len(names) < len(key):
            continue
        if names in first:
            faults.add(path, f"{what} {' '.join(names)[:160]} stands at {first[names]} already")
        first.setdefault(names, path)


def _names(entries: list[Entry], what: str, faults: Faults) -> dict[str, str]:
    """Return the path of each name, in the order of the document."""
    paths: dict[str, str] = {}
    for path, entry in entries:
        name = _text(entry, "name")
        if name is None:
            continue
        below = child(path, "name")
        if name in paths:
            faults.add(below, f"{what} {name[:80]!r} is named at {paths[name]} already")
        paths.setdefault(name, below)
    return paths


def _entries(document: Mapping[object, object], key: str) -> list[Entry]:
    value = document.get(key)
    if not isinstance(value, list | tuple):
        return []
    return [
        (f"{key}[{index}]", entry)
        for index, entry in enumerate(value)
        if isinstance(entry, Mapping)
    ]


def _texts(entry: Mapping[object, object], key: str, path: str) -> list[tuple[str, str]]:
    value = entry.get(key)
    if not isinstance(value, list | tuple):
        return []
    return [
        (f"{child(path, key)}[{index}]", text)
        for index, text in enumerate(value)
        if isinstance(text, str)
    ]


def _text(entry: Mapping[object, object], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) else None
