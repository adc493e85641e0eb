"""`lattice completion`: the completion script of a shell."""

from __future__ import annotations

from typing import Literal

from lattice.cli.app import build


def completion_(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell.

    For bash: lattice completion bash > ~/.local/share/bash-completion/completions/lattice

    Parameters
    ----------
    shell
        The shell.
    """
    print(build(None).generate_completion(shell=shell))
