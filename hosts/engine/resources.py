"""The objects of the host that one instance has handles of, by numbers that wasmtime calls `rep`.

A guest owns what a host function gave it, until it drops the handle or passes it back. What it
leaves is dropped with the instance: each object exactly once. Host functions get and give the
objects themselves, so no handle is ever held in Python; handles that a guest lends for a call are
given back before the call begins. A handle of the wrong type, or one that was dropped, never comes
here: wasmtime ends such a guest.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hosts.engine import ffi
from hosts.engine.base import Resource
from hosts.engine.codec.handles import Loan
from hosts.engine.layout import UnfitValueError, shown
from lattice.component.types import BorrowType, OwnType, ResourceType
from lattice.errors import InternalError, OverloadedError
from lattice.model.wit import interface_key

log = logging.getLogger(__name__)

OBJECTS_MAX = 100_000
"""Objects that one instance may have handles of at a time: each costs some 200 bytes here."""

ResourceKey: TypeAlias = tuple[str, str]
"""A resource: the key of its interface, and its name there."""

_owned: set[int] = set()
"""`id`s of all objects that a guest of this process owns; their tables keep them alive."""


def resource_key(resource: ResourceType) -> ResourceKey:
    """Return what two names of one resource share."""
    return interface_key(resource.interface), resource.name


@dataclass(frozen=True, slots=True)
class Defined:
    """A resource as a linker has defined it."""

    type_id: int  # what wasmtime tells resources of the host apart by
    resource: Resource


_LENT = BorrowType(ResourceType("", ""))


class HandleTable:
    """The objects that one instance has handles of; see `hosts.engine.codec.handles.Handles`."""

    def __init__(self, context: int, defined: Mapping[ResourceKey, Defined]) -> None:
        """Make the table of an instance in the store of a context."""
        self._context = ffi.passed(context)
        self._defined = defined
        self._found: dict[OwnType, Defined] = {}
        self._objects: dict[int, Any] = {}
        self._drops: dict[int, Callable[[Any], None]] = {}  # how the object of a number ends
        self._reps: dict[int, int] = {}  # by the `id` of the object
        self._free: list[int] = []
        self._out = ctypes.c_void_p()
        self._out_slot = ffi.slot(self._out)
        self._out_address = ffi.passed(ctypes.addressof(self._out))
        self.lift = self._lifting()
        """Returns the object of a handle at an address; an owned one is the host's from now on."""

    @property
    def count(self) -> int:
        """Return how many objects the guest owns now."""
        return len(self._objects)

    def lower(self, wit: OwnType | BorrowType, value: Any, keep: list[Any]) -> int:
        """Return the address of a new handle of an object, which the guest owns from now on."""
        if not isinstance(wit, OwnType):
            raise UnfitValueError("a host cannot lend handles")
        address = self.give(wit, value)
        keep.append(_Given(self, self._reps[id(value)], address))
        return address

    def give(self, wit: OwnType, value: Any) -> int:
        """Return the same as `lower`; the memory there is the caller's."""
        defined = self._found.get(wit) or self._find(wit)
        if not isinstance(value, defined.resource.kind):
            kind = defined.resource.kind.__name__
            raise UnfitValueError(
                f"expected own<{wit.resource.name}> ({kind}), found {shown(value)}"
            )
        key = id(value)
        if key in _owned:
            raise UnfitValueError(f"a guest owns this {type(value).__name__} already")
        if len(self._objects) >= OBJECTS_MAX:
            raise OverloadedError(f"a guest owns {OBJECTS_MAX} objects of the host already")
        rep = self._free[-1] if self._free else len(self._objects) + 1
        address = self._make_handle(rep, defined.type_id)
        if self._free:  # only now: a number that was lost would make `rep` name two objects
            self._free.pop()
        self._objects[rep] = value
        self._drops[rep] = defined.resource.drop
        self._reps[key] = rep
        _owned.add(key)
        return address

    def drop(self, rep: int) -> None:
        """Drop an object whose handle the guest has dropped; raises what the resource raises."""
        self._drops[rep](self._forget(rep))

    def take_back(self, rep: int, address: int) -> None:
        """Undo `lower`: the object is the host's again."""
        self.lift(_LENT, address)  # the store has the handle no more
        self._forget(rep)

    def close(self) -> None:
        """Drop what the guest left, what was made last first. Idempotent."""
        for rep in reversed(tuple(self._objects)):
            try:
                self.drop(rep)
            except Exception:  # each has its turn, and nobody waits for it
                log.exception("an object that a guest left could not be dropped")
        self.lift = _closed  # the other one holds this table, which would wait for the collector

    def _find(self, wit: OwnType) -> Defined:
        found = self._defined.get(resource_key(wit.resource))
        if found is None:
            raise UnfitValueError(f"{wit.resource.name} is no resource of the host")
        self._found[wit] = found
        return found

    def _forget(self, rep: int) -> Any:
        """Return an object that is the guest's no more."""
        value = self._objects.pop(rep)
        self._free.append(rep)
        key = id(value)
        del self._reps[key]
        _owned.discard(key)
        return value

    def _lifting(self) -> Callable[[OwnType | BorrowType, int], Any]:
        """Return `lift`: the way of each call of a method, so it holds all it needs."""
        context, out_slot, out = self._context, self._out_slot, self._out_address
        objects, forget, take = self._objects, self._forget, ffi.resource_any_to_host
        passed, number, delete = ffi.passed, ffi.resource_host_rep, ffi.resource_host_delete

        def lift(wit: OwnType | BorrowType, address: int) -> Any:
            error = take(context, passed(address), out)
            if error:
                raise InternalError(f"a handle cannot be read: {ffi.take_error(error)[0]}")
            handle = passed(out_slot[0])
            rep = number(handle)
            delete(handle)
            return forget(rep) if type(wit) is OwnType else objects[rep]

        return lift

    def _make_handle(self, rep: int, type_id: int) -> int:
        """Return the address of a new handle in the store."""
        handle = ffi.passed(ffi.resource_host_new(True, rep, type_id))
        error = ffi.resource_host_to_any(self._context, handle, self._out_address)
        ffi.resource_host_delete(handle)
        if error:
            raise InternalError(f"a handle cannot be made: {ffi.take_error(error)[0]}")
        return self._out_slot[0]


def _closed(wit: OwnType | BorrowType, _address: int) -> Any:
    raise InternalError(f"a handle of {wit.resource.name} cannot be read: its instance is gone")


class _Given(Loan):
    """A handle on its way to the guest."""

    __slots__ = ("_address", "_rep", "_table")

    def __init__(self, table: HandleTable, rep: int, address: int) -> None:
        self._table = table
        self._rep = rep
        self._address = address

    def release(self) -> None:
        address, self._address = self._address, 0
        if address:
            ffi.resource_any_delete(address)

    def undo(self) -> None:
        self._table.take_back(self._rep, self._address)
        self.release()

    def __del__(self) -> None:
        # The guest died before it got the handle; the table drops the object.
        self.release()
