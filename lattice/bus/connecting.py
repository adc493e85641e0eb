"""From settings to a connection of one lattice: the only way in for every process and verb.

It reads who the process is from its key, so that replies come to an inbox that no other identity
may listen to. What the connection may do is the server's decision.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from lattice.bus.base import Connection
from lattice.bus.identity import load_seed, public_key, user_key_fault
from lattice.bus.jetstream import ensure_stores, open_connection
from lattice.bus.linking import connect_link
from lattice.bus.options import INBOX_PREFIX, ConnectOptions
from lattice.bus.permissions import inbox_prefix
from lattice.config import Settings
from lattice.errors import DeniedError, InvalidError
from lattice.wire.subjects import Names

CREDS_BYTES_MAX = 64 * 1024
"""A file of credentials holds a token of a few kilobytes and a seed."""


@asynccontextmanager
async def connect(
    settings: Settings, *, name: str, creates_stores: bool = False, replicas: int = 1
) -> AsyncIterator[Connection]:
    """Yield all that one process holds of a lattice, until the context ends.

    `name` is shown in the server's monitoring. The connection mends itself for ever once it was
    made. Leaving the context sends what was published and closes. With `creates_stores`, which
    only a scheduler may, the buckets and streams of the lattice are there on entry, new ones
    with `replicas` copies.

    Raises:
        UnavailableError: no server can be reached.
        DeniedError: the server refuses the identity, or others may read its key, or it may not
            create stores.
        InvalidError: a file that the settings name is not what it should be.
        IncompatibleError: stores of another make are in the way, or the server is too old.
    """
    options = connect_options(settings, name=name)
    async with connect_link(options) as link:
        connection = open_connection(link, settings.lattice)
        if creates_stores:
            ensure = partial(ensure_stores, link, Names(settings.lattice), replicas=replicas)
            await ensure()
            connection = replace(connection, ensure_stores=ensure)
        yield connection


def connect_options(settings: Settings, *, name: str) -> ConnectOptions:
    """Return how to reach NATS as the settings say, with the inbox of their identity.

    Raises:
        DeniedError: others may read the key.
        InvalidError: a key or credentials file is damaged.
    """
    identity = identity_of(settings)
    return ConnectOptions(
        servers=settings.servers,
        creds=settings.creds,
        nkey_seed_path=settings.nkey,
        tls_ca=settings.tls_ca,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        name=name,
        inbox_prefix=inbox_prefix(identity) if identity else INBOX_PREFIX,
    )


def identity_of(settings: Settings) -> str:
    """Return the public nkey of whoever connects, "" if settings name neither key nor token.

    `Raises:` as `connect_options`.
    """
    if settings.nkey is not None:
        return public_key(load_seed(settings.nkey))
    if settings.creds is not None:
        return _subject_of_creds(settings.creds)
    return ""


def _subject_of_creds(path: Path) -> str:
    """Return the user that a credentials file is for: the subject of its token (RFC 7519)."""
    try:
        with path.open("rb") as file:
            lines = file.read(CREDS_BYTES_MAX).splitlines()
    except PermissionError:
        raise DeniedError(f"credentials file {path} cannot be read by this user") from None
    except OSError as error:
        raise InvalidError(f"credentials file {path} cannot be read: {error.strerror}") from None
    try:
        start = next(i for i, line in enumerate(lines) if b"BEGIN NATS USER JWT" in line)
        payload = lines[start + 1].split(b".")[1]
        subject = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))["sub"]
    except (StopIteration, IndexError, ValueError, KeyError, TypeError):
        raise InvalidError(
            f"credentials file {path} does not hold a user token and its seed: make it again with "
            "the tool that made it"
        ) from None
    if fault := user_key_fault(str(subject)):
        raise InvalidError(f"credentials file {path} is for no user: {fault}")
    return str(subject)
