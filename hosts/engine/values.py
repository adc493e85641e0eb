"""The one door between plain values and the values of wasmtime's C API.

Plain values are those of the wire (`lattice.wire.values`): a record is a map, a variant
`[case, payload]`, an enum a string, flags a list, an option nil or the value (`[value]` when
nested), a result `["ok", value]` or `["err", value]`, list<u8> bytes. `Codec` converts for one
function type, by code compiled for it (`hosts.engine.codec`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from hosts.engine import ffi
from hosts.engine.codec.attempt_source import Plan
from hosts.engine.codec.checked import CheckedCodec, Lowered
from hosts.engine.codec.compiled import (
    compile_attempt,
    compile_lift,
    compile_lift_one,
    compile_lower,
    generic_attempt,
    is_compilable,
)
from hosts.engine.codec.handles import holds_handles
from hosts.engine.codec.spans import SCALARS
from lattice.component.types import Function, Primitive, WitType, structure

__all__ = ["Codec", "Lowered"]

Bind: TypeAlias = Callable[..., Callable[[Sequence[Any]], Any]]
"""Returns for an instance the function from arguments to the result of a call there."""

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
        "_bind",
        "_make_bind",
        "arity",
        "function",
        "has_handles",
        "has_result",
        "is_compiled",
        "lift_args",
        "lift_result",
        "lower_args",
        "lower_result",
        "name",
        "records",
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

    def __init__(
        self, name: str, function: Function, *, records: bool = False, with_handles: bool = False
    ) -> None:
        """Make the conversions of a function type.

        With `records`, lifted records are instances of their classes (`hosts.engine.codec.records`)
        instead of mappings. With `with_handles`, handles of resources are taken, and whoever
        converts has set `hosts.engine.codec.handles.TABLES`.

        Raises:
            InvalidError: a type of the function cannot cross the C API.
        """
        checked = CheckedCodec(name, function, records=records, with_handles=with_handles)
        self.name = name
        self.function = function
        self.arity = checked.arity
        self.has_result = checked.has_result
        self.result_holds_memory = not _is_scalar(function.result)
        """Whether wasmtime allocates for a result, so that somebody must free it."""
        self.has_handles = with_handles and any(
            map(holds_handles, [function.result, *[wit for _, wit in function.params]])
        )
        self.records = records
        self.lower_args, self.lift_args = checked.lower_args, checked.lift_args
        self.lower_result, self.lift_result = checked.lower_result, checked.lift_result
        self.is_compiled = False
        self._bind: Bind | None = None
        self._make_bind = partial(generic_attempt, self.has_result, self.result_holds_memory)
        if os.environ.get("LATTICE_ENGINE") == CHECKED:
            return
        params = [wit for _, wit in function.params]
        result = function.result
        compiles_result = result is not None and is_compilable([result])
        if is_compilable(params):
            self.is_compiled = True
            self._later(
                "lower_args", partial(compile_lower, params, checked.lower_args, records=records)
            )
            self._later(
                "lift_args", partial(compile_lift, params, checked.lift_args, records=records)
            )
        if self.is_compiled or compiles_result:
            plan = Plan(
                params=params if self.is_compiled else None,
                result=result if compiles_result else None,
                has_result=self.has_result,
                holds_memory=self.result_holds_memory,
                records=records,
            )
            self._make_bind = partial(
                compile_attempt, plan, checked.lower_args, checked.lift_result
            )
        if result is not None and compiles_result:
            self._later("lower_result", lambda: _compile_lower_result(result, checked, records))
            self._later(
                "lift_result",
                partial(compile_lift_one, result, checked.lift_result, records=records),
            )

    @property
    def bind(self) -> Bind:
        """Return what makes calls of such a function in an instance.

        See `hosts.engine.codec.attempt_source.write_attempt` for what it takes.
        """
        if self._bind is None:
            self._bind = self._make_bind()
        return self._bind

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


def _compile_lower_result(
    result: WitType, checked: CheckedCodec, records: bool
) -> Callable[[Any], Lowered]:
    lower = compile_lower([result], lambda values: checked.block(values[0]), records=records)
    return lambda value: Lowered(*lower((value,)))


assert ffi.VAL_SIZE == 32, "compiled conversions write values of 32 bytes"
