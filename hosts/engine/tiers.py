"""The ways to compile a component, and the configuration of wasmtime for each.

`optimised` code (Cranelift) runs fastest. `baseline` code (Winch) is there five to nine times
sooner and runs about three times slower: a large component starts with it. Both must give the same
results, so that a program can change its tier between two instances. Code and stores of one tier
never meet those of the other: each has an engine of its own.

`metered` code is optimised code that also counts the instructions it runs, as fuel. Short calls of
it take twice as long, so it is made only of components whose limits name fuel.
"""

from __future__ import annotations

import platform
from typing import Literal, TypeAlias

from wasmtime import Config
from wasmtime import Engine as WasmtimeCore

from hosts.engine import ffi
from hosts.engine.slots import set_pool

Tier: TypeAlias = Literal["optimised", "baseline", "metered"]

_FLAGS = "epoch,map,implements,no-concurrency"

STACK_BYTES = 8 * 1024 * 1024
"""Addresses for the stack of each guest, on which the host functions that it calls run too: what
the main thread of a process mostly has. With wasmtime's own 2 MiB, Python code that calls itself
through C code (a key function of `sorted` that sorts) ended the process before it met Python's
recursion limit. Only used pages take memory; a linear memory reserves far more addresses."""

_STRATEGIES: dict[Tier, int] = {"optimised": 1, "baseline": 2, "metered": 1}
"""`wasmtime_strategy_t` of the C API: Cranelift and Winch (wasmtime-py names only the first)."""

HAS_BASELINE = platform.machine().lower() in {"x86_64", "amd64"}
"""Whether this processor has a baseline tier: wasmtime supports Winch fully on x86-64 only."""


def tier_named(name: str) -> Tier:
    """Return the tier of that name.

    Raises:
        ValueError: there is none.
    """
    for tier in _STRATEGIES:
        if tier == name:
            return tier
    raise ValueError(f"{name!r} is none of {', '.join(_STRATEGIES)}")


def flags(tier: Tier) -> str:
    """Return what `new_core` configures, as a part of the cache's key."""
    return f"{_FLAGS},{tier}"


def new_core(tier: Tier, *, is_pooled: bool = False) -> WasmtimeCore:
    """Return wasmtime's engine for a tier; both kinds run the same code.

    A change of what it sets belongs into `_FLAGS` too, if it changes the code that is compiled.
    """
    config = Config()
    config.epoch_interruption = True
    config.wasm_component_model_map = True
    config.wasm_component_model_implements = True
    # Costs 0.3-1 us per call when on, and only asynchronously lifted functions need it.
    ffi.config_concurrency_support(ffi.pointer(config), False)
    ffi.config_async_stack_size(ffi.pointer(config), STACK_BYTES)
    ffi.config_strategy(ffi.pointer(config), _STRATEGIES[tier])
    ffi.config_consume_fuel(ffi.pointer(config), tier == "metered")
    if is_pooled:
        set_pool(config)
    return WasmtimeCore(config)
