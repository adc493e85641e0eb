"""The fields of a manifest that say how many replicas there are, when one is ready, how new ones
replace old ones.

What several of them say together is checked in `manifest_scheduling_checks`.
"""

from __future__ import annotations

import re

from lattice.model.manifest_values import DAY_S, INTERFACE_PATTERN, duration
from lattice.model.scalar import Choice, Flag, Integer, Text
from lattice.model.scheduling import Canary, Daemon, Job, Probe, Scale, Update
from lattice.model.schema import Field, Object

REPLICAS_MAX = 100_000
"""Replicas of one deployment: what the scheduler is built and tested for."""

PER_HOST_MAX = 1000
"""Replicas of one daemon on one host: the slots of a host."""

ATTEMPTS_MAX = 1_000_000
"""Failures of one job: each is counted before the next one starts."""

WEEK_S = 7 * DAY_S

_EXPORT_PATTERN = rf"({INTERFACE_PATTERN})?#[a-z][a-z0-9\-]*"
_PATH_PATTERN = r"/[!-~]*"


def _export_fault(text: str) -> str | None:
    if re.fullmatch(_EXPORT_PATTERN, text):
        return None
    return f"{text!r} names no function, expected interface#function, or #function at the root"


def _path_fault(text: str) -> str | None:
    if re.fullmatch(_PATH_PATTERN, text) and "#" not in text:
        return None
    return f"{text!r} is no path of a request, expected for example /healthz"


DAEMON = Object(
    make=Daemon,
    blank=Daemon(),
    fields=(
        Field("perHost", Integer(minimum=1, maximum=PER_HOST_MAX), "replicas on each", "per_host"),
    ),
)
SCALE = Object(
    make=Scale,
    blank=Scale(),
    fields=(
        Field("min", Integer(minimum=0, maximum=REPLICAS_MAX), "replicas at least", "minimum"),
        Field(
            "max",
            Integer(minimum=1, maximum=REPLICAS_MAX),
            "replicas at most",
            "maximum",
            is_required=True,
        ),
        Field(
            "on",
            Choice(options=("concurrency", "queue")),
            "what is counted: calls at work or waiting, or durable jobs that are not done",
        ),
        Field("target", Integer(minimum=1, maximum=1_000_000), "of them for each replica"),
        Field("idle", duration(DAY_S), "time without a call until it falls to `min`", "idle_s"),
    ),
)
JOB = Object(
    make=Job,
    blank=Job(),
    fields=(
        Field("completions", Integer(minimum=1, maximum=REPLICAS_MAX), "replicas that succeed"),
        Field("parallelism", Integer(minimum=1, maximum=REPLICAS_MAX), "replicas at once"),
        Field(
            "attempts", Integer(minimum=1, maximum=ATTEMPTS_MAX), "failures until the job failed"
        ),
        Field("ttl", duration(52 * WEEK_S), "time until it is deleted after its end", "ttl_s"),
    ),
)
PROBE = Object(
    make=Probe,
    blank=Probe(),
    fields=(
        Field(
            "export",
            Text(pattern=_EXPORT_PATTERN, length_max=512, check=_export_fault),
            "function without parameters: interface#function",
        ),
        Field(
            "http",
            Text(pattern=_PATH_PATTERN, length_max=2048, check=_path_fault),
            "path of a GET, in place of `export`",
        ),
        Field("every", duration(3600, minimum_s=0.01), "time between two", "every_s"),
        Field("timeout", duration(3600, minimum_s=0.01), "time that one may take", "timeout_s"),
        Field(
            "failures",
            Integer(minimum=1, maximum=1000),
            "in a row until the answer is no",
            "failures_max",
        ),
        Field("delay", duration(3600, minimum_s=0), "time before the first", "delay_s"),
    ),
)
_CANARY = Object(
    make=Canary,
    blank=Canary(),
    fields=(
        Field("weight", Integer(minimum=1, maximum=99), "percent of the calls", "weight_percent"),
        Field("hold", duration(DAY_S), "time that it must do well", "hold_s"),
        Field(
            "maxErrors",
            Integer(minimum=0, maximum=100),
            "percent of its calls that may fail",
            "errors_max_percent",
        ),
        Field(
            "maxLatency", duration(3600), "time that its calls may take on average",
            "latency_max_s",
        ),
    ),
)  # fmt: skip
UPDATE = Object(
    make=Update,
    blank=Update(),
    fields=(
        Field(
            "strategy",
            Choice(options=("rolling", "canary", "recreate")),
            "one after the other, after a first one did well, or the old ones end first",
        ),
        Field(
            "maxUnavailable",
            Integer(minimum=0, maximum=REPLICAS_MAX),
            "replicas fewer than wanted",
            "unavailable_max",
        ),
        Field(
            "maxSurge",
            Integer(minimum=0, maximum=REPLICAS_MAX),
            "replicas more than wanted",
            "surge_max",
        ),
        Field(
            "minReady",
            duration(DAY_S, minimum_s=0),
            "time that a new replica is ready before it counts",
            "ready_min_s",
        ),
        Field(
            "progressDeadline",
            duration(DAY_S, minimum_s=1),
            "time without progress until the generation is given up",
            "progress_deadline_s",
        ),
        Field("autoRevert", Flag(), "then the last good generation returns", "reverts"),
        Field("canary", _CANARY, "what the first replica must prove"),
    ),
)
LOST_AFTER = duration(WEEK_S, minimum_s=0.5)

SCHEDULING_FIELDS = (
    Field("daemon", DAEMON, "replicas on every host that can take them"),
    Field("singleton", Flag(), "one replica, never two that take calls at once", "is_singleton"),
    Field("scale", SCALE, "as many replicas as the load asks for"),
    Field("job", JOB, "replicas of a process that end, until enough succeeded"),
)
"""The fields of which at most one is given, or `replicas`."""
