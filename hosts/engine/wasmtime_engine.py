"""The real engine: composes, compiles off the loop, and runs guests on the loop.

One `WasmtimeEngine` serves one event loop. Compiling happens on a worker thread, which leaves the
interpreter lock free; guests never leave the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeAlias

from wasmtime import Engine as WasmtimeCore
from wasmtime.component import Component

from hosts.engine import ffi, standard
from hosts.engine.adapting import HIDDEN, adapt, is_adapter_used
from hosts.engine.base import Link, Part
from hosts.engine.bulk import Bulk, wrap_if_possible
from hosts.engine.cache import IN_PROCESS_BYTES_MAX, CodeCache
from hosts.engine.compiling import Compiler
from hosts.engine.compose import compose
from hosts.engine.fiber import Fibers
from hosts.engine.files import FileSets, Scratch
from hosts.engine.heap import keep_large_blocks
from hosts.engine.hostfn import HostFunctions
from hosts.engine.program import Code, Shared, WasmtimeProgram
from hosts.engine.recipes import Recipe, Recipes
from hosts.engine.slots import can_pool
from hosts.engine.tiers import HAS_BASELINE, Tier, flags, new_core
from hosts.engine.turns import Ticker
from lattice.errors import InternalError, InvalidError

logger = logging.getLogger(__name__)

_Load: TypeAlias = Callable[
    [Sequence[Part], Sequence[Link], asyncio.AbstractEventLoop], "WasmtimeProgram"
]

BASELINE_BYTES_MIN = 256 * 1024
"""Size from which baseline code is worth a second compiler: smaller ones are optimised at once."""

CODE_FACTOR = 2
"""Bytes of machine code for each byte of a component, as measured on interpreters in wasm."""

PROGRAM_BYTES = 64 * 1024
"""What a program holds besides its code: types, linker and codecs, measured on small ones."""


class WasmtimeEngine:
    """Composes and compiles; see `hosts.engine.base.Engine`."""

    def __init__(
        self,
        cache_dir: Path,
        *,
        has_baseline: bool = HAS_BASELINE,
        in_process_bytes_max: int = IN_PROCESS_BYTES_MAX,
        optimises_later: bool = True,
    ) -> None:
        """Open the cache; without a baseline, who loads a large component waits for the best code.

        With one, the best code follows in the background if it `optimises_later`.

        Compiling up to `in_process_bytes_max` in this process saves 0.2 s for each new component;
        0 keeps the process safe from faults of the compiler, which end the process it runs in.

        Raises:
            InvalidError: the cache directory cannot be made, or belongs to somebody else.
        """
        keep_large_blocks()
        self._optimises_later = optimises_later
        self._cache_dir, self._in_process_bytes_max = cache_dir, in_process_bytes_max
        self._tiers: dict[Tier, _TierOfEngine] = {
            "optimised": _TierOfEngine(cache_dir, "optimised", in_process_bytes_max)
        }
        if has_baseline:
            self._tiers["baseline"] = _TierOfEngine(cache_dir, "baseline", in_process_bytes_max)
        self._scratch = Scratch(cache_dir)
        self._functions = HostFunctions()
        self._ticker = Ticker(self._advance, self._functions.runs_suspect)
        self._shared = Shared(
            functions=self._functions,
            fibers=Fibers(self._functions, self._ticker),
            files=FileSets(self._scratch.path),
            directory=self._scratch.path,
            numbers=itertools.count(1),
        )
        self._recipes = Recipes()
        self._compiling = threading.Lock()  # one at a time: compiling uses all cores already
        self._optimising = threading.Lock()  # nor do loads wait for what nobody waits for
        self._loading: dict[object, asyncio.Future[WasmtimeProgram]] = {}

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that every instance gets from the engine without a grant."""
        return standard.INTERFACES

    @property
    def pool_free(self) -> int:
        """Return how many instances can still be made in the pool (`hosts.engine.slots`)."""
        return self._shared.slots.free

    async def load(
        self, parts: Sequence[Part], links: Sequence[Link], *, is_metered: bool = False
    ) -> WasmtimeProgram:
        """Return the program of these parts; see `hosts.engine.base.Engine.load`.

        Concurrent loads of the same composition compile once. Cancelling leaves the compiler at
        work, so that the next load finds the result.
        """
        named = tuple((part.name, part.digest, len(part.body)) for part in parts)
        key = named, tuple(links), is_metered
        loading = self._loading.get(key)
        if loading is None:
            load = self._load_metered if is_metered else partial(self._load, key)
            loading = self._loading[key] = self._start_load(load, tuple(parts), tuple(links))
            loading.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(loading)

    def close(self) -> None:
        """End compilers, release threads and files. Programs and instances must be gone."""
        for tier in self._tiers.values():
            tier.compiler.close()
        self._ticker.close()
        self._shared.fibers.reaper.close()
        self._shared.files.close()
        self._scratch.close()

    def _start_load(
        self, load_: _Load, parts: Sequence[Part], links: Sequence[Link]
    ) -> asyncio.Future[WasmtimeProgram]:
        """Load on a thread of its own; a daemon, since compiling cannot be interrupted."""
        loaded: Future[WasmtimeProgram] = Future()
        loop = asyncio.get_running_loop()

        def load() -> None:
            try:
                with self._compiling:
                    loaded.set_result(load_(parts, links, loop))
            except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
                loaded.set_exception(error)

        threading.Thread(target=load, name="lattice-compile", daemon=True).start()
        return asyncio.wrap_future(loaded)

    def _load(
        self,
        key: Hashable,
        parts: Sequence[Part],
        links: Sequence[Link],
        loop: asyncio.AbstractEventLoop,
    ) -> WasmtimeProgram:
        name = ", ".join(part.name for part in parts)
        is_adapted = is_adapter_used()
        if (known := self._load_known((key, is_adapted), name)) is not None:
            return known
        around, joined = adapt(parts, links) if is_adapted else (parts, links)
        composed = compose(around, joined, hidden=HIDDEN)
        bulk = wrap_if_possible(composed, standard.is_wasi)
        recipe = Recipe.of(bulk, self._tiers["optimised"].cache.code_name(bulk.body))
        code, is_best = self._compile(bulk, recipe, name)
        self._recipes.keep((key, is_adapted), recipe)
        program = WasmtimeProgram(self._shared, code)
        if not is_best and self._optimises_later:
            exchange = partial(_hand_over, loop, weakref.ref(program))
            self._optimise_later(exchange, bulk, recipe, name)
        return program

    def _load_metered(
        self, parts: Sequence[Part], links: Sequence[Link], _loop: asyncio.AbstractEventLoop
    ) -> WasmtimeProgram:
        name = ", ".join(part.name for part in parts)
        tier = self._tiers.get("metered")
        if tier is None:
            tier = _TierOfEngine(self._cache_dir, "metered", self._in_process_bytes_max)
            self._tiers = {**self._tiers, "metered": tier}  # the ticker reads the former ones
        around, joined = adapt(parts, links) if is_adapter_used() else (parts, links)
        bulk = wrap_if_possible(compose(around, joined, hidden=HIDDEN), standard.is_wasi)
        recipe = Recipe.of(bulk, tier.cache.code_name(bulk.body))
        component = tier.cache.load(bulk.body, name=name)
        return WasmtimeProgram(self._shared, tier.code(component, recipe, self._functions))

    def _load_known(self, key: Hashable, name: str) -> WasmtimeProgram | None:
        """Return the program of a composition that was loaded before, if its code is there."""
        recipe = self._recipes.find(key)
        if recipe is None:
            return None
        tier = self._tiers["optimised"]
        code = tier.find(recipe, self._functions, name=name)
        return None if code is None else WasmtimeProgram(self._shared, code)

    def _compile(self, bulk: Bulk, recipe: Recipe, name: str) -> tuple[Code, bool]:
        """Return code for the component, and whether it is the best there will be."""
        optimised, baseline = self._tiers["optimised"], self._tiers.get("baseline")
        if (known := optimised.find(recipe, self._functions, name=name)) is not None:
            return known, True
        if baseline is not None and len(bulk.body) > BASELINE_BYTES_MIN:
            try:
                found = baseline.cache.load(bulk.body, name=name)
                return baseline.code(found, recipe, self._functions), False
            except InvalidError as error:
                # It lacks some instructions, and what is no component at all is refused below.
                logger.debug("%s has no baseline code: %s", name, error)
        component = optimised.cache.load(bulk.body, name=name)
        return optimised.code(component, recipe, self._functions), True

    def _optimise_later(
        self,
        exchange: Callable[[Code], None],
        bulk: Bulk,
        recipe: Recipe,
        name: str,
    ) -> None:
        """Compile the best code in the background, and hand it to `exchange` there."""

        def optimise() -> None:
            tier = self._tiers["optimised"]
            try:
                with self._optimising:
                    component = tier.cache.load(bulk.body, name=name)
                self._tiers["baseline"].cache.remove(bulk.body)
            except InvalidError as error:
                if not tier.compiler.is_closed:
                    logger.warning("%s stays at its baseline code: %s", name, error)
                return
            exchange(tier.code(component, recipe, self._functions))

        threading.Thread(target=optimise, name="lattice-optimise", daemon=True).start()

    def _loaded(self, key: object, done: asyncio.Future[WasmtimeProgram]) -> None:
        self._loading.pop(key, None)
        if not done.cancelled() and done.exception() is not None:
            # Seen here too, because whoever waited may be gone.
            logger.debug("load failed: %s", done.exception())

    def _advance(self) -> None:
        for tier in self._tiers.values():
            for core in tier.cores:
                ffi.engine_increment_epoch(ffi.pointer(core))


def _hand_over(
    loop: asyncio.AbstractEventLoop, program: weakref.ref[WasmtimeProgram], code: Code
) -> None:
    """Give a program its better code, on the loop; called on another thread."""

    def exchange() -> None:
        if (found := program()) is not None:
            found.exchange(code)

    with contextlib.suppress(RuntimeError):  # the loop has ended; the cache has the code
        loop.call_soon_threadsafe(exchange)


class _TierOfEngine:
    """What one tier needs: wasmtime's engine, a compiler, and its part of the cache."""

    def __init__(self, directory: Path, tier: Tier, in_process_bytes_max: int) -> None:
        self.tier = tier
        self.core = new_core(tier)
        self._pool: WasmtimeCore | None = None  # made with the first component for it
        self._may_pool = True
        self.compiler = Compiler(directory, tier)
        self.cache = CodeCache(
            self.core,
            directory,
            flags=flags(tier),
            compiler=self.compiler,
            in_process_bytes_max=in_process_bytes_max,
        )

    @property
    def cores(self) -> tuple[WasmtimeCore, ...]:
        """Return wasmtime's engines, whose epochs advance together."""
        return (self.core,) if self._pool is None else (self.core, self._pool)

    def find(self, recipe: Recipe, functions: HostFunctions, *, name: str) -> Code | None:
        """Return what a program of this tier runs, if the cache has it."""
        if pool := self._pool_for(recipe):
            component = self.cache.find_code(recipe.code_name, name=name, core=pool)
            if component is not None:
                return self._pooled(pool, component, recipe, functions)
        component = self.cache.find_code(recipe.code_name, name=name)
        return None if component is None else self._code(self.core, component, recipe, functions)

    def code(self, component: Component, recipe: Recipe, functions: HostFunctions) -> Code:
        """Return what a program of this tier runs, of a component that was just compiled."""
        if pool := self._pool_for(recipe):
            found = self.cache.for_core(recipe.code_name, component, pool)
            if found is not None:
                return self._pooled(pool, found, recipe, functions)
        return self._code(self.core, component, recipe, functions)

    def _pooled(
        self, pool: WasmtimeCore, component: Component, recipe: Recipe, functions: HostFunctions
    ) -> Code:
        """Return code for instances in a pool, which can find the same for others."""

        def others() -> Code:
            found = self.cache.for_core(recipe.code_name, component, self.core)
            if found is None:
                raise InternalError(f"code {recipe.code_name} runs in a pool only")
            return self._code(self.core, found, recipe, functions)

        return self._code(pool, component, recipe, functions, others)

    def _code(
        self,
        core: WasmtimeCore,
        component: Component,
        recipe: Recipe,
        functions: HostFunctions,
        others: Callable[[], Code] | None = None,
    ) -> Code:
        footprint_bytes = PROGRAM_BYTES + CODE_FACTOR * recipe.body_bytes
        return Code(
            self.tier, core, component, recipe.bulk, functions,
            footprint_bytes=footprint_bytes, others=others,
        )  # fmt: skip

    def _pool_for(self, recipe: Recipe) -> WasmtimeCore | None:
        """Return the engine with a pool, None when a component gets none."""
        if self.tier != "optimised" or not recipe.fits_pool:
            return None
        if self._pool is None and self._may_pool:
            # An engine that was closed gives its addresses back when it is collected.
            self._may_pool = can_pool() or (gc.collect() > 0 and can_pool())
            self._pool = new_core(self.tier, is_pooled=True) if self._may_pool else None
        return self._pool
