"""`lattice get hosts|deployments|replicas`: lists."""

from __future__ import annotations

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import own_labels, print_json, print_table, size_text
from lattice.cli.past import print_past
from lattice.cli.tainting import taint_word
from lattice.cli.verb_events import Moment
from lattice.client.views import DeploymentView, ReplicaList, reason_text

MACHINE_LABEL = "lattice.machine"
"""The label that hosts of one machine share."""


async def hosts_(*, labels: bool = False, at: Moment = None, options: Options = DEFAULT) -> None:
    """List the hosts of the lattice.

    Parameters
    ----------
    labels
        Show also the labels that every host carries (lattice.arch, lattice.os, ...).
    at
        As it was a while ago (such as 5m) or at a time (2026-01-31T12:00:00), by the event log.
    """
    if at is not None:
        await print_past("hosts", at, options)
        return
    async with client_of(options) as client:
        found = await client.hosts()
    if options.is_json:
        print_json({"hosts": found})
        return
    # Few lattices serve HTTP on all hosts; the others get no empty column.
    has_http = any(host.http for host in found)
    has_taints = any(host.taints for host in found)
    rows: list[tuple[object, ...]] = [
        (host.name, host.state, host.replicas, host.labels if labels else own_labels(host.labels),
         _cores(host.free.get("cpu_milli")), _memory(host.free.get("memory_bytes")),
         *((" ".join(host.http) or None,) if has_http else ()),
         *((", ".join(map(taint_word, host.taints)) or None,) if has_taints else ()),
         host.labels.get(MACHINE_LABEL),
         "-" if host.last_seen_s is None else f"{host.last_seen_s:.1f}s ago", host.id)
        for host in found
    ]  # fmt: skip
    http = ("http",) if has_http else ()
    taints = ("taints",) if has_taints else ()
    print_table(
        ("name", "state", "replicas", "labels", "free cpu", "free memory", *http, *taints,
         "machine", "seen", "id"),
        rows,
        empty="no hosts: start one with `lattice host`",
    )  # fmt: skip


async def deployments_(*, at: Moment = None, options: Options = DEFAULT) -> None:
    """List the deployments.

    Parameters
    ----------
    at
        As it was a while ago (such as 5m) or at a time (2026-01-31T12:00:00), by the event log.
    """
    if at is not None:
        await print_past("deployments", at, options)
        return
    async with client_of(options) as client:
        found = await client.deployments()
    if options.is_json:
        print_json({"deployments": found})
        return
    has_http = any(deployment.http for deployment in found)
    http = ("http",) if has_http else ()
    print_table(
        ("name", "generation", "replicas", *http, "labels", "revision"),
        [
            (
                d.name,
                d.generation,
                _many(d),
                *((" ".join(d.http) or None,) if has_http else ()),
                d.labels,
                d.revision,
            )
            for d in found
        ],
        empty="no deployments: submit one with `lattice apply -f FILE`",
    )


async def replicas_(
    deployment: str | None = None, /, *, at: Moment = None, options: Options = DEFAULT
) -> None:
    """List replicas, and what could not be placed.

    Parameters
    ----------
    deployment
        Only those of this deployment.
    at
        As it was a while ago (such as 5m) or at a time (2026-01-31T12:00:00), by the event log.
    """
    if at is not None:
        await print_past("replicas", at, options, deployment=deployment)
        return
    async with client_of(options) as client:
        found = await client.replicas(deployment)
    if options.is_json:
        print_json(found)
        return
    print_replicas(found)


def print_replicas(found: ReplicaList) -> None:
    """Print replicas as a table, those without a host at its end with the reasons."""
    # Few deployments have their fuel counted; the others get no column of zeros.
    is_metered = any(r.fuel for r in found.replicas)
    rows: list[tuple[object, ...]] = [
        (r.deployment, r.generation, r.host_name or r.host, r.state, r.calls,
         *((r.fuel,) if is_metered else ()), r.restarts, r.reason, r.replica)
        for r in found.replicas
    ]  # fmt: skip
    for left in found.unplaced:
        reasons = "; ".join(reason_text(reason) for reason in left.reasons)
        rows.append(
            (left.deployment, left.generation, None, "unplaced", None,
             *((None,) if is_metered else ()), None, reasons, f"{left.count} without a host")
        )  # fmt: skip
    fuel = ("fuel",) if is_metered else ()
    print_table(
        ("deployment", "generation", "host", "state", "calls", *fuel, "restarts", "reason",
         "replica"),
        rows,
        empty="no replicas",
    )  # fmt: skip


def _many(deployment: DeploymentView) -> str:
    """Return how many replicas are wanted, or what decides it."""
    is_counted = deployment.mode in ("", "replicas")
    many = str(deployment.replicas) if is_counted else deployment.mode
    return f"{many}, paused" if deployment.paused else many


def _cores(cpu_milli: object) -> str:
    return f"{cpu_milli / 1000:g}" if isinstance(cpu_milli, int) else "-"


def _memory(size_bytes: object) -> str:
    return size_text(size_bytes) if isinstance(size_bytes, int) else "-"
