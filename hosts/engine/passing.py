"""Values on their way from one guest to another, which nobody converts in between.

What a guest passes to an import and what it gets from it are values in C memory, as are those of
the guest that answers: they are handed on as they are (`hosts.engine.base.Forward`). This module
knows who owns such values; it neither finds the callee nor runs it.

Arguments belong to the caller's callback and are gone when it returns (`hosts.engine.ffi`, rule
4). A callee whose call begins inside the callback reads them there; for any other they are cloned.
A result belongs to the slot of the callee: it is moved, and the slot left empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from hosts.engine import ffi
from hosts.engine.base import Lease
from hosts.engine.codec.compiled import generic_attempt
from hosts.engine.codec.inside_source import compile_inside
from hosts.engine.codec.memory import HEADER, MEMORY
from hosts.engine.values import Codec
from lattice.component.fingerprint import canonical_form

BEGINS_INSIDE_MAX = 16
"""Calls that begin inside each other's callbacks: each takes some 2 KiB of its caller's stack, and
some ten frames of Python. Deeper ones begin when the callback has returned."""


class Passed(Sequence[Any]):
    """The arguments of a call that is passed on: a sequence of values, converted when looked at.

    The values may be those of a callback that runs, or clones, which this owns.
    """

    __slots__ = ("_block", "_codec", "_is_owner", "_lifted", "shape")

    def __init__(self, codec: Codec, shape: str, address: int) -> None:
        """Refer to the arguments at an address, which somebody else owns."""
        self.shape = shape
        self._codec = codec
        self._block = bytes(MEMORY[address : address + codec.arity * ffi.VAL_SIZE])
        self._is_owner = False
        self._lifted: list[Any] | None = None

    @property
    def block(self) -> bytes:
        """Return the arguments as `Codec.lower_args` does; what they point to is not in it."""
        return self._block

    def clone(self) -> Passed:
        """Own the values from now on, so that they outlive the callback; return self."""
        if self._is_owner or not self._codec.arity:
            return self
        owned = bytes(len(self._block))  # a new object: of two bytes and more none is shared
        for offset in range(0, len(owned), ffi.VAL_SIZE):
            ffi.val_clone(id(self._block) + HEADER + offset, id(owned) + HEADER + offset)
        self._block = owned
        self._is_owner = True
        return self

    def lift(self) -> list[Any]:
        """Return the arguments as plain values."""
        if self._lifted is None:
            self._lifted = self._codec.lift_args(id(self._block) + HEADER)
        return self._lifted

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.lift()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.lift())

    def __len__(self) -> int:
        return self._codec.arity

    def __del__(self) -> None:
        if self._is_owner:
            for offset in range(0, len(self._block), ffi.VAL_SIZE):
                ffi.val_delete(id(self._block) + HEADER + offset)


class Moved:
    """The result of a call that was passed on: a value that was moved out of its slot."""

    __slots__ = ("_value", "is_taken", "shape")

    def __init__(self, shape: str, address: int) -> None:
        self.shape = shape
        self.is_taken = False  # it answers a call already
        self._value = bytes(MEMORY[address : address + ffi.VAL_SIZE])
        MEMORY[address] = 0  # the kind of an empty slot: nobody frees the value there

    def write(self, address: int) -> None:
        """Move the value into the slot at an address, whose old content is lost. Done once."""
        MEMORY[address : address + ffi.VAL_SIZE] = self._value
        self._value = b""

    def __del__(self) -> None:
        if self._value:  # nobody took it
            ffi.val_delete(id(self._value) + HEADER)


class Passage:
    """Takes the place of a `Codec` in a call that is passed on: converts nothing."""

    has_handles = False  # values with handles are not passed on
    result_holds_memory = False  # it is moved away at once

    def __init__(self, codec: Codec, shape: str) -> None:
        self.name = codec.name
        self.arity = codec.arity
        self.has_result = codec.has_result
        self._shape = shape
        self.bind: Callable[..., Callable[..., Any]] = generic_attempt(
            codec.has_result, holds_memory=False
        )

    def lower_args(self, args: Any) -> tuple[bytes, object]:
        """Return `Passed` arguments as one block, and what owns what it points to."""
        return args.block, (args,)

    def lift_result(self, address: int) -> Moved | None:
        """Return the result in the slot at an address, which is empty then."""
        return Moved(self._shape, address) if self.has_result else None


class PassageInside(Passage):
    """The same for a call that begins inside a callback."""

    def __init__(self, codec: Codec, shape: str) -> None:
        super().__init__(codec, shape)
        self.bind = compile_inside()


Begun: TypeAlias = Callable[[], Awaitable[Any]] | bool
"""A call inside a callback: True when it is over, False when it cannot begin there, else what to
await for its result."""


class Callee:
    """An instance that can be called inside the callback of the guest that calls it."""

    __slots__ = ()

    def begin_inside(self, lease: Lease, shape: str, args: int, results: int) -> Begun:
        """Begin a call with the arguments of a callback, which are of a shape, at their address.

        When it is over, its result is in the slot at the address `results`; else that is as before.
        Errors as `hosts.engine.base.Instance.call`, now or when awaited.
        """
        raise NotImplementedError


def shape_of(codec: Codec) -> str:
    """Return what two functions share exactly when values may pass between them as they are."""
    return canonical_form(codec.function)
