"""The one door between plain values and the values of wasmtime's C API.

Plain values are those of the wire (`lattice.wire.values`): a record is a map, a variant
`[case, payload]`, an enum a string, flags a list, an option nil or the value (`[value]` when
nested), a result `["ok", value]` or `["err", value]`, list<u8> bytes. `Codec` converts for one
function type, by code compiled for it (`hosts.engine.codec`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hosts.engine import ffi
from hosts.engine.codec.checked import CheckedCodec, Lowered
from hosts.engine.codec.compiled import (
    compile_lift,
    compile_lift_one,
    compile_lower,
    is_compilable,
)
from hosts.engine.codec.spans import SCALARS
from lattice.component.types import Function, Primitive, WitType, structure

__all__ = ["Codec", "Lowered"]

LowerArgs: TypeAlias = Callable[[Sequence[Any]], tuple[bytes, Sequence[object]]]

_SCALARS = {Primitive(name) for name in (*SCALARS, "char")}

CHECKED = "checked"
"""The value of the environment variable `LATTICE_ENGINE` that turns compiled conversions off."""


class Codec:
    """Converts arguments and result of one function type, in both directions.

    The four conversions are attributes, so that a call of one is the call of compiled code; each
    is compiled when it is first used.
    """

    __slots__ = (
        "arity",
        "function",
        "has_result",
        "is_compiled",
        "lift_args",
        "lift_result",
        "lower_args",
        "lower_result",
        "name",
        "result_holds_memory",
    )  # fmt: skip

    lower_args: LowerArgs
    """Returns the arguments as one block, and what the block points to.

    Both must be kept until the call is over.

    Raises:
        InvalidError: an argument does not fit its parameter; the path is named.
    """

    lift_args: Callable[[int], list[Any]]
    """Returns the arguments that a guest passes to a host function, read at an address."""

    lift_result: Callable[[int], Any]
    """Returns the result at an address, None for a function without one."""

    lower_result: Callable[[Any], Lowered | None]
    """Returns a host function's result, None for a function without one.

    Raises:
        InvalidError: the value does not fit the result type.
    """

    def __init__(self, name: str, function: Function) -> None:
        """Raises `InvalidError` when a type of the function cannot cross the C API."""
        checked = CheckedCodec(name, function)
        self.name = name
        self.function = function
        self.arity = checked.arity
        self.has_result = checked.has_result
        self.result_holds_memory = not _is_scalar(function.result)
        """Whether wasmtime allocates for a result, so that somebody must free it."""
        self.lower_args, self.lift_args = checked.lower_args, checked.lift_args
        self.lower_result, self.lift_result = checked.lower_result, checked.lift_result
        self.is_compiled = False
        if os.environ.get("LATTICE_ENGINE") == CHECKED:
            return
        params = [wit for _, wit in function.params]
        if is_compilable(params):
            self.is_compiled = True
            self._later("lower_args", lambda: compile_lower(params, checked.lower_args))
            self._later("lift_args", lambda: compile_lift(params, checked.lift_args))
        result = function.result
        if result is not None and is_compilable([result]):
            self._later("lower_result", lambda: _compile_lower_result(result, checked))
            self._later("lift_result", lambda: compile_lift_one(result, checked.lift_result))

    def write_result(self, value: Any, address: int) -> None:
        """Lower a host function's result into the slot at an address, whose old content is lost.

        Raises:
            InvalidError: the value does not fit the result type; the slot is as before.
        """
        lowered = self.lower_result(value)
        if lowered is not None:
            lowered.write(address)

    def _later(self, attribute: str, compile_it: Callable[[], Callable[[Any], Any]]) -> None:
        """Make the first call of a conversion compile it."""

        def first(value: Any) -> Any:
            compiled = compile_it()
            setattr(self, attribute, compiled)
            return compiled(value)

        setattr(self, attribute, first)


def _is_scalar(wit: WitType | None) -> bool:
    return wit is None or structure(wit) in _SCALARS


def _compile_lower_result(result: WitType, checked: CheckedCodec) -> Callable[[Any], Lowered]:
    lower = compile_lower([result], lambda values: checked.block(values[0]))
    return lambda value: Lowered(*lower((value,)))


assert ffi.VAL_SIZE == 32, "compiled conversions write values of 32 bytes"
