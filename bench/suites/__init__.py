"""The suites: each module here is one, found by its name.

A suite has a docstring, a tuple `CASES` of the names of its cases, and an async context manager
`cases(wanted)` that yields the `Case` values among them whose names are wanted, and keeps what they
need (servers, files) alive while it is open.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from bench.case import Case, LeftOut


class Opener(Protocol):
    """The function `cases` of a suite."""

    def __call__(
        self, wanted: Collection[str]
    ) -> AbstractAsyncContextManager[Sequence[Case | LeftOut]]:
        """Return a context that yields the wanted cases."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite as its module describes it."""

    name: str
    what: str
    cases: tuple[str, ...]
    open: Opener


def all_suites() -> dict[str, Suite]:
    """Return every suite by name, in alphabetical order."""
    suites = {}
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{__name__}.{found.name}")
        suites[found.name] = Suite(
            name=found.name,
            what=(module.__doc__ or "").partition("\n")[0],
            cases=module.CASES,
            open=module.cases,
        )
    return suites


def select(name: str, suites: dict[str, Suite]) -> dict[str, tuple[str, ...]]:
    """Return the wanted cases of each suite for `all`, a suite or a case; empty when unknown.

    The first word of suites' names stands for all of them: `lattice` for `lattice_calls` and so on.
    """
    if name == "all":
        return {suite.name: suite.cases for suite in suites.values()}
    if name in suites:
        return {name: suites[name].cases}
    group = {each.name: each.cases for each in suites.values() if each.name.startswith(f"{name}_")}
    if group:
        return group
    return {suite.name: (name,) for suite in suites.values() if name in suite.cases}


def known_names(suites: dict[str, Suite]) -> str:
    """Return a text that lists every name that `select` knows."""
    lines = [f"  {suite.name}: {', '.join(suite.cases)}" for suite in suites.values()]
    return "\n".join(["known are all, a suite, or one of its cases:", *lines])
