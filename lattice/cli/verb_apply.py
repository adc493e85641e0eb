"""`lattice apply`: submit the deployments of a manifest, and wait until they run if asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lattice.cli.options import DEFAULT, Options, Seconds, client_of
from lattice.cli.output import print_json, printable, progress_bars, text_of
from lattice.client.deploying import READY_TIMEOUT_S, Applied
from lattice.errors import LatticeError

if TYPE_CHECKING:
    from lattice.client import LatticeClient

WAIT_S = READY_TIMEOUT_S


async def apply_(
    *,
    file: Annotated[Path, Parameter(alias="-f")],
    wait: bool = False,
    timeout: Seconds = WAIT_S,
    options: Options = DEFAULT,
) -> None:
    """Submit the deployments of a manifest.

    Paths of images and files in it are relative to the manifest. They are uploaded by digest, and
    what the lattice has already is not sent again. Applying what stands already changes nothing.

    With --wait the command ends when every replica runs. If one fails, or not all run in time, it
    ends with a non-zero status and the host's own error text.

    Parameters
    ----------
    file
        The manifest: YAML or JSON, one or more documents.
    wait
        End only when everything runs, or failed.
    timeout
        How long to wait, such as 90s or 5m.
    """
    places: dict[str, list[str]] = {}
    with progress_bars() as progress:
        async with client_of(options) as client:
            applied = await client.apply(file, progress=progress)
            if not options.is_json:
                for item in applied:
                    _tell(item)
            if wait:
                applied = await client.wait_ready(applied, timeout_s=timeout, progress=progress)
                places = {item.name: await _urls(client, item.name) for item in applied}
    if options.is_json:
        print_json({"applied": applied})
    elif wait:
        for item in applied:
            status = item.status
            if status is not None:
                print(f"{item.name}: ready, {status.running} of {status.wanted} replicas run")
                for url in places[item.name]:
                    print(f"{item.name}: answers at {printable(url)}")


async def _urls(client: LatticeClient, name: str) -> list[str]:
    """Return where a deployment answers, as far as that can be learned: it is ready in any case."""
    try:
        return await client.urls(name)
    except LatticeError:
        return []


def _tell(item: Applied) -> None:
    what = "submitted" if item.changed else "unchanged"
    print(f"{item.name}: generation {item.generation} {what}", flush=True)
    for warning in item.warnings:
        print(f"{item.name}: warning: {printable(text_of(warning))}", flush=True)
