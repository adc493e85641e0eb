"""When two function types are the same: fingerprints, and what differs between two interfaces.

Names of types do not count, names of parameters, fields and cases do. A resource is known by the
interface that defines it (base and semver track) and its name. Whether a function is async does
not count for a call, because nobody sees it from outside; it counts for composing two parts.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from itertools import islice

from lattice.component.differences import function_difference
from lattice.component.shapes import head, parts
from lattice.component.signature import function_signature
from lattice.component.types import Function, Interface, WitType, structure

FINGERPRINT_DIGITS = 16
"""Hex digits of a fingerprint: 64 bits, for telling types apart, not for keeping attackers out."""

_CANDIDATES_MAX = 500
_COMPARED_MAX = 80
"""Names and characters that are compared for a hint: comparing grows with the square of both."""


def function_fingerprint(function: Function) -> str:
    """Return a hash of a function's structure: equal in every process and on every machine."""
    digest = hashlib.sha256(canonical_form(function).encode()).hexdigest()
    return digest[:FINGERPRINT_DIGITS]


def canonical_form(function: Function) -> str:
    """Return the text that two functions share exactly when a call may pass between them.

    It is part of the wire protocol: a change of it makes old and new releases incompatible.
    """
    params = ",".join(f"{name}:{_form(wit)}" for name, wit in function.params)
    return f"({params})->{_form(function.result)}"


def interface_mismatch(wanted: Interface, offered: Interface) -> list[str]:
    """Return what keeps an export from satisfying an import, one line each; empty when it fits.

    The export may have more functions than the import asks for.
    """
    lines: list[str] = []
    for name, function in wanted.functions.items():
        found = offered.functions.get(name)
        if found is None:
            near = nearest(name, offered.functions)
            lines.append(
                f"function {name!r} is wanted as `{function_signature(name, function)}`, "
                f"but not offered{near}"
            )
        elif canonical_form(function) != canonical_form(found):
            found_at = function_difference(function, found)
            lines.append(
                f"function {name!r} differs in {found_at.path}: "
                f"wanted `{found_at.wanted}`, offered `{found_at.offered}`"
            )
        elif function.is_async != found.is_async:
            lines.append(
                f"function {name!r} differs in being async: wanted "
                f"`{function_signature(name, function)}`, offered "
                f"`{function_signature(name, found)}`"
            )
    return lines


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (nearest: 'x')` for the known name that resembles one most, `""` without one."""
    candidates = [each for each in islice(known, _CANDIDATES_MAX) if len(each) <= _COMPARED_MAX]
    found = difflib.get_close_matches(name[:_COMPARED_MAX], candidates, n=1, cutoff=0.5)
    return f" (nearest: {found[0]!r})" if found else ""


def _form(wit: WitType | None) -> str:
    if wit is None:
        return "_"
    plain = structure(wit)
    inner = parts(plain)
    if not inner:
        return head(plain)
    return head(plain) + "{" + ",".join(f"{name}:{_form(part)}" for name, part in inner) + "}"
