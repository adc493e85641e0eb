"""The two ways to compile a component, and the configuration of wasmtime for each.

`optimised` code (Cranelift) runs fastest. `baseline` code (Winch) is there five to nine times
sooner and runs about three times slower: a large component starts with it. Both must give the same
results, so that a program can change its tier between two instances. Code and stores of one tier
never meet those of the other: each has an engine of its own.
"""

from __future__ import annotations

import platform
from typing import Literal, TypeAlias

from wasmtime import Config
from wasmtime import Engine as WasmtimeCore

from hosts.engine import ffi

Tier: TypeAlias = Literal["optimised", "baseline"]

_FLAGS = "epoch,map,implements,no-concurrency"

_STRATEGIES: dict[Tier, int] = {"optimised": 1, "baseline": 2}
"""`wasmtime_strategy_t` of the C API: Cranelift and Winch (wasmtime-py names only the first)."""

HAS_BASELINE = platform.machine().lower() in {"x86_64", "amd64"}
"""Whether this processor has a baseline tier: wasmtime supports Winch fully on x86-64 only."""


def flags(tier: Tier) -> str:
    """Return what `new_core` configures, as a part of the cache's key."""
    return f"{_FLAGS},{tier}"


def new_core(tier: Tier) -> WasmtimeCore:
    """Return wasmtime's engine for a tier; a change of what it sets belongs into `_FLAGS` too."""
    config = Config()
    config.epoch_interruption = True
    config.wasm_component_model_map = True
    config.wasm_component_model_implements = True
    # Costs 0.3-1 us per call when on, and only asynchronously lifted functions need it.
    ffi.config_concurrency_support(ffi.pointer(config), False)
    ffi.config_strategy(ffi.pointer(config), _STRATEGIES[tier])
    return WasmtimeCore(config)
