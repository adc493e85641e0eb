"""The table of a guest's handles, where the engine's own part of it is planted."""

from __future__ import annotations

import gc
import weakref

import pytest

from hosts.engine.base import Resource
from hosts.engine.resources import Defined, HandleTable, ResourceKey, resource_key
from lattice.component.types import OwnType, ResourceType
from lattice.errors import InternalError

THING = OwnType(ResourceType("test:things/things@0.1.0", "thing"))


class Thing:
    """An object of the host."""


def table(dropped: list[object]) -> HandleTable:
    key: ResourceKey = resource_key(THING.resource)
    return HandleTable(0, {key: Defined(1, Resource(Thing, dropped.append))})


def test_handle_that_cannot_be_made_costs_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []

    def make(_table: HandleTable, rep: int, _type_id: int) -> int:
        if not numbers:
            raise InternalError("a handle cannot be made")
        numbers.append(rep)
        return 1

    monkeypatch.setattr(HandleTable, "_make_handle", make)
    dropped: list[object] = []
    made = table(dropped)
    numbers.append(0)
    things = [Thing() for _ in range(3)]
    for each in things:
        made.give(THING, each)
    made.drop(2)
    numbers.clear()
    with pytest.raises(InternalError):
        made.give(THING, Thing())
    numbers.append(0)
    others = [Thing(), Thing()]
    for each in others:
        made.give(THING, each)
    assert numbers[1:] == [2, 4], "no two objects have one number"
    made.close()
    assert dropped == [things[1], others[1], others[0], things[2], things[0]]


def test_closed_table_goes_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        made = table([])
        made.close()
        seen = weakref.ref(made)
        del made
        assert seen() is None
    finally:
        gc.enable()
