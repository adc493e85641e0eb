"""`lattice history`: the generations of a deployment, and what happened to it."""

from __future__ import annotations

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import plain, print_json, print_table, printable
from lattice.cli.verb_events import Moment, line_of
from lattice.client.views import Generations, GenerationView
from lattice.errors import NotFoundError


async def history_(name: str, /, *, since: Moment = None, options: Options = DEFAULT) -> None:
    """Show the generations of a deployment that are kept, and what happened to it.

    First the generations, newest first; then its events in order, as far as the log keeps them. Of
    a deployment that was deleted the events are left.

    Parameters
    ----------
    name
        The deployment.
    since
        Only events of the last while (such as 5m) or after a time (2026-01-31T12:00:00).
    """
    async with client_of(options) as client:
        events = [each async for each in client.events(deployment=name, since_s=since)]
        try:
            found = await client.history(name)
        except NotFoundError:
            if not any(event.data.get("deployment") == name for event in events):
                raise
            found = Generations(name=name)
    if options.is_json:
        print_json({**plain(found), "events": events})
        return
    print_table(
        ("generation", "state", "submitted by", "images"),
        [
            (each.generation, _state(each), each.submitted_by, _images(each))
            for each in found.generations
        ],
        empty="no generation is kept",
    )
    if found.reverted:
        print(f"went back from generation {found.reverted}: {printable(found.reason) or '-'}")
    if events:
        print()
    for event in events:
        print(line_of(event))


def _state(generation: GenerationView) -> str:
    states = {
        "current": generation.current,
        "good": generation.good,
        "given up": generation.given_up,
    }
    return ", ".join(name for name, holds in states.items() if holds)


def _images(generation: GenerationView) -> str:
    """Return the images by part, each digest cut to what tells generations apart."""
    return " ".join(
        f"{part}={image.removeprefix('sha256:')[:12]}" for part, image in generation.images.items()
    )
