"""Steps of a longer work, as people see them: a line that changes, and lines that stay."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lattice.cli.output import printable

if TYPE_CHECKING:
    from rich.status import Status


class Steps:
    """Tells what is being done. Called with a text, it says what has begun."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def __call__(self, text: str) -> None:
        """Say what has begun; on a terminal it is shown until the next step."""
        if self._status is None:
            print(f"{printable(text)} ...", file=sys.stderr, flush=True)
        else:
            from rich.text import Text

            self._status.update(Text(printable(text)))
            self._status.start()

    def done(self, text: str) -> None:
        """Say what has come of it."""
        if self._status is not None:
            self._status.stop()
        print(printable(text), flush=True)


@contextmanager
def showing_steps() -> Iterator[Steps]:
    """Yield what tells of steps, on stderr but for what they come to."""
    if not sys.stderr.isatty():
        yield Steps(None)
        return
    from rich.console import Console

    status = Console(stderr=True).status("")
    try:
        yield Steps(status)
    finally:
        status.stop()
