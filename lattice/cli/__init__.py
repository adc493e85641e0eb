"""The command line: `lattice VERB ...`. Each verb is one module, loaded when it is used.

This package turns words into calls of `lattice.client` and starts the processes of a lattice; it
decides nothing about deployments or hosts. Only here is anything printed.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (see `lattice.cli.exits`).

    `tokens` are the words after the program's name; None takes those of this process.
    """
    if tokens is None:
        import sys

        from lattice.cli.retuning import start_tuned

        start_tuned(sys.argv[1:])
    from lattice.cli.entry import run_command

    return run_command(tokens)
