"""A compiled component and what its instances share: linkers, export indices, codecs."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wasmtime import Engine as WasmtimeCore
from wasmtime.component import Component

from hosts.engine import ffi
from hosts.engine.base import HostImport, World
from hosts.engine.fiber import Fibers
from hosts.engine.files import FileSets
from hosts.engine.hostfn import Guest, HostFunctions
from hosts.engine.instance import Export, Store, WasmtimeInstance, new_streams
from hosts.engine.linking import Linker
from hosts.engine.values import Codec
from hosts.engine.wasi import Stream, configure
from lattice.component.types import ComponentType, Function
from lattice.errors import InternalError, NotFoundError
from lattice.model.wit import ROOT, interface_key


@dataclass(frozen=True, slots=True)
class Shared:
    """What all programs of one engine share."""

    core: WasmtimeCore
    functions: HostFunctions
    fibers: Fibers
    files: FileSets
    directory: Path  # private; holds the output of guests while they run
    numbers: itertools.count[int]


class WasmtimeProgram:
    """A compiled component; see `hosts.engine.base.Program`."""

    def __init__(self, shared: Shared, component: Component, wit: ComponentType) -> None:
        self._shared = shared
        self._component = component
        self._type = wit
        self._linkers: dict[frozenset[str], Linker] = {}
        self._exports: dict[tuple[str, str], Export] = {}
        # Instances hold their program, so nothing uses these any more when it is collected.
        weakref.finalize(self, _release, self._linkers, self._exports).atexit = False

    @property
    def type(self) -> ComponentType:
        """Return what remains imported and what is exported after composition."""
        return self._type

    async def instantiate(
        self, imports: Mapping[str, HostImport], world: World
    ) -> WasmtimeInstance:
        """Return a new instance; see `hosts.engine.base.Program.instantiate`."""
        linker = self._linker(frozenset(imports).intersection(self._type.imports))
        files = None
        if linker.needs_wasi and world.files:
            files = await self._shared.files.acquire(world.files)
        guest = Guest(world, dict(imports))
        store = Store(ffi.pointer(self._shared.core), world.memory_bytes_max)
        streams: tuple[Stream, ...] = ()

        def on_close() -> None:
            if files is not None:
                self._shared.files.release(files)

        try:
            if linker.needs_wasi:
                number = next(self._shared.numbers)
                streams = new_streams(self._shared.directory, number, guest)
                configure(store.context, world, streams, files)
            instance = WasmtimeInstance(self._shared.fibers, store, guest, streams, on_close)
        except BaseException:
            store.close()
            for stream in streams:
                stream.close()
            on_close()
            raise
        await instance.start(linker.pointer, ffi.pointer(self._component), self._export)
        return instance

    def _linker(self, provided: frozenset[str]) -> Linker:
        linker = self._linkers.get(provided)
        if linker is None:
            engine = ffi.pointer(self._shared.core)
            linker = Linker(engine, self._shared.functions, self._type, provided)
            self._linkers[provided] = linker
        return linker

    def _export(self, interface: str, function: str) -> Export:
        """Return an exported function.

        Raises:
            NotFoundError: the component does not export it.
            InvalidError: a type of it cannot cross between host and guest.
        """
        export = self._exports.get((interface, function))
        if export is None:
            export = self._find(interface, function)
            self._exports[interface, function] = export
        return export

    def _find(self, interface: str, function: str) -> Export:
        name, wit = self._exported(interface, function)
        codec = Codec(f"{name}#{function}" if name else function, wit)
        component = ffi.pointer(self._component)
        parent = None if name == ROOT else _export_index(component, None, name)
        try:
            return Export(_export_index(component, parent, function), codec)
        finally:
            if parent is not None:
                ffi.export_index_delete(parent)

    def _exported(self, interface: str, function: str) -> tuple[str, Function]:
        """Return the interface as the component spells it, and the function's type."""
        exports = self._type.exports
        name = interface
        if name not in exports:
            key = interface_key(interface)
            name = next((each for each in exports if interface_key(each) == key), interface)
        if name not in exports:
            offered = ", ".join(sorted(each or "(root)" for each in exports)) or "nothing"
            raise NotFoundError(
                f"the component does not export {interface or 'functions at its root'}, "
                f"it exports {offered}"
            )
        functions = exports[name].functions
        if function not in functions:
            offered = ", ".join(functions) or "none"
            raise NotFoundError(
                f"{name or 'the component'} has no function {function}, it has {offered}"
            )
        return name, functions[function]


def _export_index(component: int, parent: int | None, name: str) -> int:
    encoded = name.encode()
    index: int | None = ffi.component_get_export_index(component, parent, encoded, len(encoded))
    if not index:
        raise InternalError(f"the compiled component lacks its export {name}")
    return index


def _release(linkers: dict[frozenset[str], Linker], exports: dict[tuple[str, str], Export]) -> None:
    for linker in linkers.values():
        linker.close()
    for export in exports.values():
        ffi.export_index_delete(export.index)
