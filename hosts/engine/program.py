"""A program, its compiled code, and what its instances share: linkers, export indices, codecs.

A program may exchange its code for that of another tier. Instances keep the code that they were
made of, so a running one is never touched.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from wasmtime import Engine as WasmtimeCore
from wasmtime.component import Component

from hosts.engine import ffi
from hosts.engine.base import Import, World
from hosts.engine.bulk import CALLS, Bulk
from hosts.engine.fiber import Fibers
from hosts.engine.files import FileSets
from hosts.engine.guestsystem import WAITING, GuestSystem
from hosts.engine.hostfn import Guest, HostFunctions
from hosts.engine.instance import Export, WasmtimeInstance, new_streams
from hosts.engine.linking import Linker, Provision, new_handles
from hosts.engine.metered import MeteredInstance
from hosts.engine.output import Output
from hosts.engine.passing import shape_of
from hosts.engine.store import Store
from hosts.engine.tiers import Tier
from hosts.engine.values import Codec
from hosts.engine.wasi import configure
from lattice.component.types import ComponentType, Function
from lattice.errors import InternalError, NotFoundError
from lattice.model.wit import ROOT, interface_key


@dataclass(frozen=True, slots=True)
class Shared:
    """What all programs of one engine share."""

    functions: HostFunctions
    fibers: Fibers
    files: FileSets
    directory: Path  # private; holds the output of guests while they run
    numbers: itertools.count[int]


class WasmtimeProgram:
    """A compiled component; see `hosts.engine.base.Program`."""

    def __init__(self, shared: Shared, code: Code) -> None:
        self._shared = shared
        self._code = code
        self._is_suspect = False  # the instance closed last had a call that ran for long
        self._has_lost_one = False  # of its instances, since the last one was made
        self._deletion: Future[None] | None = None  # of the last instance that held much memory

    @property
    def type(self) -> ComponentType:
        """Return what remains imported and what is exported after composition."""
        return self._code.wit

    @property
    def footprint_bytes(self) -> int:
        """Return what the program holds in memory, roughly and rather too much."""
        return self._code.footprint_bytes

    @property
    def tier(self) -> Tier:
        """Return how the code of new instances was compiled."""
        return self._code.tier

    def exchange(self, code: Code) -> None:
        """Make new instances of `code` from now on: the same component, compiled otherwise."""
        self._code = code

    async def instantiate(self, imports: Mapping[str, Import], world: World) -> WasmtimeInstance:
        """Return a new instance; see `hosts.engine.base.Program.instantiate`."""
        if self._has_lost_one:
            # Dying costs a hundred times what an ordinary call does, and what cannot be
            # interrupted: who dies again and again does it when nobody else waits.
            self._has_lost_one = False
            await self._shared.fibers.turns.wait(is_woken=False)
        if self._deletion is not None:
            # Mapping memory waits for who unmaps much of it: the task waits, not the thread.
            deletion, self._deletion = self._deletion, None
            await asyncio.wrap_future(deletion)
        code = self._code
        linker = code.linker(imports)
        system = await GuestSystem.open(code.wit, world, self._shared.files)
        if system is not None:
            imports, world = system.imports(imports), system.world()
        files = None
        if linker.needs_wasi and world.files:
            files = await self._shared.files.acquire(world.files)
        store = Store(ffi.pointer(code.core), world.memory_bytes_max)
        handles = new_handles(store.context, linker, imports)
        guest = Guest(world, dict(imports), handles, is_suspect=self._is_suspect)
        streams: tuple[Output, ...] = system.outputs if system else ()

        instance: WasmtimeInstance | None = None

        def on_close() -> None:
            if instance is not None:
                self._is_suspect = guest.was_long
                self._has_lost_one |= instance.has_died
                self._deletion = instance.deletion or self._deletion
            if files is not None:
                self._shared.files.release(files)
            if system is not None:
                system.close()
            if handles is not None:
                handles.close()

        try:
            if linker.needs_wasi:
                number = next(self._shared.numbers)
                streams = new_streams(self._shared.directory, number, guest)
                configure(store.context, world, streams, files)
            kind = MeteredInstance if code.tier == "metered" else WasmtimeInstance
            instance = kind(
                self._shared.fibers,
                store,
                guest,
                streams,
                on_close,
                calls_host=linker.calls_host,
            )
        except BaseException:
            store.close()
            for stream in streams:
                stream.close()
            on_close()
            raise
        await instance.start(linker.pointer, ffi.pointer(code.component), code.export)
        return instance


Provided: TypeAlias = frozenset[tuple[str, Provision]]
"""What a linker is made for: the imports that the host satisfies, and how."""


class Code:
    """A component compiled for one tier."""

    def __init__(
        self,
        tier: Tier,
        core: WasmtimeCore,
        component: Component,
        bulk: Bulk,
        functions: HostFunctions,
        *,
        footprint_bytes: int,
    ) -> None:
        self.tier = tier
        self.core = core
        self.component = component
        self.wit = bulk.original
        self._bulk = bulk
        self.footprint_bytes = footprint_bytes
        self._functions = functions
        self._linkers: dict[Provided, Linker] = {}
        self._exports: dict[tuple[str, str], Export] = {}
        # Instances hold their code, so nothing uses these any more when it is collected.
        weakref.finalize(self, _release, self._linkers, self._exports).atexit = False

    def linker(self, imports: Mapping[str, Import]) -> Linker:
        """Return the linker for what the host provides, and how.

        Raises:
            InvalidError: an import is satisfied by nobody.
        """
        wanted = self.wit.imports
        provided = {name: Provision.of(each) for name, each in imports.items() if name in wanted}
        if WAITING in wanted:
            provided[WAITING] = Provision()
        key = frozenset(provided.items())
        linker = self._linkers.get(key)
        if linker is None:
            engine = ffi.pointer(self.core)
            linker = Linker(engine, self._functions, self._bulk.type, provided)
            self._linkers[key] = linker
        return linker

    def export(self, interface: str, function: str) -> Export:
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
        shown = f"{name}#{function}" if name else function
        if (call := self._bulk.calls.get((name, function))) is not None:
            (function, wit), name = call, CALLS
        codec = Codec(shown, wit)
        component = ffi.pointer(self.component)
        parent = None if name == ROOT else _export_index(component, None, name)
        try:
            return Export(_export_index(component, parent, function), codec, shape_of(codec))
        finally:
            if parent is not None:
                ffi.export_index_delete(parent)

    def _exported(self, interface: str, function: str) -> tuple[str, Function]:
        """Return the interface as the component spells it, and the function's type."""
        exports = self.wit.exports
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


def _release(
    linkers: dict[Provided, Linker],
    exports: dict[tuple[str, str], Export],
) -> None:
    for linker in linkers.values():
        linker.close()
    for export in exports.values():
        ffi.export_index_delete(export.index)
