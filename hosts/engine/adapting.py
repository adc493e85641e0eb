"""Puts the WASI adapter around the parts of a composition that import what it exports.

So a guest's sleeping, polling and reading goes through functions that suspend it, instead of
wasmtime's own WASI, which blocks the event loop. `LATTICE_WASI=builtin` leaves the guests as they
are, for comparing.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hosts.engine.base import Link, Part
from lattice.component.reader import read_component
from lattice.component.types import ComponentType
from lattice.errors import InvalidError
from lattice.model.ids import Digest
from lattice.model.wit import interface_key

ADAPTER = "wasi adapter"
"""The adapter's name as a part; a manifest cannot give it to a component."""

DRIVER = "http driver"
"""The driver's name as a part."""

HANDLER = "wasi:http/incoming-handler@0.2.12"
SERVER = "lattice:http-host/server@0.1.0"
"""What a guest that answers HTTP exports, and what a composition with it does in its place."""

OUTGOING = "wasi:http/outgoing-handler@0.2.12"
"""What a guest imports that sends requests over HTTP."""

HIDDEN = (ADAPTER, interface_key(HANDLER))
"""What of a composition cannot be seen from outside."""

SWITCH = "LATTICE_WASI"

_WEB = "wasi:http/"

_ADAPTERS = Path(__file__).parents[1] / "adapters"
BODY = _ADAPTERS / "wasi" / "adapter.wasm"
HTTP_BODY = _ADAPTERS / "http" / "adapter.wasm"
LEAN_BODY = _ADAPTERS / "http" / "lean.wasm"
DRIVER_BODY = _ADAPTERS / "http" / "driver.wasm"


def is_adapter_used(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether guests get the adapter.

    Raises:
        InvalidError: the switch has a word that means nothing.
    """
    word = environment.get(SWITCH, "adapter")
    if word not in ("adapter", "builtin"):
        raise InvalidError(f"{SWITCH}={word}: expected adapter or builtin")
    return word == "adapter"


def adapt(parts: Sequence[Part], links: Sequence[Link]) -> tuple[list[Part], list[Link]]:
    """Return parts and links with the adapter among them, if any part needs it.

    What a link satisfies already stays as it is. The adapter comes last, so that an export of
    another part wins; its own exports are to be hidden.

    Raises:
        InvalidError: a part is no component.
    """
    linked = {(link.part, interface_key(link.interface)) for link in links}
    left = [
        (part.name, name, key)
        for part in parts
        if b"wasi:" in part.body
        for name, key in _imports(part)
        if (part.name, key) not in linked
    ]
    handler = _handler(parts, links)
    is_web = bool(handler) or any(key.startswith(_WEB) for _, _, key in left)
    adapter = _adapter(is_web, frozenset(key for _, _, key in left))
    exported = _exported(adapter)
    added = [Link(part, name, ADAPTER) for part, name, key in left if key in exported]
    if handler:
        driver = _part(DRIVER, DRIVER_BODY)
        added += [
            Link(DRIVER, name, handler if key == interface_key(HANDLER) else ADAPTER)
            for name, key in _imports(driver)
        ]
        return [*parts, adapter, driver], [*links, *added]
    if not added:
        return list(parts), list(links)
    return [*parts, adapter], [*links, *added]


def _adapter(is_web: bool, wanted: frozenset[str]) -> Part:
    """Return the smallest adapter that has what is wanted: its instances are made soonest."""
    if not is_web:
        return _part(ADAPTER, BODY)
    whole, lean = _part(ADAPTER, HTTP_BODY), _part(ADAPTER, LEAN_BODY)
    return lean if wanted & _exported(whole) <= _exported(lean) else whole


def _handler(parts: Sequence[Part], links: Sequence[Link]) -> str:
    """Return the part that answers HTTP, empty when none does: the first that no other one asks."""
    key = interface_key(HANDLER)
    asked = {link.to for link in links if interface_key(link.interface) == key}
    likely = [
        part
        for part in parts
        if part.name not in asked and b"wasi:http/incoming-handler" in part.body
    ]
    return next(
        (part.name for part in likely if key in map(interface_key, _read(part).exports)), ""
    )


def _imports(part: Part) -> list[tuple[str, str]]:
    """Return the names of a part's imports, and what each implements."""
    component = _read(part)
    return [(name, interface_key(component.labels.get(name, name))) for name in component.imports]


def _read(part: Part) -> ComponentType:
    try:
        return read_component(part.body)
    except InvalidError as error:
        raise InvalidError(f"part {part.name!r}: {error.message}") from None


@functools.cache
def _part(name: str, path: Path) -> Part:
    body = path.read_bytes()
    return Part(name, Digest("sha256:" + hashlib.sha256(body).hexdigest()), body)


@functools.cache
def _exported(part: Part) -> frozenset[str]:
    return frozenset(map(interface_key, read_component(part.body).exports))
