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
from lattice.errors import InvalidError
from lattice.model.ids import Digest
from lattice.model.wit import interface_key

ADAPTER = "wasi adapter"
"""The adapter's name as a part; a manifest cannot give it to a component."""

SWITCH = "LATTICE_WASI"

BODY = Path(__file__).parents[1] / "adapters" / "wasi" / "adapter.wasm"


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
    added = [
        Link(part.name, name, ADAPTER)
        for part in parts
        if b"wasi:" in part.body
        for name, key in _imports(part)
        if key in _exported() and (part.name, key) not in linked
    ]
    if not added:
        return list(parts), list(links)
    return [*parts, _adapter()], [*links, *added]


def _imports(part: Part) -> list[tuple[str, str]]:
    """Return the names of a part's imports, and what each implements."""
    try:
        component = read_component(part.body)
    except InvalidError as error:
        raise InvalidError(f"part {part.name!r}: {error.message}") from None
    return [(name, interface_key(component.labels.get(name, name))) for name in component.imports]


@functools.cache
def _adapter() -> Part:
    body = BODY.read_bytes()
    return Part(ADAPTER, Digest("sha256:" + hashlib.sha256(body).hexdigest()), body)


@functools.cache
def _exported() -> frozenset[str]:
    return frozenset(map(interface_key, read_component(_adapter().body).exports))
