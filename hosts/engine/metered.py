"""An instance whose calls use up fuel: roughly one unit for each instruction that a guest runs.

What the host does for a guest costs no fuel. Calls of other instances are counted there. Compiled
code keeps what it used in a register until it calls or returns, so that of a call which was ended
from outside the last part is not counted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from hosts.engine import ffi
from hosts.engine.base import Lease
from hosts.engine.instance import Export, WasmtimeInstance
from hosts.engine.passing import Begun, Passed
from lattice.errors import GuestTrapError, InternalError

FUEL_MAX = 1 << 62
"""Fuel of a call without a limit: a century of computing."""

_OUT_OF_FUEL = "all fuel consumed"  # as wasmtime says it


class MeteredInstance(WasmtimeInstance):
    """Gives each call its fuel, tells `World.meter` what it used, and ends one that wants more."""

    async def start(
        self, linker: Any, component: Any, export: Callable[[str, str], Export]
    ) -> None:
        """Instantiate the component; its start functions have as much fuel as a call."""
        with _Metered(self, "the start of the component"):
            await super().start(linker, component, export)

    async def call(
        self, interface: str, function: str, args: Sequence[Any], *, deadline_s: float
    ) -> Any:
        """Return the function's result; see `hosts.engine.base.Instance.call`.

        Raises:
            GuestTrapError: also when the fuel was used up; `details` has `limit`, `maximum` and
                `used` then.
        """
        values = args.lift() if type(args) is Passed else args
        if self._is_busy or self.is_dead:  # refused; the fuel is that of the call that runs
            return await super().call(interface, function, values, deadline_s=deadline_s)
        with _Metered(self, f"{interface}#{function}" if interface else function):
            return await super().call(interface, function, values, deadline_s=deadline_s)

    def begin_inside(self, lease: Lease, shape: str, args: int, results: int) -> Begun:
        """Return False: such a call would have the fuel of nobody."""
        return False

    @property
    def fuel_max(self) -> int:
        """Return the fuel that each call has; without a limit, it is only counted."""
        return self._guest.world.fuel_max or FUEL_MAX

    def fill(self) -> None:
        """Give the store the fuel of one call."""
        self._fuel_left = self.fuel_max
        if ffi.context_set_fuel(self._store.context, self.fuel_max):
            raise InternalError("fuel was given to code that does not count it")

    def take_reading(self) -> int:
        """Return what was used since it was filled, and tell the meter."""
        self._read()
        used = self.fuel_max - self._fuel_left
        self._guest.world.meter(used)
        return used

    def _read(self) -> None:
        if self._store.pointer:
            left = ctypes.c_uint64()
            ffi.context_get_fuel(self._store.context, ctypes.addressof(left))
            self._fuel_left = left.value

    def _release(self) -> None:
        self._read()  # while the store is there
        super()._release()

    _fuel_left = 0


class _Metered:
    """Counts what happens in a block as one call."""

    def __init__(self, instance: MeteredInstance, what: str) -> None:
        self._instance = instance
        self._what = what

    def __enter__(self) -> None:
        self._instance.fill()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        used = self._instance.take_reading()
        if isinstance(error, GuestTrapError) and _OUT_OF_FUEL in error.message:
            maximum = self._instance.fuel_max
            raise GuestTrapError(
                f"{self._what} used up its fuel: {used} of {maximum}; raise limits.fuel, or have "
                "it do less in one call",
                limit="fuel", maximum=maximum, used=used,
            ) from None  # fmt: skip
