"""Types what a page says into a session, and compares what it shows with what is said."""

from __future__ import annotations

from tests.docs.pages import Block, Command, commands_of, is_shown
from tests.docs.session import Session

FOREIGN = ("nats",)
"""Programs that the project does not bring along; their commands run where they are installed."""

UP = ".venv/bin/lattice up --hosts 3"
"""How the pages start a lattice; the tests do it once for all of them."""


async def type_block(session: Session, block: Block, foreign: tuple[str, ...]) -> None:
    """Do what a block says; commands of `FOREIGN` programs only if `foreign` has them.

    Raises:
        AssertionError: a command ends, or says, otherwise than the page has it.
    """
    if block.mark == "not run":
        assert block.value, f"{block}: says why it is not run"
    elif block.mark == "file":
        target = session.directory / block.value
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text)
    elif block.language == "python":
        (session.home / "block.py").write_text(block.text)
        _check(block, session, Command(text='.venv/bin/python "$HOME/block.py"', shown=()))
    elif block.language == "console":
        commands = [c for c in commands_of(block) if not _is_up(c)]
        commands = [c for c in commands if c.program not in FOREIGN or c.program in foreign]
        for command in commands:
            if block.mark == "background":
                await session.start(command)
            else:
                is_last = command is commands[-1]
                status = int(block.value) if block.mark == "status" and is_last else 0
                _check(block, session, command, status)


def _check(block: Block, session: Session, command: Command, wanted: int = 0) -> None:
    status, output = session.run(command.text)
    typed = f"{block}: $ {command.text}"
    assert status == wanted, f"{typed}\nends with {status}, expected {wanted}:\n{output}"
    assert is_shown(command.shown, output), (
        f"{typed}\nshows another output than the page.\nexpected:\n"
        + "\n".join(command.shown) + f"\nfound:\n{output}"
    )  # fmt: skip


def _is_up(command: Command) -> bool:
    """Tell whether a command starts the lattice that runs already."""
    return command.text.removeprefix(".venv/bin/") == UP.removeprefix(".venv/bin/")
