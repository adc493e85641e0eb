"""Handles inside values: asked of the table in place, released after a call, undone on a misfit."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest

from hosts.engine import ffi
from hosts.engine.codec.checked import CheckedCodec
from hosts.engine.codec.handles import TABLES, Loan, holds_handles, release
from hosts.engine.codec.memory import MEMORY
from hosts.engine.layout import UnfitValueError
from hosts.engine.values import Codec
from lattice.component.types import (
    BorrowType,
    Function,
    ListType,
    MapType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.errors import InvalidError

U32 = Primitive("u32")
FILE = ResourceType("a:b/c", "file")
OWN, BORROW = OwnType(FILE), BorrowType(FILE)


class Entry(Loan):
    """A loan that notes what became of it."""

    def __init__(self, log: list[str], name: str) -> None:
        self.name = name
        self.handle = ctypes.create_string_buffer(name.encode())
        self._log = log

    def release(self) -> None:
        self._log.append(f"release {self.name}")

    def undo(self) -> None:
        self._log.append(f"undo {self.name}")


class Table:
    """Takes strings for handles; a handle in memory is the string."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def lift(self, wit: OwnType | BorrowType, address: int) -> Any:
        word = "own" if isinstance(wit, OwnType) else "borrow"
        return f"{word} {ctypes.string_at(address).decode()}"

    def lower(self, _wit: OwnType | BorrowType, value: Any, keep: list[Any]) -> int:
        if not isinstance(value, str):
            raise UnfitValueError(f"expected a file, found {value!r}")
        entry = Entry(self.log, value)
        keep.append(entry)
        return ctypes.addressof(entry.handle)


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    TABLES.current = made
    yield made
    TABLES.current = None


def codecs(*types: WitType) -> tuple[Codec, CheckedCodec]:
    function = Function(
        params=tuple((f"p{index}", wit) for index, wit in enumerate(types)), result=types[0]
    )
    return Codec("test#f", function, with_handles=True), CheckedCodec(
        "test#f", function, with_handles=True
    )


@pytest.mark.parametrize(
    ("wit", "value", "lifted"),
    [
        (OWN, "a", "own a"),
        (NamedType("a:b/c", "f", BORROW), "a", "borrow a"),
        (ListType(OWN), ["a", "b"], ["own a", "own b"]),
        (OptionType(BORROW), "a", "borrow a"),
        (OptionType(BORROW), None, None),
        (RecordType((("f", OWN), ("n", U32))), {"f": "a", "n": 1}, {"f": "own a", "n": 1}),
        (TupleType((U32, OWN)), [1, "a"], [1, "own a"]),
        (VariantType((("some", OWN), ("none", None))), ["some", "a"], ["some", "own a"]),
        (ResultType(OWN, U32), ["ok", "a"], ["ok", "own a"]),
        (MapType(U32, OWN), {1: "a"}, {1: "own a"}),
    ],
)
def test_handle_crosses_wherever_it_stands(
    table: Table, wit: WitType, value: Any, lifted: Any
) -> None:
    assert holds_handles(wit)
    for codec in codecs(wit, Primitive("string")):
        block, keep = codec.lower_args([value, "text"])
        assert codec.lift_args(ffi.address_of_bytes(block)) == [lifted, "text"]
        assert codec.lift_result(ffi.address_of_bytes(block)) == lifted
        expected = [f"release {name}" for name in ("a", "b") if name in str(value)]
        assert not table.log
        release(keep)
        assert table.log == expected
        table.log.clear()


@pytest.mark.parametrize("misfit", ["text", 2**40])
def test_handle_is_taken_back_when_another_argument_misfits(table: Table, misfit: Any) -> None:
    for codec in codecs(OWN, U32):
        with pytest.raises(InvalidError, match="does not fit"):
            codec.lower_args(["a", misfit])
        # Compiled code gives up first, then the checking conversion does.
        assert set(table.log) == {"undo a"}
        assert len(table.log) == (2 if isinstance(codec, Codec) else 1)
        table.log.clear()


def test_value_that_stands_for_no_handle_is_refused_with_its_path(table: Table) -> None:
    for codec in codecs(RecordType((("f", OWN), ("g", OWN)))):
        with pytest.raises(InvalidError) as caught:
            codec.lower_args([{"f": "a", "g": 5}])
        assert list(caught.value.faults) == ["p0.g: expected a file, found 5"]
        assert set(table.log) == {"undo a"}
        table.log.clear()


def test_result_with_a_handle_is_released_when_it_was_cloned(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloned: list[int] = []
    monkeypatch.setattr(ffi, "val_clone", lambda source, _target: cloned.append(MEMORY[source]))
    for codec in codecs(OWN):
        lowered = codec.lower_result("a")
        assert lowered is not None
        assert not table.log
        lowered.write(0)
        assert cloned == [21], "the kind of a handle"
        assert table.log == ["release a"]
        table.log.clear()
        cloned.clear()


def test_without_a_table_no_handle_can_be_passed() -> None:
    TABLES.current = None  # a guest of another test may have left its own
    for codec in codecs(OWN):
        with pytest.raises(InvalidError) as caught:
            codec.lower_args(["a"])
        assert list(caught.value.faults) == ["p0: no handle can be passed here"]


def test_function_with_handles_is_refused_where_there_is_no_table() -> None:
    with pytest.raises(InvalidError, match="test#f: values of type handle cannot cross"):
        Codec("test#f", Function(params=(("p", ListType(OWN)),)))
    assert Codec("test#f", Function(params=(("p", OWN),)), with_handles=True).has_handles
    assert not Codec("test#f", Function(params=(("p", U32),)), with_handles=True).has_handles
