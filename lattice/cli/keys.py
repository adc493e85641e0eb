"""The public key that settings prove: a host's id, and what its replies' subjects begin with."""

from __future__ import annotations

from lattice.config import Settings


def key_of(settings: Settings) -> str:
    """Return the public nkey of the identity that settings name, `""` when they name none.

    Raises:
        InvalidError: the file of the key or token cannot be used.
        DeniedError: others can read the key's file.
    """
    from lattice.bus.connecting import connect_options
    from lattice.bus.options import INBOX_PREFIX

    prefix = connect_options(settings, name="lattice").inbox_prefix
    return prefix.removeprefix(INBOX_PREFIX).removeprefix(".")
