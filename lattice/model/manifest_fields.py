"""The fields of a manifest: names, kinds, bounds and descriptions, in the order of the document.

Only what this release carries out is here. `later` holds what the manifest page describes beyond
that: such a field is refused by name, never ignored. Defaults stand in `lattice.model.deployment`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields

from lattice.errors import InvalidError
from lattice.model import quantity
from lattice.model.deployment import (
    Binding,
    Component,
    Deployment,
    File,
    Instances,
    Limits,
    Link,
    Restart,
    RestartPolicy,
    Service,
    Wire,
)
from lattice.model.ids import NAME_LENGTH_MAX, DeploymentName, digest_fault, name_fault
from lattice.model.labels import (
    KEY_LENGTH_MAX,
    VALUE_LENGTH_MAX,
    Selector,
    key_fault,
    parse_selector,
)
from lattice.model.manifest_http import HTTP
from lattice.model.manifest_mounts import MOUNT_FIELDS
from lattice.model.manifest_network import NETWORK
from lattice.model.scalar import Choice, Integer, Quantity, Text
from lattice.model.scheduling import Placement
from lattice.model.schema import Field, ListOf, MapOf, Object

VERSION, KIND = "v1", "Deployment"
"""The values of `lattice` and `kind` in every manifest that this release reads."""

REPLICAS_MAX = 100_000
"""Replicas of one deployment: what the scheduler is built and tested for."""

SERVICES_MAX = 16
"""Services of one workload: each lives in every replica, so a workload has a few at most."""

FUEL_MAX = 1_000_000_000_000_000
"""Fuel of one call: about a week of computing, and every JSON parser reads the number exactly."""

_KIB, _GIB = 1 << 10, 1 << 30
_RESTART, _PLACEMENT = Restart(), Placement()

_LABEL_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9._/\-]*[A-Za-z0-9])?"
_NAME_PATTERN = r"[a-z0-9]([a-z0-9\-]*[a-z0-9])?"
_ENV_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
_CONFIG_PATTERN = r"[!-~]+"
_INTERFACE_PATTERN = r"[a-z0-9\-]+(:[a-z0-9\-]+)+(/[a-z0-9\-]+)+(@[0-9A-Za-z.+\-]+)?"


def _matches(pattern: str, wanted: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern)

    def fault(text: str) -> str | None:
        return None if compiled.fullmatch(text) else f"{text!r} is not {wanted}"

    return fault


def _artifact_fault(text: str) -> str | None:
    if not text or text != text.strip() or not text.isprintable():
        return f"{text!r} is neither a path nor 'sha256:...'"
    if text.startswith("oci://"):
        return "OCI registries are known but not supported by this release; give a path"
    return digest_fault(text) if text.startswith("sha256:") else None


def _backoff_fault(pair: tuple[float, float]) -> str | None:
    low, high = (quantity.format_duration(bound) for bound in pair)
    return None if pair[0] <= pair[1] else f"expected [min, max], found [{low}, {high}]"


def _selector_text(selector: Selector) -> str:
    # `key = value` cannot carry every value that `key in (value)` can, for example one with spaces.
    text = str(selector)
    if selector.operator not in {"in", "notin"}:
        return text
    try:
        is_same = parse_selector(text) == selector
    except InvalidError:
        is_same = False
    return text if is_same else f"{selector.key} {selector.operator} ({', '.join(selector.values)})"


def _duration(maximum_s: float) -> Quantity:
    return Quantity(
        parse=quantity.parse_duration,
        format=quantity.format_duration,
        pattern=quantity.DURATION_PATTERN,
        minimum=0.001,
        maximum=maximum_s,
    )


def _size(minimum: int, maximum: int) -> Quantity:
    return Quantity(
        parse=quantity.parse_size,
        format=quantity.format_size,
        pattern=quantity.SIZE_PATTERN,
        minimum=minimum,
        maximum=maximum,
        plain="integer",
    )


_CPU = Quantity(
    parse=quantity.parse_cpu,
    format=quantity.format_cpu,
    pattern=quantity.CPU_PATTERN,
    minimum=0,
    maximum=1_024_000,
    plain="number",
)
_NAME = Text(pattern=_NAME_PATTERN, length_max=NAME_LENGTH_MAX, check=name_fault)
_ARTIFACT = Text(pattern=r"(?!oci://|sha256:)\S(.*\S)?|sha256:[0-9a-f]{64}", check=_artifact_fault)
_INTERFACE = Text(
    pattern=_INTERFACE_PATTERN,
    length_max=256,
    check=_matches(_INTERFACE_PATTERN, "an interface, expected namespace:package/name[@version]"),
)
_ENV = MapOf(
    key=Text(
        pattern=_ENV_PATTERN,
        length_max=256,
        check=_matches(_ENV_PATTERN, "an environment name: letters, digits, '_', no digit first"),
    ),
    value=Text(length_max=32_768),
)
_CONFIG = MapOf(
    key=Text(
        pattern=_CONFIG_PATTERN,
        length_max=256,
        check=_matches(_CONFIG_PATTERN, "a configuration key: printable ASCII without spaces"),
    ),
    value=Text(length_max=65_536),
)
_LABELS = MapOf(
    key=Text(pattern=_LABEL_PATTERN, length_max=KEY_LENGTH_MAX, check=key_fault),
    value=Text(length_max=VALUE_LENGTH_MAX),
    maximum=64,
)
_SELECTORS = ListOf(item=Text(length_max=1024, parse=parse_selector, format=_selector_text))

_LIMITS = Object(
    make=Limits,
    blank=Limits(),
    fields=(
        Field("memory", _size(64 * _KIB, 64 * _GIB), "memory of one instance", "memory_bytes"),
        Field("deadline", _duration(86_400), "time that one call may take", "deadline_s"),
        Field("concurrency", Integer(minimum=1, maximum=10_000), "calls at once in one replica"),
        Field("queue", Integer(minimum=0, maximum=100_000), "calls that wait in one replica"),
        Field("fuel", Integer(minimum=0, maximum=FUEL_MAX), "instructions that one call may run"),
    ),
)
_PART_FIELDS = (
    Field("name", _NAME, "unique among components and services", is_required=True),
    Field("image", _ARTIFACT, "path of a component, or 'sha256:...'", is_required=True),
    Field("limits", _LIMITS, "what an instance may use"),
    Field("env", _ENV, "environment variables of the guest"),
    Field("config", _CONFIG, "what wasi:config tells the guest"),
    Field("network", NETWORK, "what it may reach on the network; nothing without it"),
    *MOUNT_FIELDS,
)
_INSTANCES = Object(
    make=Instances,
    blank=Instances(),
    fields=(
        Field("mode", Choice(options=("fresh", "reuse")), "one call for each instance, or several"),
        Field(
            "maxInvocations",
            Integer(minimum=1, maximum=1_000_000_000),
            "calls that a reused instance takes",
            "invocations_max",
        ),
        Field("idle", _duration(86_400), "time without a call until one is closed", "idle_s"),
        Field("ready", Integer(minimum=0, maximum=64), "instances made ahead of calls"),
    ),
)
_COMPONENT = Object(
    make=Component,
    blank=Component(name="", image=""),
    fields=(
        *_PART_FIELDS,
        Field(
            "compose",
            Choice(options=("eager", "lazy")),
            "eager: merged into the workload's program; lazy: loaded at its first call",
        ),
        Field("instances", _INSTANCES, "how instances are kept"),
    ),
)


def _make_restart(
    policy: RestartPolicy = _RESTART.policy,
    backoff: tuple[float, float] = (_RESTART.backoff_min_s, _RESTART.backoff_max_s),
    attempts: int = _RESTART.attempts,
) -> Restart:
    return Restart(
        policy=policy, backoff_min_s=backoff[0], backoff_max_s=backoff[1], attempts=attempts
    )


def _take_restart(restart: Restart) -> Mapping[str, object]:
    backoff = (restart.backoff_min_s, restart.backoff_max_s)
    return {"policy": restart.policy, "backoff": backoff, "attempts": restart.attempts}


_RESTART_POLICY = Object(
    make=_make_restart,
    take=_take_restart,
    blank=_RESTART,
    fields=(
        Field(
            "policy",
            Choice(options=("always", "on-failure", "never")),
            "after which ends it is restarted",
        ),
        Field(
            "backoff",
            ListOf(item=_duration(3600), minimum=2, maximum=2, check=_backoff_fault),
            "[min, max] wait before a restart; it doubles from min to max",
        ),
        Field(
            "max",
            Integer(minimum=0, maximum=1_000_000),
            "restarts after failures in a row until the replica fails",
            "attempts",
        ),
    ),
)
_SERVICE = Object(
    make=Service,
    blank=Service(name="", image=""),
    fields=(
        *_PART_FIELDS,
        Field("restart", _RESTART_POLICY, "how it comes back when it ended"),
        Field("files", ListOf(item=_NAME), "names of `files` that it sees under /files"),
    ),
    later={"instances": "a service is one instance"},
)
_FILE = Object(
    make=File,
    blank=File(name="", source=""),
    fields=(
        Field("name", _NAME, "unique; the guest sees /files/<name>", is_required=True),
        Field("source", _ARTIFACT, "path of the file, or 'sha256:...'", is_required=True),
    ),
)
_WIRE = Object(
    make=Wire,
    blank=Wire(part="", interface="", to=""),
    fields=(
        Field("component", _NAME, "component or service that imports", "part", is_required=True),
        Field("import", _INTERFACE, "interface that it imports", "interface", is_required=True),
        Field("to", _NAME, "component or service that exports it", is_required=True),
    ),
)
_LINK = Object(
    make=Link,
    blank=Link(interface="", to=DeploymentName("")),
    fields=(
        Field("import", _INTERFACE, "interface that is imported", "interface", is_required=True),
        Field("to", _NAME, "deployment that exports it", is_required=True),
        Field(
            "route",
            Choice(
                options=("auto", "local", "remote"),
                later={"durable": "route 'durable' arrives with durable jobs"},
            ),
            "how calls travel; auto is local on a shared host",
        ),
        Field("timeout", _duration(3600), "time until a call fails", "timeout_s"),
    ),
    later={"retry": "retries by the link; the caller retries"},
)
_BINDING = Object(
    make=Binding,
    blank=Binding(interface=""),
    fields=(
        Field("name", _NAME, "tells several bindings of one interface apart"),
        Field("interface", _INTERFACE, "interface that the host provides", is_required=True),
        Field("config", _CONFIG, "settings of the capability"),
    ),
    later={
        "backend": "a choice of backends; the host chooses",
        "require": "requirements on the backend",
    },
)


def _make_placement(require: Placement = _PLACEMENT) -> Placement:
    return require


def _take_placement(placement: Placement) -> Mapping[str, object]:
    return {"require": placement}


_REQUIRE = Object(
    make=Placement,
    blank=_PLACEMENT,
    fields=(
        Field("labels", _SELECTORS, "selectors that the host's labels meet", "require_labels"),
        Field("cpu", _CPU, "cores that a replica takes", "cpu_milli"),
        Field("memory", _size(0, 16 * 1024 * _GIB), "memory that a replica takes", "memory_bytes"),
    ),
    later={"devices": "devices"},
)
_PLACE = Object(
    make=_make_placement,
    take=_take_placement,
    blank=_PLACEMENT,
    fields=(Field("require", _REQUIRE, "what a host must have"),),
    later={
        "prefer": "preferences; state what is needed under `require`",
        "spread": "spreading over labels",
        "tolerate": "taints and tolerations",
        "priority": "priorities and preemption",
    },
)


def _take_deployment(deployment: Deployment) -> Mapping[str, object]:
    values: dict[str, object] = {"lattice": VERSION, "kind": KIND}
    return values | {each.name: getattr(deployment, each.name) for each in fields(deployment)}


DEPLOYMENT = Object(
    # The reader allows one version and one kind, so the model need not hold them.
    make=lambda lattice, kind=KIND, **values: Deployment(**values),
    take=_take_deployment,
    blank=Deployment(name=DeploymentName("")),
    fields=(
        Field("lattice", Choice(options=(VERSION,)), "version of the format", is_required=True),
        Field("kind", Choice(options=(KIND,)), "what the document describes"),
        Field("name", _NAME, "name of the deployment in its lattice", is_required=True),
        Field("labels", _LABELS, "labels of the deployment, for people"),
        Field("replicas", Integer(minimum=0, maximum=REPLICAS_MAX), "replicas that should run"),
        Field("components", ListOf(item=_COMPONENT), "stateless parts"),
        Field("services", ListOf(item=_SERVICE, maximum=SERVICES_MAX), "parts with state"),
        Field("files", ListOf(item=_FILE), "data that services start from"),
        Field("wiring", ListOf(item=_WIRE, maximum=256), "imports that names do not decide"),
        Field(
            "expose",
            ListOf(item=_INTERFACE, maximum=256),
            "interfaces callable from outside; without it, every export that no part imports",
        ),
        Field("http", HTTP, "requests over HTTP that it answers, by host and path"),
        Field(
            "httpRoute",
            Choice(options=("auto", "remote")),
            "how requests from and to other deployments travel; auto is in memory on a shared host",
            "http_route",
        ),
        Field("links", ListOf(item=_LINK), "imports from other deployments"),
        Field("bindings", ListOf(item=_BINDING), "imports from the host"),
        Field("placement", _PLACE, "where replicas may run"),
    ),
    later={
        "daemon": "one replica for each host; give `replicas`",
        "singleton": "strict singletons; `replicas: 1` is the nearest",
        "scale": "scaling by load; give `replicas`",
        "job": "workloads that end; give `replicas`",
        "ready": "readiness checks; a service is ready when its `start` returned",
        "update": "rolling updates",
    },
)
