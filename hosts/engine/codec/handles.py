"""What conversions ask about handles of resources: the seam to an instance's table of them.

A handle means something only in its instance, while a conversion is compiled once for a program.
So whoever converts for an instance puts the instance's table into `TABLES.current` before. This
module knows no table; `hosts.engine.resources` has it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol

from hosts.engine.layout import UnfitValueError
from lattice.component.types import (
    BorrowType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


class Loan:
    """A handle that was lowered, kept with the lowered value until one of these is called, once."""

    __slots__ = ()

    def release(self) -> None:
        """Give back what passing took: the value was cloned by wasmtime, or its call is over."""
        raise NotImplementedError

    def undo(self) -> None:
        """Take the handle back: another part of the value did not fit, so nothing was passed."""
        raise NotImplementedError


class Handles(Protocol):
    """The handles of one instance."""

    def lift(self, wit: OwnType | BorrowType, address: int) -> Any:
        """Return what stands for the handle in the `resource_any` at an address.

        The memory there is wasmtime's and valid during this call only. An owned handle is the
        host's from now on.
        """
        ...

    def lower(self, wit: OwnType | BorrowType, value: Any, keep: list[Any]) -> int:
        """Return the address of a `resource_any` for what stands for a handle.

        A `Loan` is appended to `keep`; the address is valid until that is released or undone.

        Raises:
            UnfitValueError: the value stands for no handle of this type; nothing was appended.
        """
        ...


class GuestHandles(Handles, Protocol):
    """The handles of an instance whose guest calls host functions."""

    def give(self, wit: OwnType, value: Any) -> int:
        """Return the same as `lower`; the memory there is the caller's, to pass on or to delete."""
        ...

    def drop(self, rep: int) -> None:
        """Drop what a resource's number stands for: the guest has dropped its handle."""
        ...

    def close(self) -> None:
        """Drop what the guest left. Idempotent."""
        ...


class Tables(threading.local):
    """The table of the instance that values are converted for, on this thread."""

    current: Handles | None = None

    def lift(self, wit: OwnType | BorrowType, address: int) -> Any:
        """Return what stands for a handle."""
        assert self.current is not None, "whoever converts handles has set their table"
        return self.current.lift(wit, address)

    def lower(self, wit: OwnType | BorrowType, value: Any, keep: list[Any]) -> int:
        """Return the address of a handle."""
        if self.current is None:
            raise UnfitValueError("no handle can be passed here")
        return self.current.lower(wit, value, keep)


TABLES = Tables()


def release(keep: Iterable[object]) -> None:
    """Release the handles among what was kept with a value."""
    for each in keep:
        if isinstance(each, Loan):
            each.release()


def undo(keep: Iterable[object]) -> None:
    """Undo the handles among what was kept with a value that was not passed."""
    for each in keep:
        if isinstance(each, Loan):
            each.undo()


def holds_handles(wit: WitType | None) -> bool:
    """Tell whether values of a type can contain a handle."""
    match None if wit is None else structure(wit):
        case OwnType() | BorrowType():
            return True
        case ListType(element, _) | OptionType(element):
            return holds_handles(element)
        case RecordType(fields):
            return any(holds_handles(each) for _, each in fields)
        case TupleType(items):
            return any(map(holds_handles, items))
        case VariantType(cases):
            return any(holds_handles(each) for _, each in cases)
        case ResultType(ok, err):
            return holds_handles(ok) or holds_handles(err)
        case MapType(key, value):
            return holds_handles(key) or holds_handles(value)
        case _:
            return False
