"""`lattice auth`: keys, and the least permissions of a nats-server that serves lattices."""

from __future__ import annotations

import json
from pathlib import Path

from lattice.bus.auth import User, accounts_block, user_entry
from lattice.bus.identity import (
    create_user_seed,
    load_or_create_seed,
    secure_directory,
    user_key_fault,
)
from lattice.bus.permissions import Role, inbox_prefix
from lattice.cli.options import DEFAULT, Options, settings_of
from lattice.cli.output import print_json
from lattice.errors import InvalidError

Keys = list[str] | None


def key_(file: Path, /, *, options: Options = DEFAULT) -> None:
    """Make a key file and print its public key.

    A file that exists is left as it is. For a host, name identity.nk in its directory.

    Parameters
    ----------
    file
        Where the seed is kept, readable by its owner only.
    """
    if not file.parent.exists():
        secure_directory(file.absolute().parent)
    public = load_or_create_seed(file, create_user_seed())
    if options.is_json:
        print_json({"file": str(file), "public_key": public, "inbox_prefix": inbox_prefix(public)})
    else:
        print(public)


def host_(key: str, /, *, options: Options = DEFAULT) -> None:
    """Print the nats-server user of one host.

    It belongs into the users of the lattice's account.

    Parameters
    ----------
    key
        The host's public key: its id.
    """
    if fault := user_key_fault(key):
        raise InvalidError(fault)
    user = User(role="host", public_key=key)
    print(json.dumps(user_entry(user, settings_of(options).lattice), indent=2))


def config_(
    *,
    host: Keys = None,
    scheduler: Keys = None,
    client: Keys = None,
    operator: Keys = None,
    system: Keys = None,
    options: Options = DEFAULT,
) -> None:
    """Print the accounts of a nats-server configuration.

    One account for the lattice, with one user of least permissions for each key. Save it as a
    file and name it in the server's configuration: include ./lattice-accounts.conf

    Parameters
    ----------
    host
        Public key of a host; may be repeated, as all of these.
    scheduler
        Public key of a scheduler.
    client
        Public key of who may call functions and see events.
    operator
        Public key of who may deploy too.
    system
        Public key of who may administer the server.
    """
    roles: dict[Role, list[str] | None] = {
        "host": host,
        "scheduler": scheduler,
        "client": client,
        "operator": operator,
    }
    users = [User(role=role, public_key=key) for role, keys in roles.items() for key in keys or ()]
    if not users:
        raise InvalidError(
            "no key is given: `lattice auth key FILE` makes one, --operator takes it"
        )
    lattice = settings_of(options).lattice
    print(accounts_block({lattice: users}, system_keys=system or ()), end="")
