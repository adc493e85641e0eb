"""Remembers what compositions came to, so that a program that was dropped is soon back.

Reading and joining the parts of a composition takes 30 ms with the WASI adapter among them, loading
its compiled code takes one. What is remembered has no bytes of the component in it, only types and
the name of its code; the cache decides whether that code is still there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

from hosts.engine.bulk import Bulk
from hosts.engine.slots import fits_pool

RECIPES_MAX = 256
"""Compositions that are remembered, each some ten kilobytes; of more the longest unused go."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is needed to run a composition besides its compiled code."""

    bulk: Bulk  # without its body
    code_name: str  # of the optimised code in the cache
    body_bytes: int
    fits_pool: bool = False  # its instances may be made in a pool

    @classmethod
    def of(cls, bulk: Bulk, code_name: str) -> Recipe:
        """Return what to remember of a composition."""
        return cls(replace(bulk, body=b""), code_name, len(bulk.body), fits_pool(bulk.body))


class Recipes:
    """The compositions that were loaded last. Belongs to one thread at a time."""

    def __init__(self, count_max: int = RECIPES_MAX) -> None:
        self._count_max = count_max
        self._kept: OrderedDict[Hashable, Recipe] = OrderedDict()

    def find(self, key: Hashable) -> Recipe | None:
        """Return what is remembered under a key, which then counts as used."""
        recipe = self._kept.get(key)
        if recipe is not None:
            self._kept.move_to_end(key)
        return recipe

    def keep(self, key: Hashable, recipe: Recipe) -> None:
        """Remember a composition, and forget the longest unused one if there are too many."""
        self._kept[key] = recipe
        self._kept.move_to_end(key)
        if len(self._kept) > self._count_max:
            self._kept.popitem(last=False)
