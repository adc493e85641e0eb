"""Sees that Python's recursion limit is not met where nothing can report it: in a callback.

A callback that cannot even begin leaves garbage as its result, and wasmtime then ends the process.
So whoever lets a guest run that may call the host looks for some levels more than callbacks need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LEVELS = 8
"""Calls inside each other that there must be room for: entering a callback and noting its failure
take five, waking the ticker six. What a host function needs beyond that fails as an error of its
own. Looking takes 0.25 us."""


def _nested(levels: int) -> Callable[[], None]:
    """Return a function that does nothing, so many calls deep; one call takes some 20 ns."""

    def innermost() -> None:
        pass

    def around(inner: Callable[[], None]) -> Callable[[], None]:
        def outer() -> None:
            inner()

        return outer

    made: Callable[[], None] = innermost
    for _ in range(levels):
        made = around(made)
    return made


look_for_room = _nested(LEVELS)
"""Return if a guest that calls the host may run here.

Raises:
    RecursionError: calls of Python are nested too deep already.
"""


def with_room(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that looks for room, and then does what the given one does."""

    def checked(*args: Any) -> Any:
        look_for_room()
        return function(*args)

    return checked
