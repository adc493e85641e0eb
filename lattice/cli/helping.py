"""Prints `--help` with paragraphs as wide as the terminal, whatever the lines of docstrings are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

_WITHIN = re.compile(r"(?<=\S) *\n(?=[^\s*-])")
"""The end of a line within a paragraph: what follows is neither empty, indented nor a point."""


class Paragraphs:
    """A formatter of help for cyclopts; it is loaded when help is asked for."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a panel of arguments, options or verbs."""
        from cyclopts.help.formatters import DefaultFormatter

        for entry in panel.entries:
            _reflow(entry.description)
        DefaultFormatter()(console, options, panel)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the line that shows how the verb is written."""
        from cyclopts.help.formatters import DefaultFormatter

        DefaultFormatter().render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, text: Any) -> None:
        """Print what the docstring says before its parameters."""
        del options  # the console's own
        if text:
            _reflow(text)
            console.print(text)


def joined(text: str) -> str:
    """Return paragraphs of one line each; lists and what is indented stay as they are."""
    return _WITHIN.sub(" ", text)


def _reflow(described: Any) -> None:
    """Join the lines of what cyclopts is to print."""
    from rich.text import Text

    text = getattr(described, "primary_renderable", None)
    if isinstance(text, Text):
        described.primary_renderable = Text(joined(text.plain), end=text.end)
