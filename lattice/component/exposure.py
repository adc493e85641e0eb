"""Decides which exports of a workload may be called from outside, and which program answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lattice.component.fingerprint import function_fingerprint, nearest
from lattice.component.programs import START, STOP, program_names
from lattice.component.satisfying import Exports
from lattice.component.types import Function
from lattice.model.deployment import Deployment
from lattice.model.wit import ROOT, interface_key, wanted_matches

HTTP_HANDLER = "wasi:http/incoming-handler"

ENTRY_INTERFACES = ("wasi:cli/run", HTTP_HANDLER)
"""Exports that the host itself calls: exposed only when the manifest lists them."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What may be called: interface -> function -> fingerprint, and interface -> program."""

    functions: Mapping[str, Mapping[str, str]]
    programs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Offer:
    part: str
    interface: str
    functions: Mapping[str, Function]


def exposure(
    deployment: Deployment,
    exports: Exports,
    used_inside: Collection[tuple[str, str]],
    faults: list[str],
) -> Exposure:
    """Return what a workload exposes; faults are added to the list.

    Without `expose` that is every export that nobody inside imports (`used_inside` has the part
    and the name of those), but for what the host itself calls.
    """
    offers = [
        _Offer(part, name, interface.functions)
        for part, offered in exports.items()
        for name, interface in offered.items()
    ]
    if deployment.expose is None:
        chosen = list(_by_default(deployment, offers, used_inside))
    else:
        chosen = list(_listed(deployment.expose, offers, faults))
    programs = program_names(deployment)
    found: dict[str, dict[str, str]] = {}
    answering: dict[str, str] = {}
    first: dict[tuple[str, str], _Offer] = {}
    for offer in chosen:
        program = programs[offer.part]
        key = interface_key(offer.interface)
        names = offer.functions if offer.interface == ROOT else ("",)
        clash = next((first[key, each] for each in names if (key, each) in first), None)
        if clash is None and answering.get(offer.interface, program) != program:
            clash = next(each for (known, _), each in first.items() if known == key)
        if clash is not None:
            faults.append(_clash(offer, clash))
            continue
        first.update({(key, each): offer for each in names})
        answering[offer.interface] = program
        found.setdefault(offer.interface, {}).update(
            (name, function_fingerprint(function)) for name, function in offer.functions.items()
        )
    return Exposure(found, answering)


def _by_default(
    deployment: Deployment, offers: Iterable[_Offer], used_inside: Collection[tuple[str, str]]
) -> Iterable[_Offer]:
    services = {service.name for service in deployment.services}
    for offer in offers:
        if (offer.part, offer.interface) in used_inside:
            continue
        if any(wanted_matches(entry, offer.interface) for entry in ENTRY_INTERFACES):
            continue
        functions = dict(offer.functions)
        if offer.interface == ROOT and offer.part in services:
            for name in (START, STOP):
                hook = functions.get(name)
                if hook is not None and not hook.params:
                    del functions[name]
        if functions:
            yield _Offer(offer.part, offer.interface, functions)


def _listed(expose: Iterable[str], offers: list[_Offer], faults: list[str]) -> Iterable[_Offer]:
    chosen: list[_Offer] = []
    for wanted in expose:
        if wanted.partition("@")[0] == HTTP_HANDLER:
            faults.append(
                f"expose: {wanted} takes requests over HTTP, which cannot be passed in calls; give "
                "the deployment a route under `http`"
            )
            continue
        found = [
            each for each in offers if each.interface and wanted_matches(wanted, each.interface)
        ]
        found += [
            _Offer(each.part, ROOT, {wanted: each.functions[wanted]})
            for each in offers
            if each.interface == ROOT and wanted in each.functions
        ]
        if not found:
            known = [each.interface for each in offers if each.interface]
            faults.append(
                f"expose: {wanted} is exported by no part{nearest(wanted, known)}, "
                f"exported are {', '.join(sorted(known)) or 'none'}"
            )
        chosen += [each for each in found if each not in chosen]
    return chosen


def _clash(offer: _Offer, other: _Offer) -> str:
    what = offer.interface or "functions at the root"
    return (
        f"expose: {what} is exported by {other.part} and {offer.part}; "
        "list under `expose` only what one part exports"
    )
