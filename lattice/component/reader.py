"""Reads what a component binary says about itself: imports, exports and their named types.

Nothing is compiled or run, and code is passed over: 18 MB take a few milliseconds. Reading is no
validation of the code; the engine validates when it compiles.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.component.binary import ByteReader
from lattice.component.docs import DOCS_BYTES_MAX, parse_docs, with_docs
from lattice.component.scopes import (
    FunctionItem,
    Instance,
    Instantiation,
    Item,
    Opaque,
    Scope,
    Typed,
    Work,
    describe,
)
from lattice.component.sections import PREAMBLE, exports_of, read_body
from lattice.component.types import ComponentType, Function, Interface, WitType
from lattice.errors import InvalidError
from lattice.model.wit import ROOT

NODES_MAX = 1_000_000
"""Nodes of all types of a component written out in full: bounds what texts and schemas can cost."""

LEFTOVER_INSTANCE = "exports"
LEFTOVER_FUNCTION = "init"
"""What guest toolchains leave among a component's exports for their own use."""

_CORE_PREAMBLE = b"\0asm\x01\0\0\0"


def read_component(body: bytes) -> ComponentType:
    """Return the imports and exports of a component binary, in the order of the binary.

    Types carry the interface that defines them, also where another one uses them. Exported core
    modules, components and values are left out: nobody can call them.

    Raises:
        InvalidError: the bytes are no component, are malformed, exceed a limit, or import
            something else than interfaces, functions and types.
    """
    _check_preamble(body)
    scope = Scope(Work())
    reader = ByteReader(body, len(PREAMBLE), len(body))
    docs_start, docs_end = read_body(reader, scope)
    _refuse_packages(scope)
    component = ComponentType(
        imports=_interfaces(reader, scope, scope.imports, is_import=True),
        exports=_interfaces(reader, scope, scope.exports, is_import=False),
        labels=dict(scope.labels),
    )
    if 0 < docs_end - docs_start <= DOCS_BYTES_MAX:
        component = with_docs(component, parse_docs(body[docs_start:docs_end]))
    return component


def callable_exports(component: ComponentType) -> dict[str, Interface]:
    """Return the exports that a caller can mean, in their order.

    Interfaces without functions are left out, and so is what toolchains leave behind: an instance
    named `exports` and a function `init` at the root.
    """
    found: dict[str, Interface] = {}
    for key, interface in component.exports.items():
        functions = dict(interface.functions)
        if key == ROOT:
            functions.pop(LEFTOVER_FUNCTION, None)
        if functions and key != LEFTOVER_INSTANCE:
            found[key] = Interface(
                name=interface.name,
                types=interface.types,
                functions=functions,
                docs=interface.docs,
            )
    return found


def _check_preamble(body: bytes) -> None:
    if body.startswith(PREAMBLE):
        return
    if body.startswith(_CORE_PREAMBLE):
        raise InvalidError(
            "this is a core module, not a component: wrap it with `wasm-tools component new`",
            offset=4,
        )
    if body.startswith(b"\0asm"):
        raise InvalidError(
            f"expected a component (version 0d000100), found a WebAssembly binary of version "
            f"{body[4:8].hex() or 'none'}",
            offset=4,
        )
    raise InvalidError(f"expected a component binary, found {_seen(body)}", offset=0)


def _seen(body: bytes) -> str:
    if not body:
        return "no bytes"
    head = body[:64]
    try:
        text = head.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() and not text.replace("\n", " ").replace("\t", " ").isprintable():
        text = ""
    if not text:
        return f"bytes that begin with {head[:8].hex()}"
    hint = ": compile it with `wasm-tools parse`" if text.startswith("(") else ""
    return f"text that begins with {text[:24]!r}{hint}"


def _refuse_packages(scope: Scope) -> None:
    kinds = list(scope.exports.values())
    if kinds and all(isinstance(item, Opaque) and item.sort == "component type" for item in kinds):
        raise InvalidError("this is a WIT package, not a component: it has types but no code")


def _interfaces(
    reader: ByteReader, scope: Scope, items: Mapping[str, Item], *, is_import: bool
) -> dict[str, Interface]:
    """Return the items as interfaces; what lies at the root forms the interface `ROOT`."""
    budget = _Nodes()
    found: dict[str, Interface] = {}
    root: dict[str, Item] = {}
    for name, item in items.items():
        match item:
            case Typed() | FunctionItem():
                root[name] = item
                if ROOT not in found:
                    found[ROOT] = Interface(name=ROOT)  # keeps the place of the first one
            case Instance() | Instantiation():
                wanted = scope.labels.get(name, name)
                found[name] = _interface(wanted, exports_of(reader, item), budget)
            case _ if is_import:
                raise InvalidError(
                    f"import {name!r} is {describe(item)}: only interfaces, functions and types of "
                    "values can be satisfied"
                )
            case _:
                pass
    if root:
        found[ROOT] = _interface(ROOT, root, budget)
    return found


class _Nodes:
    """What the types of all interfaces come to, written out in full."""

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, amount: int, name: str) -> None:
        self.spent += amount
        if self.spent > NODES_MAX:
            raise InvalidError(
                f"types of {name or 'the root'} are too large: expected at most {NODES_MAX} parts "
                "in all types of a component, found more"
            )


def _interface(name: str, items: Mapping[str, Item], budget: _Nodes) -> Interface:
    types: dict[str, WitType] = {}
    functions: dict[str, Function] = {}
    for key, item in items.items():
        match item:
            case Typed(type=wit, size=size):
                budget.spend(size, name)
                types[key] = wit
            case FunctionItem(function=function, size=size):
                budget.spend(size, name)
                functions[key] = function
            case _:
                pass
    return Interface(name=name, types=types, functions=functions)
