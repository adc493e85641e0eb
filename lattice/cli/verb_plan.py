"""`lattice plan`: a dry run of a manifest, with the moves that applying it would bring about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lattice.cli import exits
from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import print_json, print_table, printable
from lattice.cli.verb_explain import print_moving
from lattice.client.explanations import Moves


async def plan_(
    *,
    file: Annotated[Path, Parameter(alias="-f")],
    exit_code: bool = False,
    options: Options = DEFAULT,
) -> int:
    """Show what applying a manifest would move, and where.

    Nothing is uploaded or stored, and no host is told. Shown is which replicas start, stop and stay
    on which host once the update is over, not its steps on the way there.

    Parameters
    ----------
    file
        The manifest: YAML or JSON, one or more documents.
    exit_code
        End with status 1 when a replica of the manifest would find no host.
    """
    async with client_of(options) as client:
        found = await client.plan(file)
    if options.is_json:
        print_json(found)
    else:
        for moves in found.deployments:
            _tell(moves)
        for moves in found.others:
            _tell(moves)
        for each in found.evictions:
            print(
                f"{each.count} of {each.deployment} would leave {printable(each.host_name)} "
                f"for {each.by}"
            )
        if found.moving:
            print("\nunder way already, whatever is applied")
            print_moving(found.moving)
    is_short = any(moves.unplaced for moves in found.deployments)
    return exits.FAILED if exit_code and is_short else exits.DONE


def _tell(moves: Moves) -> None:
    generation = f" generation {moves.generation}" if moves.generation else ""
    if moves.paused:
        print(f"{moves.name}{generation}: paused, nothing moves until it is resumed")
        return
    print(
        f"{moves.name}{generation}: {moves.starts} start, {moves.stops} stop, {moves.stays} stay, "
        f"{moves.unplaced} unplaced"
    )
    print_table(
        ("host", "starts", "stops", "stays"),
        [(each.host_name, each.starts, each.stops, each.stays) for each in moves.hosts],
        empty="no host is concerned",
    )
    if moves.hosts_left_out:
        print(f"and {moves.hosts_left_out} more hosts")
    for reason in moves.reasons:
        print(f"unplaced: {printable(reason)}")
