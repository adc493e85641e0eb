"""The conversions of one function by interpreting its type: slow, with each fault named.

What it accepts and refuses is the rule that compiled conversions are tested against, and
what they fall back to. `LATTICE_ENGINE=checked` makes the engine use it alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from hosts.engine import ffi
from hosts.engine.codec.handles import holds_handles, release, undo
from hosts.engine.layout import Keep, UnfitValueError, shown
from hosts.engine.lifting import lifting
from hosts.engine.lowering import lowering
from lattice.component.types import Function
from lattice.errors import InvalidError


class CheckedCodec:
    """Converts arguments and result of one function type; see `hosts.engine.values.Codec`."""

    def __init__(
        self, name: str, function: Function, *, records: bool = False, with_handles: bool = False
    ) -> None:
        """Make the conversions; see `hosts.engine.values.Codec` for the two choices.

        Raises:
            InvalidError: a type of the function cannot cross the C API.
        """
        self.name = name
        self.arity = len(function.params)
        self.has_result = function.result is not None
        self._names = [param for param, _ in function.params]
        try:
            self._lower_params = [lowering(wit) for _, wit in function.params]
            self._lift_params = [lifting(wit, records=records) for _, wit in function.params]
            self._lower_result = lowering(function.result) if function.result else None
            self._lift_result = (
                lifting(function.result, records=records) if function.result else None
            )
            if not with_handles:
                _refuse_handles(function)
        except InvalidError as error:
            raise InvalidError(f"{name}: {error.message}") from None

    def lower_args(self, args: Sequence[Any]) -> tuple[bytes, Keep]:
        """Return the arguments as one block, and what the block points to.

        Both must be kept until the call is over.

        Raises:
            InvalidError: an argument does not fit its parameter; the path is named.
        """
        if len(args) != self.arity:
            raise InvalidError(
                f"{self.name} takes {self.arity} arguments ({', '.join(self._names)}), "
                f"found {len(args)}"
            )
        keep: Keep = []
        parts: list[bytes] = []
        for name, lower, value in zip(self._names, self._lower_params, args, strict=True):
            try:
                parts.append(lower(value, keep))
            except UnfitValueError as fault:
                undo(keep)
                raise _unfit(f"an argument of {self.name} does not fit", name, fault) from None
            except BaseException:
                undo(keep)
                raise
        return b"".join(parts), keep

    def lift_args(self, address: int) -> list[Any]:
        """Return the arguments that a guest passes to a host function, read at an address."""
        if not self.arity:
            return []
        block = ctypes.string_at(address, self.arity * ffi.VAL_SIZE)
        return [lift(block, i * ffi.VAL_SIZE) for i, lift in enumerate(self._lift_params)]

    def lift_result(self, address: int) -> Any:
        """Return the result at an address, None for a function without one."""
        if self._lift_result is None:
            return None
        return self._lift_result(ctypes.string_at(address, ffi.VAL_SIZE), 0)

    def lower_result(self, value: Any) -> Lowered | None:
        """Return a host function's result, None for a function without one.

        Raises:
            InvalidError: the value does not fit the result type.
        """
        if self._lower_result is None:
            if value is not None:
                raise InvalidError(f"{self.name} has no result, found {shown(value)}")
            return None
        return Lowered(*self.block(value))

    def block(self, value: Any) -> tuple[bytes, Keep]:
        """Return a result's block, and what it points to.

        Raises:
            InvalidError: the value does not fit the result type.
        """
        assert self._lower_result is not None, "there is a result to lower"
        keep: Keep = []
        try:
            return self._lower_result(value, keep), keep
        except UnfitValueError as fault:
            undo(keep)
            message = f"the result of {self.name} does not fit"
            raise _unfit(message, "result", fault) from None
        except BaseException:
            undo(keep)
            raise


class Lowered:
    """A lowered result that waits to be handed to the guest."""

    __slots__ = ("_block", "_keep")

    def __init__(self, block: bytes, keep: Sequence[object]) -> None:
        self._block = block
        self._keep = keep

    def write(self, address: int) -> None:
        """Write a copy that Rust owns into the slot at an address, whose old content is lost.

        Done once.
        """
        ffi.val_clone(ffi.address_of_bytes(self._block), address)
        release(self._keep)


def _refuse_handles(function: Function) -> None:
    for wit in (*[each for _, each in function.params], function.result):
        if holds_handles(wit):
            raise InvalidError("values of type handle cannot cross between host and guest here")


def _unfit(message: str, root: str, fault: UnfitValueError) -> InvalidError:
    return InvalidError(message, [f"{root}{''.join(fault.path)}: {fault.fault}"])
