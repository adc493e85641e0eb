"""Which part of a workload answers requests over HTTP, and what keeps one from it."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.component.resolution import COMPOSED, HttpPart
from lattice.component.types import ComponentType, Function, Interface
from lattice.component.wiring import resolve
from lattice.errors import InvalidError
from lattice.model.deployment import Component, Deployment, Service
from lattice.model.http import HttpAddress
from lattice.model.ids import DeploymentName

HANDLER = "wasi:http/incoming-handler@0.2.3"
OTHER_PATCH = "wasi:http/incoming-handler@0.2.0"
TYPES = "wasi:http/types@0.2.3"
OUTGOING = "wasi:http/outgoing-handler@0.2.3"


def part(imports: tuple[str, ...] = (), exports: tuple[str, ...] = ()) -> ComponentType:
    def named(names: tuple[str, ...]) -> dict[str, Interface]:
        return {name: Interface(name=name, functions={"handle": Function()}) for name in names}

    return ComponentType(imports=named(imports), exports=named(exports))


WEB = part((TYPES, OUTGOING), (HANDLER,))
MIDDLEWARE = part((TYPES, OTHER_PATCH), (HANDLER,))
NONE = part(exports=("test:a/b",))


def answering(
    components: dict[str, ComponentType],
    services: dict[str, ComponentType] | None = None,
    *,
    component: str = "",
    has_route: bool = True,
    **fields: Any,
) -> HttpPart | None:
    deployment = Deployment(
        name=DeploymentName("web"),
        components=tuple(Component(name=name, image="a.wasm") for name in components),
        services=tuple(Service(name=name, image="a.wasm") for name in services or {}),
        http=(HttpAddress(component=component),) if has_route else (),
        **fields,
    )
    return resolve(deployment, components | (services or {})).http


def fault_of(*args: Any, **fields: Any) -> str:
    with pytest.raises(InvalidError) as refused:
        answering(*args, **fields)
    [fault] = refused.value.faults
    return fault


def test_the_one_part_that_exports_the_handler_answers():
    assert answering({"a": NONE, "web": WEB}) == HttpPart(part="web", program=COMPOSED)
    assert answering({"a": NONE}, {"web": WEB}) == HttpPart(part="web", program="web")


def test_it_can_answer_without_a_route_too():
    assert answering({"web": WEB}, has_route=False) == HttpPart(part="web", program=COMPOSED)


def test_who_is_asked_by_another_part_stands_behind_it():
    parts = {"web": WEB, "auth": MIDDLEWARE}
    assert answering(parts) == HttpPart(part="auth", program=COMPOSED)


def test_of_several_the_manifest_names_one():
    parts = {"a": WEB, "b": WEB}
    assert answering(parts, component="b") == HttpPart(part="b", program=COMPOSED)
    assert fault_of(parts) == (
        "http: a, b export wasi:http/incoming-handler@0.2; name the one that answers under "
        "`component`"
    )


def test_several_are_no_fault_without_a_route():
    assert answering({"a": WEB, "b": WEB}, has_route=False) is None


@pytest.mark.parametrize(
    ("parts", "component", "fault"),
    [
        ({"a": NONE}, "", "no part exports wasi:http/incoming-handler@0.2, so none can answer"),
        (
            {"a": NONE, "web": WEB},
            "a",
            "a does not export wasi:http/incoming-handler@0.2, which web does",
        ),
        (
            {"web": WEB, "auth": MIDDLEWARE},
            "web",
            "web answers another part of the workload; name one that none asks",
        ),
    ],
)
def test_a_part_that_cannot_answer_is_told(
    parts: dict[str, ComponentType], component: str, fault: str
):
    assert fault_of(parts, component=component) == f"http: {fault}"


def test_the_handler_is_not_among_the_functions_that_are_exposed():
    fault = fault_of({"web": WEB}, expose=("wasi:http/incoming-handler@0.2.3",))
    assert fault == (
        "expose: wasi:http/incoming-handler@0.2.3 takes requests over HTTP, which cannot be passed "
        "in calls; give the deployment a route under `http`"
    )
