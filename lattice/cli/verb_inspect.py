"""`lattice inspect`: what a component file imports and exports, without running it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lattice.cli.files import read_component_file
from lattice.cli.options import DEFAULT, Options
from lattice.cli.output import print_json, printable, size_text
from lattice.component.fingerprint import function_fingerprint
from lattice.component.reader import read_component
from lattice.component.schema import json_schema
from lattice.component.signature import function_signature
from lattice.component.types import Function, Interface
from lattice.component.wit_text import to_wit


def inspect_(file: Path, /, *, fingerprints: bool = False, options: Options = DEFAULT) -> None:
    """Show what a component file imports and exports.

    The types are written as WIT. With --output json each function comes with a
    JSON Schema of its arguments and result.

    Parameters
    ----------
    file
        The component.
    fingerprints
        Show the fingerprint of each exported function's type: calls between components are
        refused when the two sides differ in it.
    """
    body = read_component_file(file)
    component = read_component(body)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if options.is_json:
        print_json(
            {
                "file": str(file),
                "digest": digest,
                "bytes": len(body),
                "imports": _described(component.imports),
                "exports": _described(component.exports),
                "wit": to_wit(component),
            }
        )
        return
    print(f"// {file}: {size_text(len(body))}, {digest}")
    for line in to_wit(component).splitlines():
        print(printable(line))
    if fingerprints:
        print("\n// fingerprints")
        for name, interface in component.exports.items():
            for function, type_ in interface.functions.items():
                print(f"// {function_fingerprint(type_)}  {name}#{function}")


def _described(interfaces: Mapping[str, Interface]) -> dict[str, dict[str, object]]:
    return {
        name: {function: _function(function, type_) for function, type_ in found.functions.items()}
        for name, found in interfaces.items()
    }


def _function(name: str, type_: Function) -> dict[str, object]:
    return {
        "signature": function_signature(name, type_),
        "fingerprint": function_fingerprint(type_),
        "docs": type_.docs,
        "schema": json_schema(type_),
    }
