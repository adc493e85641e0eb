"""Probes that nothing can answer, and jobs that nothing can end, are found at submission."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.component.probing import probe_faults
from lattice.component.resolution import HttpPart, Resolution
from lattice.component.types import ComponentType, Function, Interface, Primitive
from lattice.model.deployment import Component, Deployment, Service
from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Job, Probe

TEXT = Primitive("string")


def exporting(**functions: Function) -> ComponentType:
    """A component that exports `docs:search/query@0.1.0` with these functions."""
    name = "docs:search/query@0.1.0"
    return ComponentType(exports={name: Interface(name=name, functions=functions)})


def faults(component: ComponentType, *, answers_http: bool = False, **fields: Any) -> list[str]:
    deployment = Deployment(
        name=DeploymentName("d"), components=(Component(name="c", image="c"),), **fields
    )
    http = HttpPart(part="c", program="c") if answers_http else None
    types = {"c": component, **{service.name: component for service in deployment.services}}
    return probe_faults(deployment, types, Resolution(http=http))


@pytest.mark.parametrize("export", ["docs:search/query@0.1.0#ping", "docs:search/query#ping"])
def test_a_function_without_parameters_can_be_asked_with_or_without_version(export: str) -> None:
    assert faults(exporting(ping=Function()), ready=Probe(export=export)) == []


def test_a_function_that_nobody_exports_is_told_with_those_that_could_be_asked() -> None:
    component = exporting(ping=Function(), find=Function(params=(("text", TEXT),)))
    assert faults(component, live=Probe(export="docs:search/query#pong")) == [
        (
            "live.export: no part exports docs:search/query#pong, functions without parameters are "
            "docs:search/query@0.1.0#ping"
        )
    ]


def test_a_function_with_parameters_cannot_be_asked() -> None:
    component = exporting(find=Function(params=(("text", TEXT),)))
    assert faults(component, ready=Probe(export="docs:search/query#find")) == [
        (
            "ready.export: docs:search/query#find takes parameters (text), expected a function "
            "without any"
        )
    ]


def test_a_get_needs_a_part_that_answers_http() -> None:
    assert faults(exporting(), answers_http=True, ready=Probe(http="/")) == []
    (fault,) = faults(exporting(), ready=Probe(http="/"))
    assert fault.startswith("ready.http: no part answers requests over HTTP")


def test_a_job_needs_a_service_that_runs_by_itself() -> None:
    services = (Service(name="s", image="s"),)
    (fault,) = faults(exporting(ping=Function()), job=Job(), services=services)
    assert fault.startswith("job: none of the services s exports wasi:cli/run")
    run = "wasi:cli/run@0.2.3"
    process = ComponentType(exports={run: Interface(name=run, functions={"run": Function()})})
    assert faults(process, job=Job(), services=services) == []
