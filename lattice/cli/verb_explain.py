"""`lattice explain` and `lattice why-not`: why replicas are where they are, and not elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import print_json, print_table, printable
from lattice.client.explanations import Explanation, MovingView, ScoreView, WhyNot

POINT = (1 << 20) / 100
"""Score of one point; 100 points are one whole capacity of a host."""


async def explain_(name: str, /, *, options: Options = DEFAULT) -> None:
    """Tell why replicas are where they are, and what keeps more away.

    Scores are in points: 100 points are one whole capacity of a host. A replica goes where the
    score is highest among the hosts that can take it, and stays there when scores change.

    Parameters
    ----------
    name
        The deployment.
    """
    async with client_of(options) as client:
        found = await client.explain(name)
    if options.is_json:
        print_json(found)
        return
    _tell(found)


async def why_not_(name: str, host: str, /, *, options: Options = DEFAULT) -> None:
    """Tell what every rule of a deployment says of one host.

    Parameters
    ----------
    name
        The deployment.
    host
        The host: its id, its name, or the beginning of its id.
    """
    async with client_of(options) as client:
        found = await client.why_not(name, await client.find_host(host))
    if options.is_json:
        print_json(found)
        return
    _tell_why_not(found)


def _tell(found: Explanation) -> None:
    print(
        f"{found.name} generation {found.generation}: {found.placed} of {found.wanted} replicas "
        f"placed, {found.feasible} of {found.hosts} hosts could take one more"
    )
    if found.here:
        print("\nwhy here")
        _print_scores(found.here, empty="no host runs it")
    if found.best:
        print("\nwhere the next one would go" if not found.unplaced else "\nhosts that could")
        _print_scores(found.best, empty="")
    if found.reasons:
        where = "elsewhere" if found.placed else "anywhere"
        print(f"\nwhy not {where}: hosts by the first reason that keeps one more away")
        print_table(
            ("hosts", "reason", "closest"),
            [(each.hosts, each.text, each.host_name) for each in found.reasons],
            empty="",
        )
    if found.unplaced:
        print("\none change away")
        print_table(
            ("hosts", "could take one more", "best"),
            [(each.hosts, each.text, each.host_name) for each in found.relaxations],
            empty="no single constraint is what keeps it away",
        )
        print(f"\npreemption   {printable(found.preemption.text)}")
    if found.moving:
        print("\nunder way to a better place")
        print_moving(found.moving)
    print(f"\nplanned {_age(found.planned_s)}, oldest heartbeat {_age(found.oldest_heartbeat_s)}")


def _tell_why_not(found: WhyNot) -> None:
    has = f"has {found.replicas} of it, and " if found.replicas else ""
    can = "could take one more" if found.feasible else "cannot take one more"
    print(f"{found.name} generation {found.generation} on {found.host_name}: it {has}{can}\n")
    print_table(
        ("met", "rule", "what was found"),
        [(each.met, each.kind, each.text) for each in found.verdicts],
        empty="no rules",
    )
    if found.feasible and found.score is not None:
        print("\nits score, and those of hosts that have it")
        _print_scores((found.score, *found.chosen), empty="")
    print(f"\nplanned {_age(found.planned_s)}, last heartbeat {_age(found.heartbeat_s)}")


def print_moving(moves: Sequence[MovingView]) -> None:
    """Print the replicas that are being moved to hosts that joined."""
    print_table(
        ("replica of", "leaves", "for", "because"),
        [(each.deployment, each.host_name, each.to_host_name, each.reason) for each in moves],
        empty="",
    )


def _print_scores(scores: Sequence[ScoreView], *, empty: str) -> None:
    has_domains = any(each.domains for each in scores)
    print_table(
        (
            "host", "replicas", "score", "preferences", "alignment", "share in use", "own",
            *(("in its domains",) if has_domains else ()),
        ),
        [
            (
                each.host_name, each.replicas, _points(each.score), _points(each.preferences),
                _points(each.alignment), _points(each.share), _points(each.own),
                *((each.domains,) if has_domains else ()),
            )
            for each in scores
        ],
        empty=empty,
    )  # fmt: skip


def _points(score: int) -> str:
    return f"{score / POINT:.1f}"


def _age(age_s: float | None) -> str:
    return "never" if age_s is None else f"{age_s:.1f}s ago"
