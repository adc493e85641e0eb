"""`lattice describe`: all that is known of one deployment."""

from __future__ import annotations

import json

from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import print_json, printable, status_line
from lattice.cli.verb_get import print_replicas
from lattice.client.views import Description, reason_text


async def describe_(name: str, /, *, manifest: bool = False, options: Options = DEFAULT) -> None:
    """Show all that is known of a deployment.

    Parameters
    ----------
    name
        The deployment.
    manifest
        Only its manifest as it stands, on one line of JSON: what `apply -f` and `api.put` take.
    """
    async with client_of(options) as client:
        if manifest:
            record, _ = await client.record(name)
            print(json.dumps(record.manifest))
            return
        found = await client.describe(name)
    if options.is_json:
        print_json(found)
        return
    _tell(found)


def _tell(found: Description) -> None:
    record = found.record
    print(f"deployment   {record.name}")
    print(f"generation   {record.generation} (revision {found.revision})")
    print(f"submitted by {printable(record.submitted_by) or '-'}")
    if record.is_paused:
        print(f"paused       until `lattice resume {record.name}`")
    if record.reverted:
        print(f"went back    from generation {record.reverted}: {printable(record.reason)}")
    if found.status is None:
        print("state        unknown: no scheduler leads now")
    else:
        print(f"state        {status_line(found.status)}")
        for reason in found.status.reasons:
            print(f"             {printable(reason_text(reason))}")
    print("needs        " + (", ".join(record.interfaces) or "nothing of its host"))
    print("exposes")
    for interface, functions in sorted(record.exposed.items()):
        for function in functions:
            print(
                f"             {interface}#{function}" if interface else f"             {function}"
            )
    if not record.exposed:
        print("             nothing")
    if found.urls:
        print("answers at")
        for url in found.urls:
            print(f"             {printable(url)}")
    print("manifest")
    for line in json.dumps(record.manifest, indent=2, ensure_ascii=False).splitlines():
        print(f"  {printable(line)}")
    print("replicas")
    print_replicas(found.replicas)
