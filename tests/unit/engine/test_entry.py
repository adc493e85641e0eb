"""What runs when a guest calls a host function: it never raises, and reads nothing unchecked."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from hosts.engine import ffi
from hosts.engine.codec.checked import CheckedCodec
from hosts.engine.codec.compiled import compile_entry
from lattice.component.types import Function, ListType, Primitive, WitType
from lattice.errors import InternalError

U32, F64, STRING = (Primitive(name) for name in ("u32", "f64", "string"))


class Call:
    """An entry for `add`, with a slot for its result, and what it was answered or failed with."""

    def __init__(self, *params: WitType) -> None:
        function = Function(params=tuple((f"p{i}", wit) for i, wit in enumerate(params)))
        self.seen: list[Any] = []
        self.failures: list[BaseException] = []
        guest = SimpleNamespace(direct={1: lambda *values: self.seen.append(values)})
        codec = CheckedCodec("test#f", function)
        self._enter = compile_entry(
            function,
            {
                "SCENE": SimpleNamespace(current=guest),
                "NUMBER": 1,
                "FIND": None,
                "REFUSE": codec.lift_args,
                "WRITE": None,
                "FAIL": self._fail,
            },
        )
        self._slot = ctypes.create_string_buffer(ffi.VAL_SIZE)

    def _fail(self, _guest: object, error: BaseException) -> int:
        self.failures.append(error)
        return 7

    def __call__(self, values: list[Any], *types: WitType) -> int | None:
        """Call it as a guest whose component says that the parameters are of these types."""
        function = Function(params=tuple((f"p{i}", wit) for i, wit in enumerate(types)))
        block, _keep = CheckedCodec("test#f", function).lower_args(values)
        address = ffi.address_of_bytes(block)
        return self._enter(0, 0, 0, address, len(values), ctypes.addressof(self._slot))


def test_numbers_are_read_after_their_kinds_were_compared_once() -> None:
    call = Call(U32, F64)
    assert call([1, 2.5], U32, F64) is None
    assert call([3, 4.5], U32, F64) is None
    assert call.seen == [(1, 2.5), (3, 4.5)]


def test_numbers_of_another_kind_are_refused_as_long_as_none_were_right() -> None:
    call = Call(U32, F64)
    for _ in range(2):
        assert call([1.0, 2.5], F64, F64) == 7
    assert not call.seen
    assert [str(each) for each in call.failures] == [
        "a value of kind 10 came where the component's type says kind 6"
    ] * 2
    assert call([1, 2.5], U32, F64) is None


@pytest.mark.parametrize("wit", [STRING, ListType(U32), ListType(STRING)])
def test_pointer_is_never_followed_without_its_kind(wit: WitType) -> None:
    call = Call(U32, wit)
    empty = "" if wit == STRING else []
    assert call([1, empty], U32, wit) is None
    for _ in range(3):
        assert call([1, 2**60], U32, Primitive("u64")) == 7
    assert call.seen == [(1, empty)]
    assert all(isinstance(each, InternalError) for each in call.failures)
