"""Gives the types of an instance that was put together by hand the interface that exports it.

Such an instance lists types and functions side by side, and its functions refer to types that had
no name when they were defined; they are found again by identity.
"""

from __future__ import annotations

from dataclasses import replace

from lattice.component.binary import ByteReader
from lattice.component.scopes import FunctionItem, Instance, Item, Typed, named
from lattice.component.types import (
    BorrowType,
    Function,
    FutureType,
    ListType,
    MapType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    VariantType,
    WitType,
)


def own_types(reader: ByteReader, instance: Instance, owner: str) -> Instance:
    """Return the instance with its types named, and its functions written in those names."""
    renaming = _Renaming()
    exports: dict[str, Item] = {}
    for name, item in instance.exports.items():
        if isinstance(item, Typed):
            inner = Typed(renaming.parts(item.type), item.depth, item.size)
            outer = named(reader, owner, name, inner)
            if not isinstance(item.type, Primitive):
                renaming.add(item.type, outer.type)
            exports[name] = outer
    for name, item in instance.exports.items():
        if isinstance(item, FunctionItem):
            exports[name] = FunctionItem(renaming.function(item.function), item.size)
        elif not isinstance(item, Typed):
            exports[name] = item
    return Instance({name: exports[name] for name in instance.exports})


class _Renaming:
    """Replaces types by identity: two equal types of different names stay apart."""

    def __init__(self) -> None:
        self._known: dict[int, WitType] = {}
        self._kept: list[WitType] = []  # an id is only true while its object lives

    def add(self, old: WitType, new: WitType) -> None:
        self._kept.append(old)
        self._known.setdefault(id(old), new)

    def function(self, function: Function) -> Function:
        return replace(
            function,
            params=tuple((name, self.of(part)) for name, part in function.params),
            result=self._maybe(function.result),
        )

    def of(self, wit: WitType) -> WitType:
        known = self._known.get(id(wit))
        if known is None:
            known = self.parts(wit)
            self.add(wit, known)
        return known

    def _maybe(self, wit: WitType | None) -> WitType | None:
        return None if wit is None else self.of(wit)

    def _resource(self, resource: ResourceType) -> ResourceType:
        found = self.of(resource)
        return found if isinstance(found, ResourceType) else resource

    def parts(self, wit: WitType) -> WitType:
        """Return a type with its parts replaced, but not itself."""
        match wit:
            case RecordType(fields):
                return RecordType(tuple((name, self.of(part)) for name, part in fields))
            case TupleType(items):
                return TupleType(tuple(self.of(part) for part in items))
            case VariantType(cases):
                return VariantType(tuple((name, self._maybe(part)) for name, part in cases))
            case ListType(element, length):
                return ListType(self.of(element), length)
            case OptionType(element):
                return OptionType(self.of(element))
            case ResultType(ok, err):
                return ResultType(self._maybe(ok), self._maybe(err))
            case MapType(key, value):
                return MapType(self.of(key), self.of(value))
            case NamedType(interface, name, target):
                return NamedType(interface, name, self.of(target))
            case OwnType() | BorrowType() | StreamType() | FutureType():
                return self._handle(wit)
            case _:
                return wit

    def _handle(self, wit: OwnType | BorrowType | StreamType | FutureType) -> WitType:
        match wit:
            case OwnType(resource):
                return OwnType(self._resource(resource))
            case BorrowType(resource):
                return BorrowType(self._resource(resource))
            case StreamType(element):
                return StreamType(self._maybe(element))
            case FutureType(element):
                return FutureType(self._maybe(element))
