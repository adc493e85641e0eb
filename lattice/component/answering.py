"""Decides which part of a workload answers requests over HTTP."""

from __future__ import annotations

from collections.abc import Collection

from lattice.component.programs import program_names
from lattice.component.resolution import HttpPart
from lattice.component.satisfying import Exports
from lattice.model.deployment import Deployment
from lattice.model.wit import interface_key

HANDLER_KEY = "wasi:http/incoming-handler@0.2"
"""What a part exports that answers: this interface in any version of its track."""


def answering(
    deployment: Deployment,
    exports: Exports,
    used_inside: Collection[tuple[str, str]],
    faults: list[str],
) -> HttpPart | None:
    """Return the part that answers, None when none does; faults are added to the list.

    It is the one that the manifest names, else the one part that exports the handler and that no
    other part asks (`used_inside` has the part and the name of each export that one does): those
    that are asked stand behind it. Without routes, having none or several is no fault.
    """
    handlers = {
        part: interface
        for part, offered in exports.items()
        for interface in offered
        if interface_key(interface) == HANDLER_KEY
    }
    outer = [part for part, interface in handlers.items() if (part, interface) not in used_inside]
    named = next((each.component for each in deployment.http if each.component), "")
    fault = _fault(named, handlers, outer)
    if fault:
        if deployment.http:
            faults.append(f"http: {fault}")
        return None
    part = named or outer[0]
    return HttpPart(part=part, program=program_names(deployment)[part])


def _fault(named: str, handlers: Collection[str], outer: Collection[str]) -> str:
    """Return why no part can be chosen, "" when one can."""
    if not handlers:
        return f"no part exports {HANDLER_KEY}, so none can answer"
    if not named:
        if len(outer) == 1:
            return ""
        if not outer:
            return f"every part that exports {HANDLER_KEY} is asked by another one in a circle"
        return (
            f"{', '.join(outer)} export {HANDLER_KEY}; name the one that answers under `component`"
        )
    if named not in handlers:
        return f"{named} does not export {HANDLER_KEY}, which {', '.join(handlers)} does"
    if named not in outer:
        return f"{named} answers another part of the workload; name one that none asks"
    return ""
