"""`lattice context`: settings of lattices under names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from lattice.cli.options import DEFAULT, Options, settings_of
from lattice.cli.output import print_json, print_table
from lattice.config import VARIABLES, Contexts, Settings
from lattice.errors import LatticeError


def list_(*, options: Options = DEFAULT) -> None:
    """List the contexts."""
    contexts = Contexts.of_user()
    current = contexts.current()
    rows = [(name, _load(contexts, name)) for name in contexts.names()]
    if options.is_json:
        print_json(
            {
                "current": current,
                "contexts": [
                    {"name": name, **(_values(found) if isinstance(found, Settings) else {})}
                    for name, found in rows
                ],
            }
        )
        return
    print_table(
        ("current", "name", "lattice", "nats", "identity"),
        (("*" if name == current else "", name, *_cells(found)) for name, found in rows),
        empty="no contexts: `lattice up` saves one, `lattice context save NAME` another",
    )


def show_(*, options: Options = DEFAULT) -> None:
    """Show the settings in use and where each comes from."""
    settings = settings_of(options)
    values = _values(settings)
    origins = dict(settings.origins)
    if options.is_json:
        print_json({"settings": values, "origins": origins})
        return
    print_table(
        ("setting", "value", "from"),
        ((key, values.get(key), origins.get(key, "default")) for key in VARIABLES),
        empty="",
    )


def use_(name: str, /, *, options: Options = DEFAULT) -> None:
    """Make a context the current one.

    Parameters
    ----------
    name
        The context.
    """
    Contexts.of_user().select(name)
    _done({"current": name}, f"current context: {name}", options)


def save_(name: str, /, *, options: Options = DEFAULT) -> None:
    """Write the settings in use to a context.

    Those given as options count, then variables, the --config file and the current context.

    Parameters
    ----------
    name
        Its name; one that exists is written over.
    """
    path = Contexts.of_user().save(name, settings_of(options))
    _done({"saved": name, "file": str(path)}, f"context {name} saved in {path}", options)


def delete_(name: str, /, *, options: Options = DEFAULT) -> None:
    """Remove a context.

    Parameters
    ----------
    name
        The context.
    """
    Contexts.of_user().delete(name)
    _done({"deleted": name}, f"context {name} deleted", options)


def env_(*, options: Options = DEFAULT) -> None:
    """Print variables for the plain nats command and for lattice itself.

    For a shell: eval "$(lattice context env)".
    """
    variables = environment(settings_of(options))
    if options.is_json:
        print_json(variables)
        return
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables under which `nats` and `lattice` find a lattice.

    An identity may read replies only below its own inbox prefix, so the plain command needs it.
    """
    variables = {
        "NATS_URL": ",".join(settings.servers),
        "NATS_CREDS": _text(settings.creds),
        "NATS_NKEY": _text(settings.nkey),
        "NATS_INBOX_PREFIX": _inbox(settings),
        "NATS_CA": _text(settings.tls_ca),
        "NATS_CERT": _text(settings.tls_cert),
        "NATS_KEY": _text(settings.tls_key),
    }
    variables |= {VARIABLES[key]: value for key, value in _values(settings).items()}
    return {name: value for name, value in variables.items() if value}


def _inbox(settings: Settings) -> str:
    from lattice.bus.connecting import identity_of
    from lattice.bus.permissions import inbox_prefix

    key = identity_of(settings)
    return inbox_prefix(key) if key else ""


def _values(settings: Settings) -> dict[str, str]:
    values = {
        "lattice": settings.lattice,
        "nats": ",".join(settings.servers),
        "creds": _text(settings.creds),
        "nkey": _text(settings.nkey),
        "tls-ca": _text(settings.tls_ca),
        "tls-cert": _text(settings.tls_cert),
        "tls-key": _text(settings.tls_key),
    }
    return {key: value for key, value in values.items() if value}


def _text(path: object) -> str:
    return "" if path is None else str(path)


def _load(contexts: Contexts, name: str) -> Settings | LatticeError:
    """Return a context, or why it cannot be read: a list must not end at a damaged one."""
    try:
        return contexts.load(name)
    except LatticeError as exc:
        return exc


def _cells(found: Settings | LatticeError) -> tuple[str, ...]:
    if isinstance(found, LatticeError):
        return ("", "", found.message)
    return (found.lattice, ",".join(found.servers), _text(found.creds or found.nkey))


def _done(answer: Mapping[str, object], line: str, options: Options) -> None:
    if options.is_json:
        print_json(answer)
    else:
        print(line)
