"""The accounts of a nats-server: one for each lattice with its users, and one for the system.

This is what `lattice auth` prints and what the embedded server runs with. It makes text from
public keys only; it reads and writes no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lattice.bus.advisories import disconnects_of
from lattice.bus.identity import user_key_fault
from lattice.bus.permissions import ROLES, Role, role_permissions
from lattice.errors import InvalidError
from lattice.model.ids import name_fault
from lattice.wire.subjects import Names

SYSTEM_ACCOUNT = "SYS"
"""Where the server publishes about itself and takes orders, such as to reload."""

USERS_MAX = 10_000
"""Users of one lattice: a file beyond that wants tokens signed by an operator instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One identity that may join, by its public nkey."""

    role: Role
    public_key: str


def account_name(lattice: str) -> str:
    """Return the name of a lattice's account."""
    return f"LAT_{lattice}"


def accounts_block(
    lattices: Mapping[str, Sequence[User]], *, system_keys: Sequence[str] = ()
) -> str:
    """Return the `accounts` part of a nats-server configuration, to be included by its main file.

    `lattices` maps each lattice's name to its users; `system_keys` are the public nkeys that may
    use the system account. The text is JSON members, which nats-server reads as its own syntax.

    Raises:
        InvalidError: a name, role or key is malformed, or one key stands twice; all are listed.
    """
    faults = _faults(lattices, system_keys)
    if faults:
        raise InvalidError("the accounts cannot be written", faults)
    accounts: dict[str, object] = {
        SYSTEM_ACCOUNT: {
            "users": [{"nkey": key} for key in system_keys],
            "exports": [_told_disconnects(account_name(lattice)) for lattice in lattices],
        },
    }
    for lattice, users in lattices.items():
        accounts[account_name(lattice)] = {
            "jetstream": "enabled",
            "users": [user_entry(user, lattice) for user in users],
            "imports": [_heard_disconnects(lattice)],
        }
    return f"accounts: {json.dumps(accounts, indent=2)}\nsystem_account: {SYSTEM_ACCOUNT}\n"


def user_entry(user: User, lattice: str) -> dict[str, object]:
    """Return one member of the `users` of a lattice's account, as plain values of JSON."""
    granted = role_permissions(user.role, Names(lattice), user.public_key)
    return {
        "nkey": user.public_key,
        "permissions": {
            "publish": {"allow": list(granted.publish)},
            "subscribe": {"allow": list(granted.subscribe)},
        },
    }


def _told_disconnects(account: str) -> dict[str, object]:
    """Let one account alone hear which of its connections end."""
    return {"stream": disconnects_of(account), "accounts": [account]}


def _heard_disconnects(lattice: str) -> dict[str, object]:
    source = {"account": SYSTEM_ACCOUNT, "subject": disconnects_of(account_name(lattice))}
    return {"stream": source, "to": Names(lattice).disconnects()}


def _faults(lattices: Mapping[str, Sequence[User]], system_keys: Sequence[str]) -> list[str]:
    faults = []
    seen: dict[str, str] = {}
    entries = [(f"system_keys[{i}]", key) for i, key in enumerate(system_keys)]
    for lattice, users in lattices.items():
        if fault := name_fault(lattice):
            faults.append(f"{lattice}: {fault}")
        if len(users) > USERS_MAX:
            faults.append(f"{lattice}: {len(users)} users, at most {USERS_MAX}")
        for i, user in enumerate(users):
            entries.append((f"{lattice}.users[{i}]", user.public_key))
            if user.role not in ROLES:
                faults.append(f"{lattice}.users[{i}]: {user.role!r} is no role of {ROLES}")
    for path, key in entries:
        if fault := user_key_fault(key):
            faults.append(f"{path}: {fault}")
        elif key in seen:
            faults.append(f"{path}: the key {key} is also {seen[key]}, and a key has one role")
        seen.setdefault(key, path)
    return faults
