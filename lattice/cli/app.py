"""The tree of verbs. Modules of verbs are named by import string, so that help loads none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cyclopts import App, Group, Parameter

from lattice import __version__

GROUPS: Final = ("Run", "Deploy", "Look", "Use", "Set up")
"""Groups of verbs in the order of the help."""

VERBS: Final[dict[str, dict[str, str]]] = {
    "Run": {
        "up": "Run a whole lattice on this machine: NATS, scheduler and hosts.",
        "host": "Run one host that joins a lattice.",
        "scheduler": "Run one scheduler: active or standby.",
    },
    "Deploy": {
        "apply": "Submit the deployments of a manifest.",
        "diff": "Show what applying a manifest would change.",
        "delete": "Remove deployments.",
    },
    "Look": {
        "describe": "Show all that is known of a deployment.",
        "events": "Show what happened in the lattice.",
        "logs": "Show log lines of a deployment or a host.",
        "inspect": "Show what a component file imports and exports.",
        "doctor": "Check this machine and the way to the lattice; name a fix for each fault.",
    },
    "Use": {
        "call": "Call a function of a deployment.",
    },
    "Set up": {
        "completion": "Print the completion script of a shell.",
    },
}
"""Verbs by group: each is the function of its name in the module `lattice.cli.verb_<name>`."""

NESTED: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "get": (
        "Look",
        "List hosts, deployments or replicas.",
        {
            "hosts": "List the hosts of the lattice.",
            "deployments": "List the deployments.",
            "replicas": "List replicas, and what could not be placed.",
        },
    ),
    "label": ("Use", "Change labels.", {"host": "Change the labels of a running host."}),
    "context": (
        "Set up",
        "Keep settings of lattices under names.",
        {
            "list": "List the contexts.",
            "show": "Show the settings in use and where each comes from.",
            "use": "Make a context the current one.",
            "save": "Write the settings in use to a context.",
            "delete": "Remove a context.",
            "env": "Print variables for the plain nats command and for lattice itself.",
        },
    ),
    "auth": (
        "Set up",
        "Make keys and the permissions of a nats-server.",
        {
            "key": "Make a key file and print its public key.",
            "host": "Print the nats-server user of one host.",
            "config": "Print the accounts of a nats-server configuration.",
        },
    ),
}
"""Verbs with verbs of their own: each is the function of its name in `lattice.cli.verb_<outer>`."""


def build(words: Sequence[str] | None = ()) -> App:
    """Return the application; no verb's module is loaded yet.

    A verb that `words` begin with tells of itself by its own docstring, the others by their
    summary, which need not be loaded. None stands for all verbs at once.
    """
    app = App(
        name="lattice",
        help="Run WebAssembly components on many hosts and call them over NATS.",
        version=__version__,
        default_parameter=Parameter(negative=()),
        help_format="plaintext",
    )

    def summary(text: str, *path: str) -> str | None:
        return None if words is None or tuple(words[: len(path)]) == path else text

    groups = {name: Group(name, sort_key=position) for position, name in enumerate(GROUPS)}
    for group, verbs in VERBS.items():
        for name, text in verbs.items():
            place = _place(name, name)
            app.command(place, name=name, help=summary(text, name), group=groups[group])
    for outer, (group, about, verbs) in NESTED.items():
        nested = App(name=outer, help=about, group=groups[group])
        for name, text in verbs.items():
            nested.command(_place(outer, name), name=name, help=summary(text, outer, name))
        app.command(nested)
    return app


def _place(module: str, function: str) -> str:
    return f"lattice.cli.verb_{module}:{function}_"
