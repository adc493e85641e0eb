"""Hypothesis strategies for what a deployment asks of the scheduler."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lattice.model.ids import DeploymentName
from lattice.model.labels import Selector
from lattice.model.manifest_scheduling_checks import contradiction
from lattice.model.scheduling import (
    Canary,
    Daemon,
    DeviceRequest,
    Job,
    Placement,
    Preference,
    Probe,
    Scale,
    Spread,
    Update,
)

KEYS = st.from_regex(r"[a-z]([a-z./-]{0,5}[a-z])?", fullmatch=True)
VALUES = st.from_regex(r"[a-zA-Z0-9.]([a-z =!<>]{0,4}[a-z])?", fullmatch=True)
SELECTORS = st.one_of(
    st.builds(Selector, KEYS, st.sampled_from(["in", "notin"]),
              st.lists(VALUES, min_size=1, max_size=3).map(tuple)),
    st.builds(Selector, KEYS, st.sampled_from(["exists", "absent"])),
    st.builds(Selector, KEYS, st.sampled_from(["<", ">"]),
              st.integers(-99, 99).map(lambda number: (str(number),))),
)  # fmt: skip
MET = st.lists(SELECTORS, max_size=3).map(tuple).filter(lambda many: not contradiction(many))
"""Selectors that some labels meet."""

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).map(DeploymentName)
EXPRESSIONS = st.sampled_from(["memory >= 8Gi", 'vendor == "acme"', "not software"])
DEVICES = st.builds(
    lambda share, count, **values: DeviceRequest(
        share_milli=share, count=0 if share else count, **values
    ),
    share=st.just(0) | st.integers(1, 1000),
    count=st.integers(1, 16),
    kind=st.sampled_from(["gpu", "npu"]),
    memory_bytes=st.integers(0, 1 << 40),
    is_exclusive=st.booleans(),
    require=st.just("") | EXPRESSIONS,
    prefer=st.lists(EXPRESSIONS, max_size=2).map(tuple),
    allows_software=st.booleans(),
)
WEIGHTS = st.integers(-100, 100).filter(bool)
PROBES = st.builds(
    lambda asked, **values: Probe(**asked, **values),
    st.sampled_from([{"export": "a:b/c@0.1.0#ping"}, {"export": "#ping"}, {"http": "/h?a=b"}]),
    every_s=st.floats(0.01, 3600.0),
    timeout_s=st.floats(0.01, 3600.0),
    failures_max=st.integers(1, 1000),
    delay_s=st.just(0.0) | st.floats(0.001, 3600.0),
)
UPDATES = st.builds(
    lambda strategy, surge, canary, **values: Update(
        strategy=strategy,
        surge_max=surge,
        unavailable_max=values.pop("unavailable") if surge else 1,
        canary=canary if strategy == "canary" else Canary(),
        **{key: value for key, value in values.items() if key != "unavailable"},
    ),
    strategy=st.sampled_from(["rolling", "canary", "recreate"]),
    surge=st.integers(0, 100_000),
    unavailable=st.integers(0, 100_000),
    canary=st.builds(
        Canary,
        weight_percent=st.integers(1, 99),
        hold_s=st.floats(0.001, 86400.0),
        errors_max_percent=st.none() | st.integers(0, 100),
        latency_max_s=st.none() | st.floats(0.001, 3600.0),
    ),
    ready_min_s=st.just(0.0) | st.floats(0.001, 1.0, exclude_max=True),
    progress_deadline_s=st.floats(1.0, 86400.0),
    reverts=st.booleans(),
)
SCALES = st.builds(
    lambda low, more, **values: Scale(minimum=low, maximum=max(1, low + more), **values),
    st.integers(0, 50_000),
    st.integers(0, 50_000),
    target=st.integers(1, 1_000_000),
    idle_s=st.floats(0.001, 86400.0),
)
JOBS = st.builds(
    Job,
    completions=st.integers(1, 100_000),
    parallelism=st.integers(1, 100_000),
    attempts=st.integers(1, 1_000_000),
    ttl_s=st.floats(0.001, 86400.0),
)


@st.composite
def placements(draw: st.DrawFn, own: str) -> Placement:
    """Return any placement of the deployment `own` that a manifest can describe."""
    others = NAMES.filter(lambda name: name != own)
    aims = st.one_of(
        MET.filter(bool).map(lambda labels: {"labels": labels}),
        st.builds(lambda name, key: {"near": name, "topology": key}, others, KEYS),
        others.map(lambda name: {"apart": name}),
    )
    neighbours = draw(st.lists(others, max_size=4, unique=True))
    split = draw(st.integers(0, len(neighbours)))
    priority = draw(st.integers(0, 1000))
    return Placement(
        require_labels=draw(MET),
        require_interfaces=draw(st.sampled_from([(), ("a:b/c", "d:e/f@0.1.0")])),
        cpu_milli=draw(st.integers(0, 1_024_000)),
        memory_bytes=draw(st.integers(0, 1 << 40)),
        slots=draw(st.integers(1, 1000)),
        devices=tuple(draw(st.lists(DEVICES, max_size=2))),
        prefer=tuple(
            Preference(weight=draw(WEIGHTS), **aim) for aim in draw(st.lists(aims, max_size=3))
        ),
        spread=tuple(
            Spread(
                key=key,
                max_skew=draw(st.integers(1, 1000)),
                is_hard=draw(st.booleans()),
                domains_min=draw(st.integers(0, 1000)),
            )
            for key in draw(st.lists(KEYS, max_size=2, unique=True))
        ),
        together=tuple(neighbours[:split]),
        apart=tuple(neighbours[split:]),
        per_host_max=draw(st.just(0) | st.integers(1000, 2000)),
        tolerate=tuple(
            selector
            for selector in draw(st.lists(SELECTORS, max_size=2))
            if selector.operator != "absent"
        ),
        priority=priority,
        preempt=draw(st.sampled_from(["never", "lower"])) if priority else "never",
        on_label_change=draw(st.sampled_from(["keep", "evict"])),
    )


@st.composite
def scheduling(draw: st.DrawFn, own: str, services: int) -> dict[str, Any]:
    """Return the fields of a deployment with so many services that steer the scheduler."""
    counts: list[st.SearchStrategy[dict[str, Any]]] = [
        st.integers(0, 100_000).map(lambda count: {"replicas": count}),
        st.integers(1, 1000).map(lambda count: {"daemon": Daemon(per_host=count)}),
        st.just({"is_singleton": True}),
        SCALES.map(lambda scale: {"scale": scale}),
    ]
    if services:
        counts.append(JOBS.map(lambda job: {"job": job}))
    fields = draw(st.one_of(counts))
    if "job" not in fields:
        fields = {**fields, "ready": draw(st.none() | PROBES), "live": draw(st.none() | PROBES)}
    return {
        **fields,
        "placement": draw(placements(own)),
        "update": draw(UPDATES),
        "lost_after_s": draw(st.none() | st.floats(0.5, 604_800.0)),
    }
