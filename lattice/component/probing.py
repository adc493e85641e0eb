"""Finds probes that no part of a workload can answer, and jobs that nothing of it can end.

Decides only; `hosts.probes` asks the probes. What a composed program does not export to its host
shows when a host prepares it.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.component.programs import run_interface
from lattice.component.resolution import Resolution
from lattice.component.types import ComponentType, Function
from lattice.model.deployment import Deployment
from lattice.model.scheduling import Probe
from lattice.model.wit import interface_fits


def probe_faults(
    deployment: Deployment, types: Mapping[str, ComponentType], resolution: Resolution
) -> list[str]:
    """Return what of the probes and the job of a deployment does not fit its parts.

    `types` are those of its parts, by name.
    """
    faults: list[str] = []
    for name, probe in (("ready", deployment.ready), ("live", deployment.live)):
        if probe is not None and (fault := _fault(probe, types, resolution)):
            faults.append(f"{name}.{'http' if probe.http else 'export'}: {fault}")
    if deployment.job is not None:
        services = [service.name for service in deployment.services]
        if not any(run_interface(types[name]) for name in services):
            faults.append(
                f"job: none of the services {', '.join(services)} exports wasi:cli/run, so none "
                "runs by itself and ends"
            )
    return faults


def _fault(probe: Probe, types: Mapping[str, ComponentType], resolution: Resolution) -> str:
    if probe.http:
        if resolution.http is None:
            return "no part answers requests over HTTP (none exports wasi:http/incoming-handler)"
        return ""
    found = _functions(probe.export, types)
    if not found:
        return f"no part exports {probe.export}, {_offered(types)}"
    if all(function.params for function in found):
        names = ", ".join(name for name, _ in found[0].params)
        return f"{probe.export} takes parameters ({names}), expected a function without any"
    return ""


def _functions(export: str, types: Mapping[str, ComponentType]) -> list[Function]:
    wanted, _, name = export.rpartition("#")
    return [
        interface.functions[name]
        for component in types.values()
        for offered, interface in component.exports.items()
        if name in interface.functions and interface_fits(wanted, offered)
    ]


def _offered(types: Mapping[str, ComponentType]) -> str:
    fitting = sorted(
        f"{offered}#{name}"
        for component in types.values()
        for offered, interface in component.exports.items()
        for name, function in interface.functions.items()
        if not function.params
    )
    if not fitting:
        return "and none exports a function without parameters"
    return f"functions without parameters are {', '.join(fitting[:10])}"
