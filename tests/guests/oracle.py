"""Runs a component by plain wasmtime, without the product: what a guest does by itself.

The generic calls of wasmtime-py are slow and sure: good to check a guest, or the product's engine.
Values are those of wasmtime-py: a record is a `Record`, an unambiguous variant its payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wasmtime import Config, Engine, Store, WasiConfig, _ffi
from wasmtime.component import Component, Instance, Linker

Imports = Mapping[str, Mapping[str, Callable[..., Any]]]
"""Interface -> function -> callable; each is called with the store first."""


class Guest:
    """One instance of a component in a store of its own, with WASI 0.2."""

    def __init__(
        self,
        body: bytes,
        imports: Imports | None = None,
        *,
        files: Path | None = None,
        stderr: Path | None = None,
        memory_bytes_max: int = 64 * 1024 * 1024,
        is_large: bool = False,
    ) -> None:
        """Compile and instantiate. The folder `files` is seen as `/files`, read-only.

        What the guest writes to standard error lands in the file `stderr`.
        `is_large` compiles five times faster to code that is three times slower.
        """
        config = Config()
        if is_large:
            # Winch, which the Python class cannot name (wasmtime_strategy_enum in its C header).
            _ffi.wasmtime_config_strategy_set(config.ptr(), 2)
        config.epoch_interruption = True
        engine = Engine(config)
        wasi = WasiConfig()
        if files is not None:
            wasi.preopen_dir(str(files), "/files", fs_mutable=False)
        if stderr is not None:
            wasi.stderr_file = str(stderr)
        self.store = Store(engine)
        self.store.set_epoch_deadline(1)
        self.store.set_limits(memory_size=memory_bytes_max)
        self.store.set_wasi(wasi)
        linker = Linker(engine)
        linker.add_wasip2()
        for interface, functions in (imports or {}).items():
            with linker.root() as root, root.add_instance(interface) as instance:
                for name, function in functions.items():
                    instance.add_func(name, function)
        self.instance: Instance = linker.instantiate(self.store, Component(engine, body))

    def call(self, interface: str | None, function: str, *args: Any) -> Any:
        """Return what the function answers; None as interface means the root of the component."""
        parent = self.instance.get_export_index(self.store, interface) if interface else None
        index = self.instance.get_export_index(self.store, function, parent)
        assert index is not None, f"{interface}#{function} is not exported"
        found = self.instance.get_func(self.store, index)
        assert found is not None
        result = found(self.store, *args)
        found.post_return(self.store)
        return result
