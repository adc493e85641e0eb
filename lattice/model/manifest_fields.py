"""The fields of a manifest: names, kinds, bounds and descriptions, in the order of the document.

Only what this release carries out is here. `later` holds what the manifest page describes beyond
that: such a field is refused by name, never ignored. Defaults stand in `lattice.model.deployment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

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
from lattice.model.ids import DeploymentName, digest_fault
from lattice.model.manifest_http import HTTP
from lattice.model.manifest_mounts import MOUNT_FIELDS
from lattice.model.manifest_network import NETWORK
from lattice.model.manifest_placement import PLACEMENT
from lattice.model.manifest_scheduling import (
    LOST_AFTER,
    PROBE,
    REPLICAS_MAX,
    SCHEDULING_FIELDS,
    UPDATE,
)
from lattice.model.manifest_values import (
    DAY_S,
    GIB,
    INTERFACE,
    KIB,
    LABELS,
    NAME,
    duration,
    matches,
    size,
)
from lattice.model.scalar import Choice, Integer, Text
from lattice.model.schema import Field, ListOf, MapOf, Object

VERSION, KIND = "v1", "Deployment"
"""The values of `lattice` and `kind` in every manifest that this release reads."""

SERVICES_MAX = 16
"""Services of one workload: each lives in every replica, so a workload has a few at most."""

FUEL_MAX = 1_000_000_000_000_000
"""Fuel of one call: about a week of computing, and every JSON parser reads the number exactly."""

_RESTART = Restart()

_ENV_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
_CONFIG_PATTERN = r"[!-~]+"


def _artifact_fault(text: str) -> str | None:
    if not text or text != text.strip() or not text.isprintable():
        return f"{text!r} is neither a path nor 'sha256:...'"
    if text.startswith("oci://"):
        return "OCI registries are known but not supported by this release; give a path"
    return digest_fault(text) if text.startswith("sha256:") else None


def _backoff_fault(pair: tuple[float, float]) -> str | None:
    low, high = (quantity.format_duration(bound) for bound in pair)
    return None if pair[0] <= pair[1] else f"expected [min, max], found [{low}, {high}]"


_ARTIFACT = Text(pattern=r"(?!oci://|sha256:)\S(.*\S)?|sha256:[0-9a-f]{64}", check=_artifact_fault)
_ENV = MapOf(
    key=Text(
        pattern=_ENV_PATTERN,
        length_max=256,
        check=matches(_ENV_PATTERN, "an environment name: letters, digits, '_', no digit first"),
    ),
    value=Text(length_max=32_768),
)
_CONFIG = MapOf(
    key=Text(
        pattern=_CONFIG_PATTERN,
        length_max=256,
        check=matches(_CONFIG_PATTERN, "a configuration key: printable ASCII without spaces"),
    ),
    value=Text(length_max=65_536),
)
_LIMITS = Object(
    make=Limits,
    blank=Limits(),
    fields=(
        Field("memory", size(64 * KIB, 64 * GIB), "memory of one instance", "memory_bytes"),
        Field("deadline", duration(DAY_S), "time that one call may take", "deadline_s"),
        Field("concurrency", Integer(minimum=1, maximum=10_000), "calls at once in one replica"),
        Field("queue", Integer(minimum=0, maximum=100_000), "calls that wait in one replica"),
        Field("fuel", Integer(minimum=0, maximum=FUEL_MAX), "instructions that one call may run"),
    ),
)
_PART_FIELDS = (
    Field("name", NAME, "unique among components and services", is_required=True),
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
        Field("idle", duration(DAY_S), "time without a call until one is closed", "idle_s"),
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
            ListOf(item=duration(3600), minimum=2, maximum=2, check=_backoff_fault),
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
        Field("files", ListOf(item=NAME), "names of `files` that it sees under /files"),
    ),
    later={"instances": "a service is one instance"},
)
_FILE = Object(
    make=File,
    blank=File(name="", source=""),
    fields=(
        Field("name", NAME, "unique; the guest sees /files/<name>", is_required=True),
        Field("source", _ARTIFACT, "path of the file, or 'sha256:...'", is_required=True),
    ),
)
_WIRE = Object(
    make=Wire,
    blank=Wire(part="", interface="", to=""),
    fields=(
        Field("component", NAME, "component or service that imports", "part", is_required=True),
        Field("import", INTERFACE, "interface that it imports", "interface", is_required=True),
        Field("to", NAME, "component or service that exports it", is_required=True),
    ),
)
_LINK = Object(
    make=Link,
    blank=Link(interface="", to=DeploymentName("")),
    fields=(
        Field("import", INTERFACE, "interface that is imported", "interface", is_required=True),
        Field("to", NAME, "deployment that exports it", is_required=True),
        Field(
            "route",
            Choice(options=("auto", "local", "remote", "durable")),
            "how calls travel; auto is local on a shared host, durable a stored job",
        ),
        Field("timeout", duration(3600), "time until a call fails", "timeout_s"),
    ),
    later={"retry": "retries by the link; the caller retries"},
)
_BINDING = Object(
    make=Binding,
    blank=Binding(interface=""),
    fields=(
        Field("name", NAME, "tells several bindings of one interface apart"),
        Field("interface", INTERFACE, "interface that the host provides", is_required=True),
        Field("config", _CONFIG, "settings of the capability"),
    ),
    later={
        "backend": "a choice of backends; the host chooses",
        "require": "requirements on the backend",
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
        Field("name", NAME, "name of the deployment in its lattice", is_required=True),
        Field("labels", LABELS, "labels of the deployment, for people"),
        Field("replicas", Integer(minimum=0, maximum=REPLICAS_MAX), "replicas that should run"),
        *SCHEDULING_FIELDS,
        Field("components", ListOf(item=_COMPONENT), "stateless parts"),
        Field("services", ListOf(item=_SERVICE, maximum=SERVICES_MAX), "parts with state"),
        Field("files", ListOf(item=_FILE), "data that services start from"),
        Field("wiring", ListOf(item=_WIRE, maximum=256), "imports that names do not decide"),
        Field(
            "expose",
            ListOf(item=INTERFACE, maximum=256),
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
        Field("ready", PROBE, "whether a replica can take calls"),
        Field("live", PROBE, "whether a replica must be started again"),
        Field("placement", PLACEMENT, "where replicas may run, and where they had better"),
        Field("update", UPDATE, "how a new generation replaces the one before"),
        Field(
            "lostAfter",
            LOST_AFTER,
            "silence of a host until its replicas move; without it, the lattice's",
            "lost_after_s",
        ),
    ),
)
