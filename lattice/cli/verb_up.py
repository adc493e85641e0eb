"""`lattice up`: a whole lattice on this machine in one command.

NATS runs as a child of this process, the scheduler and each host as processes of their own, so
that any of them can be killed as a machine can. This module only says what is started; `crew`
starts, watches and ends it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from lattice.cli import exits
from lattice.cli.crew import Crew, HostPlan, Ports, SchedulerPlan
from lattice.cli.granting import GrantWords, grant_options
from lattice.cli.options import DEFAULT, LabelWords, Options, label_pairs
from lattice.cli.output import print_json_line, text_of
from lattice.cli.process import log_to_stderr, run_until_stopped, state_directory
from lattice.config import DEFAULT_LATTICE, VARIABLES, Settings, read_file
from lattice.errors import InvalidError, UnavailableError

HOSTS_MAX = 64
"""Hosts of one machine: each is a process; more of them test nothing that fewer do not."""

SCHEDULERS_MAX = 5
"""Schedulers of one lattice: one works, and no more than a few need to stand by."""

_OWN_NATS = ("nats", "creds", "nkey", "tls-ca", "tls-cert", "tls-key")


def split_host_labels(words: Sequence[str]) -> dict[int, dict[str, str]]:
    """Return the labels of single hosts by their number, from words such as `2:zone=us`.

    Raises:
        ValueError: a word has no number in front, or no label behind.
    """
    found: dict[int, dict[str, str]] = {}
    for word in words:
        number, colon, label = word.partition(":")
        if not colon or not number.isdigit() or int(number) < 1:
            message = f"{word!r} is no label of a host, expected for example 2:zone=us"
            raise ValueError(message)
        found.setdefault(int(number), {}).update(label_pairs([label]))
    return found


def _check_host_labels(_: object, words: Sequence[str] | None) -> None:
    split_host_labels(words or ())


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The hosts to start."""

    hosts: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=HOSTS_MAX))] = 1
    """How many hosts to start."""

    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=HOSTS_MAX))] = 1
    """How many processes each of them consists of, as of `lattice host`."""

    label: LabelWords | None = None
    """Label of every host, such as zone=eu; may be repeated."""

    host_label: Annotated[list[str] | None, Parameter(validator=_check_host_labels)] = None
    """Label of one host, such as 2:zone=us; hosts count from 1; may be repeated."""

    grant_directory: GrantWords | None = None
    """Directory that manifests may name under `directories`; may be repeated."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """The schedulers to start."""

    schedulers: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=SCHEDULERS_MAX))
    ] = 1
    """How many schedulers to start: one is active, the others stand by."""

    profile: Literal["default", "fast"] = "default"
    """How soon what is silent counts as lost, as of `lattice scheduler`."""


ONE_SCHEDULER = Lead()
"""Enough on one machine."""

ONE_HOST = Fleet()
"""What is started unless somebody says otherwise."""


async def up_(
    *,
    fleet: Fleet = ONE_HOST,
    lead: Lead = ONE_SCHEDULER,
    dir: Annotated[Path | None, Parameter(name="--dir")] = None,
    port: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=65535))] = None,
    http: Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65535))] = None,
    restart: bool = False,
    authorize: list[str] | None = None,
    options: Options = DEFAULT,
) -> int:
    """Run a whole lattice on this machine: NATS, scheduler and hosts.

    The settings to reach it are saved as a context named after the lattice, which becomes the
    current one, so that other commands find it without options. Ctrl-C or SIGTERM ends all of it
    within ten seconds: hosts first, then the scheduler, then NATS; what was deployed is there
    again at the next start in the same directory.

    Parameters
    ----------
    fleet
        The hosts to start.
    lead
        The schedulers to start.
    dir
        Where everything is kept; one directory holds one lattice.
    port
        Port of NATS on the loopback address; the last one or a free one by default.
    http
        Port for requests over HTTP on the loopback address, which all hosts share; 0 takes a free
        one, and so does the default when 8000 is taken.
    restart
        Start again what dies by itself; without it, its end is only reported.
    authorize
        Public key of a further host that may join, as `lattice auth key` prints; may be repeated.
    """
    log_to_stderr()
    lattice = lattice_name(options)
    crew = Crew(
        lattice=lattice,
        directory=(dir or state_directory(lattice) / "up").absolute(),
        hosts=host_plans(
            fleet.hosts, fleet.label or (), fleet.host_label or (), workers=fleet.workers
        ),
        grants=grant_options(fleet.grant_directory),
        schedulers=SchedulerPlan(count=lead.schedulers, profile=lead.profile),
        ports=Ports(nats=port, http=http),
        restarts=restart,
        authorized=authorize or (),
    )
    if await run_until_stopped(partial(_run, crew, as_json=options.is_json)):
        return exits.DONE
    raise UnavailableError(crew.end_reason)


async def _run(crew: Crew, *, as_json: bool) -> None:
    async with crew:
        await crew.wait_joined()
        _tell(crew, as_json=as_json)
        await crew.watch()


def host_plans(
    count: int, labels: Sequence[str], host_labels: Sequence[str], *, workers: int = 1
) -> list[HostPlan]:
    """Return the hosts to start: labels of all, then those of each by its number.

    Raises:
        InvalidError: labels are given for a host that is not started.
    """
    common, single = label_pairs(labels), split_host_labels(host_labels)
    if beyond := sorted(number for number in single if number > count):
        raise InvalidError(f"--host-label names host {beyond[0]}, there are {count}")
    return [
        HostPlan(
            name=f"host-{number}",
            labels={**common, **single.get(number, {})},
            workers=workers,
        )
        for number in range(1, count + 1)
    ]


def lattice_name(options: Options) -> str:
    """Return the lattice's name, never one of a context that happens to be the current one.

    Raises:
        InvalidError: options of another NATS are given, or the name is none.
    """
    flags = options.flags()
    given = [f"--{key}" for key in _OWN_NATS if flags[key]]
    if given or options.context:
        raise InvalidError(
            f"`lattice up` starts a NATS of its own, so {', '.join(given) or '--context'} does "
            "not apply: join a running NATS with `lattice scheduler` and `lattice host`"
        )
    in_file = read_file(options.config).get("lattice") if options.config else None
    name = options.lattice or os.environ.get(VARIABLES["lattice"]) or in_file or DEFAULT_LATTICE
    return Settings(lattice=name).lattice


def _tell(crew: Crew, *, as_json: bool) -> None:
    """Print what runs and what to do next."""
    facts = crew.facts()
    if as_json:
        print_json_line(facts)
        return
    before = f" (before: {crew.context_before})" if crew.context_before != crew.lattice else ""
    print(f"lattice {crew.lattice!r} is up at {crew.url}")
    for process in crew.processes():
        host = f"  {process.id}  {text_of(process.labels)}" if process.id else ""
        print(f"  {process.name:<12} pid {process.pid:<8}{host}".rstrip())
    if crew.http_url:
        print(f"requests over HTTP: {crew.http_url}")
    print(f"data and logs: {crew.directory}")
    print(f"current context: {crew.lattice}{before if crew.context_before else ''}")
    print("next, in another terminal:")
    print("  lattice get hosts")
    print("  lattice apply -f MANIFEST --wait")
    print("  lattice events --follow")
    print("Ctrl-C ends it all", flush=True)
