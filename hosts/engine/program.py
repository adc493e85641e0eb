"""A program, its compiled code, and what its instances share: linkers, export indices, codecs.

A program may exchange its code for that of another tier. Instances keep the code that they were
made of, so a running one is never touched.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from wasmtime import Engine as WasmtimeCore
from wasmtime.component import Component

from hosts.engine import ffi
from hosts.engine.base import Import, World
from hosts.engine.bulk import CALLS, Bulk
from hosts.engine.fiber import Fibers
from hosts.engine.files import FileSets
from hosts.engine.guestsystem import WAITING, GuestSystem, check_world, has_adapter
from hosts.engine.hostfn import Guest, HostFunctions
from hosts.engine.instance import Export, WasmtimeInstance
from hosts.engine.linking import Linker, Provision, new_handles
from hosts.engine.metered import MeteredInstance
from hosts.engine.passing import shape_of
from hosts.engine.slots import MEMORY_BYTES_MAX, Slots
from hosts.engine.store import Store
from hosts.engine.tiers import Tier
from hosts.engine.values import Codec
from hosts.engine.wasi import Stream, configure, new_streams
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
    slots: Slots = field(default_factory=Slots)  # of the pool


class WasmtimeProgram:
    """A compiled component; see `hosts.engine.base.Program`."""

    def __init__(self, shared: Shared, code: Code) -> None:
        self._shared = shared
        self._code = code
        self._is_suspect = False  # the instance closed last had a call that ran for long
        self._has_lost_one = False  # of its instances, since the last one was made
        self._deletion: Future[None] | None = None  # of the last instance that held much memory
        self._needs: _Needs | None = None  # of the world that was seen last

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
        if self._has_lost_one or self._deletion is not None:
            await self._until_one_may_be_made()
        code = self._code
        slots = None
        if code.is_pooled:
            slots = self._shared.slots if world.memory_bytes_max <= MEMORY_BYTES_MAX else None
            if slots is None or not slots.take():
                # All places are taken, or too small: it gets memory of its own.
                slots, code = None, await code.others()
        try:
            linker = code.linker(imports)
            needs = self._needs_of(world)
            files = None
            if world.files and (needs.new_system is not None or linker.needs_wasi):
                files = await self._shared.files.acquire(world.files)
        except BaseException:
            if slots is not None:
                slots.give()
            raise
        store = Store(code.passed_core, world.memory_bytes_max, slots)
        instance = self._new_instance(code, linker, imports, needs, files, store)
        await instance.start(linker.passed, code.passed_component, code.export)
        return instance

    async def _until_one_may_be_made(self) -> None:
        if self._has_lost_one:
            # Dying costs a hundred times what an ordinary call does, and what cannot be
            # interrupted: who dies again and again does it when nobody else waits.
            self._has_lost_one = False
            await self._shared.fibers.turns.wait(is_woken=False)
        if self._deletion is not None:
            # Mapping memory waits for who unmaps much of it: the task waits, not the thread.
            deletion, self._deletion = self._deletion, None
            await asyncio.wrap_future(deletion)

    def _needs_of(self, world: World) -> _Needs:
        """Return what instances with a world need, which is looked at once for all of them.

        Raises:
            InvalidError: the world names what cannot be shown to a guest; all faults are listed.
        """
        needs = self._needs
        # Directories may vanish at any time.
        if needs is None or needs.world is not world or world.directories:
            new_system = None
            if has_adapter(self._code.wit):
                check_world(world)
                new_system = partial(GuestSystem, world, self._shared.files, None)
            needs = self._needs = _Needs(world, new_system)
        return needs

    def _new_instance(
        self,
        code: Code,
        linker: Linker,
        imports: Mapping[str, Import],
        needs: _Needs,
        files: Path | None,
        store: Store,
    ) -> WasmtimeInstance:
        """Return an instance that has not started; whatever is raised, all is given back."""
        world, shared = needs.world, self._shared
        handles = new_handles(store.context, linker, imports) if linker.resources else None
        guest = Guest(world, dict(imports), handles, needs.new_system, is_suspect=self._is_suspect)
        on_close: Callable[[WasmtimeInstance], None] = self._note_closed
        streams: tuple[Stream, ...] = ()
        if files is not None and needs.new_system is not None:
            guest.new_system = partial(GuestSystem, world, shared.files, files)
            guest.scene()  # it gives the files back
        try:
            if linker.needs_wasi:
                streams = new_streams(shared.directory, next(shared.numbers), world.log)
                if files is not None:
                    on_close = partial(self._note_closed, files=files)
                configure(store.context, world, streams, files)
            kind = MeteredInstance if code.tier == "metered" else WasmtimeInstance
            return kind(
                shared.fibers, store, guest, streams, on_close, calls_host=linker.calls_host
            )
        except BaseException:
            store.close()
            for stream in streams:
                stream.close()
            if files is not None:
                shared.files.release(files)
            raise

    def _note_closed(self, instance: WasmtimeInstance, files: Path | None = None) -> None:
        """Take note of how an instance ended, and give back its files."""
        self._is_suspect = instance.was_long
        self._has_lost_one |= instance.has_died
        self._deletion = instance.deletion or self._deletion
        if files is not None:
            self._shared.files.release(files)


@dataclass(frozen=True, slots=True)
class _Needs:
    """What instances with one world need."""

    world: World
    new_system: Callable[[], GuestSystem] | None  # None: there is no adapter in the component


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
        others: Callable[[], Code] | None = None,
    ) -> None:
        """Take what was compiled; `others` finds the same for instances that are not in a pool.

        It is called on a worker thread.
        """
        self.tier = tier
        self.core = core
        self.component = component
        self.passed_core = ffi.passed(ffi.pointer(core))
        self.passed_component = ffi.passed(ffi.pointer(component))
        self._find_others = others
        self._others: Code | None = None
        self.wit = bulk.original
        self._bulk = bulk
        self.footprint_bytes = footprint_bytes
        self._functions = functions
        self._linkers: dict[Provided, Linker] = {}
        self._bare: Linker | None = None  # for a host that provides nothing
        self._exports: dict[tuple[str, str], Export] = {}
        # Instances hold their code, so nothing uses these any more when it is collected.
        weakref.finalize(self, _release, self._linkers, self._exports).atexit = False

    @property
    def is_pooled(self) -> bool:
        """Tell whether its instances are made in a pool."""
        return self._find_others is not None

    async def others(self) -> Code:
        """Return the same for instances that are not made in a pool: few programs need it."""
        if self._others is None:
            assert self._find_others is not None, "it is for a pool"
            self._others = await asyncio.to_thread(self._find_others)
        return self._others

    def linker(self, imports: Mapping[str, Import]) -> Linker:
        """Return the linker for what the host provides, and how.

        Raises:
            InvalidError: an import is satisfied by nobody.
        """
        if not imports and self._bare is not None:
            return self._bare
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
        if not imports:
            self._bare = linker
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
