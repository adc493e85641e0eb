"""The demands that a plan serves, numbered so that columns can name them; a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lattice.model.ids import DeploymentName
from scheduler.placement.model import Demand, Key

COMPACTED_MIN = 1024
"""Numbers of demands that are gone, below which they are not worth to be given out again."""


class Book:
    """Demands by number and by name; a number stays until the book is compacted."""

    __slots__ = ("by_name", "daemons", "demands", "numbers", "refusing")

    def __init__(self) -> None:
        self.demands: list[Demand | None] = []
        self.numbers: dict[Key, int] = {}
        self.by_name: dict[DeploymentName, tuple[int, ...]] = {}
        self.refusing: dict[DeploymentName, frozenset[int]] = {}  # who is to be apart from it
        self.daemons: frozenset[int] = frozenset()

    def demand(self, number: int) -> Demand:
        """Return the demand of a number that is in use."""
        found = self.demands[number]
        assert found is not None
        return found

    def refusing_names(self, name: DeploymentName) -> list[DeploymentName]:
        """Return the deployments that want to be apart from one, without itself."""
        numbers = self.refusing.get(name, frozenset())
        return sorted({self.demand(number).deployment for number in numbers} - {name})

    @property
    def is_wasteful(self) -> bool:
        """Tell whether most numbers are of demands that are gone."""
        gone = len(self.demands) - len(self.numbers)
        return gone > COMPACTED_MIN and gone > len(self.numbers)

    def updated(self, changes: Mapping[Key, Demand | None]) -> Book:
        """Return a book with the demands given, less those that are None."""
        book = Book()
        book.demands = self.demands.copy()
        book.numbers = self.numbers.copy()
        book.by_name = self.by_name.copy()
        book.refusing = self.refusing.copy()
        book.daemons = self.daemons
        for key in sorted(changes):
            number = book.numbers.get(key)
            if number is not None:
                book.withdraw(number)
            if (demand := changes[key]) is not None:
                book.enter(demand, number)
            elif number is not None:
                book.remove(key, number)
        return book

    def renumbered(self, demands: Iterable[Demand]) -> Book:
        """Return a book of the demands, numbered in the order given."""
        book = Book()
        for demand in demands:
            book.enter(demand, None)
        return book

    def enter(self, demand: Demand, number: int | None) -> None:
        """Take a demand in, under its number if it has one; only while the book is made."""
        if number is None:
            number = self.numbers[demand.key] = len(self.demands)
            self.demands.append(demand)
            name = demand.deployment
            self.by_name[name] = (*self.by_name.get(name, ()), number)
        self.demands[number] = demand
        self._apart(number, is_there=True)
        if demand.per_host:
            self.daemons |= {number}

    def withdraw(self, number: int) -> None:
        """Forget what a demand said, but for its number."""
        self._apart(number, is_there=False)
        self.daemons -= {number}

    def remove(self, key: Key, number: int) -> None:
        """Forget a demand; its number stays unused."""
        self.demands[number] = None
        del self.numbers[key]
        left = tuple(other for other in self.by_name[key[0]] if other != number)
        if left:
            self.by_name[key[0]] = left
        else:
            del self.by_name[key[0]]

    def _apart(self, number: int, *, is_there: bool) -> None:
        for name in self.demand(number).placement.apart:
            others = self.refusing.get(name, frozenset())
            others = others | {number} if is_there else others - {number}
            if others:
                self.refusing[name] = others
            else:
                self.refusing.pop(name, None)
