"""Words of a command line as values: JSON arguments of calls, and `NAME=VALUE` options."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from lattice.errors import InvalidError


def argument(text: str) -> Any:
    """Return the JSON form of one argument of the command line.

    Raises:
        InvalidError: it names a file that cannot be read, is larger than a call may be, or is
            nested too deep.
    """
    if text.startswith("@"):
        from lattice.wire.large import LARGE_BYTES_MAX

        try:
            with (
                nullcontext(sys.stdin.buffer) if text == "@-" else Path(text[1:]).open("rb") as file
            ):
                body = file.read(LARGE_BYTES_MAX + 1)
        except OSError as exc:
            raise InvalidError(f"cannot read the argument {text}: {exc.strerror}") from None
        if len(body) > LARGE_BYTES_MAX:
            raise InvalidError(
                f"the argument {text} has more than the {LARGE_BYTES_MAX} bytes of one call"
            )
        return {"base64": base64.b64encode(body).decode()}
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise InvalidError(f"the argument {text[:20]}… is nested too deep") from None


def assignments(words: Iterable[str]) -> dict[str, str]:
    """Return what words such as `NAME=VALUE` write; the value may be empty and may have `=`.

    Raises:
        ValueError: a word has no `=`, or no name before it.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            message = f"{word!r}, expected NAME=VALUE"
            raise ValueError(message)
        found[name] = value
    return found


def _check(_: object, words: Sequence[str] | None) -> None:
    assignments(words or ())


Assignments = Annotated[
    list[str], Parameter(validator=_check, consume_multiple=False, metavar="NAME=VALUE")
]
"""Repeatable `--option NAME=VALUE`."""
