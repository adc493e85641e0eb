"""`lattice backup` and `lattice restore`: what a lattice was told, in one file."""

from __future__ import annotations

from pathlib import Path

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import print_json
from lattice.cli.progress import showing_steps


async def backup_(file: Path, /, *, options: Options = DEFAULT) -> None:
    """Save deployments, their history and components to a file.

    The lattice goes on meanwhile. The file is a tar archive with checksums, readable by its owner
    only, because settings of components are in it. Keys of hosts and users are not.

    Parameters
    ----------
    file
        The file to write; it must not exist.
    """
    from lattice.client.backup import backup

    async with client_of(options) as client:
        with showing_steps() as steps:
            saved = await backup(client.connection, file, tell=steps)
            text = f"{file}: {saved.deployments} deployments, {saved.artifacts} artifacts"
            if not options.is_json:
                steps.done(text)
    if options.is_json:
        print_json({"file": str(file), "saved": saved})


async def restore_(file: Path, /, *, replace: bool = False, options: Options = DEFAULT) -> None:
    """Tell a lattice what a backup holds.

    Hosts go on with what they run; what the backup holds otherwise is changed as by an update.
    While it is under way nothing is placed. When it was broken off, do it again.

    Parameters
    ----------
    file
        The file that `lattice backup` wrote; it is checked before anything is changed.
    replace
        Also restore into a lattice that has deployments: those that the backup does not hold are
        removed.
    """
    from lattice.client.backup import restore

    async with client_of(options) as client:
        with showing_steps() as steps:
            saved = await restore(client.connection, file, is_replacing=replace, tell=steps)
            if not options.is_json:
                steps.done(
                    f"{saved.deployments} deployments with {saved.generations} generations restored"
                )
    if options.is_json:
        print_json({"file": str(file), "restored": saved})
