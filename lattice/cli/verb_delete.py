"""`lattice delete`: remove deployments."""

from __future__ import annotations

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import print_json


async def delete_(name: str, /, *names: str, options: Options = DEFAULT) -> None:
    """Remove deployments.

    Their replicas finish the calls that run and stop. The first that does not exist ends the
    command; those before it are gone.

    Parameters
    ----------
    name
        The deployment to remove.
    names
        Further ones.
    """
    removed: list[dict[str, object]] = []
    async with client_of(options) as client:
        for each in (name, *names):
            revision = await client.delete(each)
            removed.append({"name": each, "revision": revision})
            if not options.is_json:
                print(f"{each}: deleted", flush=True)
    if options.is_json:
        print_json({"deleted": removed})
