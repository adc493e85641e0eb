"""Joins the components that answer HTTP requests: which one takes them, and who stands behind it.

Nothing here compiles or serves; `hosts.serving` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.standalone import SHOWN_MAX, Assembly, assemble
from lattice.component.answering import HANDLER_KEY
from lattice.errors import InvalidError
from lattice.model.wit import interface_key


def web_assembly(files: Sequence[tuple[str, bytes]]) -> Assembly:
    """Return the components of (name, body) joined; the first one takes the requests.

    What handles requests by way of another component (`wasi:http/incoming-handler` imported) gets
    the next one in the order that exports it; all else is joined as by `assemble`.

    Raises:
        InvalidError: as `assemble`; the first answers no requests, or does not use another one.
    """
    assembly = assemble(files, in_order=HANDLER_KEY)
    require_handler(assembly)
    if idle := assembly.unused:
        raise InvalidError(
            f"{', '.join(idle)}: nothing that {assembly.parts[0].name} needs comes from there; "
            "leave it out, or name the component that takes the requests first"
        )
    return assembly


def require_handler(assembly: Assembly) -> None:
    """Return when the first component of an assembly answers HTTP requests.

    Raises:
        InvalidError: it does not; what it exports is listed, with what it can be used for.
    """
    exports = assembly.type.exports
    if HANDLER_KEY in map(interface_key, exports):
        return
    named = [name or "functions at its root" for name in exports]
    left = len(named) - SHOWN_MAX
    listed = ", ".join([*named[:SHOWN_MAX], *([f"{left} more"] if left > 0 else [])]) or "nothing"
    raise InvalidError(
        f"{assembly.parts[0].name} answers no HTTP requests: it exports {listed}, and not "
        f"{HANDLER_KEY}; {_advice(assembly)}"
    )


def _advice(assembly: Assembly) -> str:
    base = HANDLER_KEY.partition("@")[0]
    other = next((name for name in assembly.type.exports if name.startswith(f"{base}@")), None)
    if other is not None:
        return f"build it against version 0.2 in place of {other}"
    if assembly.command is not None:
        return "it is a command: `lattice run` runs it"
    if assembly.functions:
        return "`lattice run` calls its functions, and a component that asks it can answer requests"
    return "build it for the world wasi:http/proxy"
