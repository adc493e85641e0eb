"""What `lattice dev` writes to the terminal: a line with its time for each thing that happened."""

from __future__ import annotations

import os
import sys
import time

from lattice.cli.dev.state import Build, Line, Problem, Request, Told
from lattice.cli.output import printable

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_LEVELS = {"warn": "yellow", "error": "red", "critical": "red", "debug": "dim", "trace": "dim"}


class Terminal:
    """Writes lines, coloured where a person looks at them."""

    def __init__(self) -> None:
        self._is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def tell(self, told: Told) -> None:
        """Write what happened."""
        match told:
            case Request():
                self._request(told)
            case Line():
                where = self.coloured(f"{told.deployment} |", "cyan")
                self._line(told.time_s, f"{where} {self._levelled(told)}")
            case Build(is_good=True):
                took = (
                    f"{told.took_s:.1f} s" if told.took_s >= 1 else f"{told.took_s * 1000:.0f} ms"
                )
                self._line(time.time(), self.coloured(f"{told.what}: live after {took}", "green"))
            case Build():
                rest = "the version before stays in service"
                text = f"{told.what}: {'nothing answers yet' if told.is_first else rest}"
                self._line(time.time(), self.coloured(text, "yellow"))
            case Problem():
                self._line(told.time_s, self.coloured(told.title, "red", "bold"))
                for line in () if told.is_logged else told.text.splitlines():
                    self.write(f"         {self.coloured(printable(line), 'red')}")

    def write(self, text: str) -> None:
        """Write a line as it is."""
        print(text, flush=True)

    def step(self, text: str) -> None:
        """Write what is being done."""
        self._line(time.time(), self.coloured(f"{text} ...", "dim"))

    def coloured(self, text: str, *colours: str) -> str:
        """Return a text in colours, if there are any."""
        if not self._is_coloured:
            return text
        codes = ";".join(str(_CODES[each]) for each in colours)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def _request(self, told: Request) -> None:
        is_bad = told.status == 0 or told.status >= 500
        colour = "red" if is_bad else "yellow" if told.status >= 400 else "green"
        status = self.coloured(str(told.status or "left"), colour)
        took = self.coloured(f"{told.took_ms:.1f} ms", "dim")
        self._line(told.time_s, f"{told.method} {printable(told.target)} {status} {took}")

    def _levelled(self, told: Line) -> str:
        text = printable(told.text)
        colour = _LEVELS.get(told.level)
        return self.coloured(text, colour) if colour else text

    def _line(self, time_s: float, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(time_s))
        self.write(f"{self.coloured(clock, 'dim')} {text}")
