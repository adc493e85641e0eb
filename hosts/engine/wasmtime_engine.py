"""The real engine: composes, compiles off the loop, and runs guests on the loop.

One `WasmtimeEngine` serves one event loop. Compiling happens on a worker thread, which leaves the
interpreter lock free; guests never leave the loop's thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from wasmtime import Config
from wasmtime import Engine as WasmtimeCore

from hosts.engine import ffi, standard
from hosts.engine.base import Link, Part
from hosts.engine.cache import CodeCache
from hosts.engine.compose import compose
from hosts.engine.fiber import Fibers
from hosts.engine.files import FileSets, Scratch
from hosts.engine.hostfn import HostFunctions
from hosts.engine.program import Shared, WasmtimeProgram
from hosts.engine.turns import Ticker
from lattice.component.reader import read_component

logger = logging.getLogger(__name__)

FLAGS = "epoch,map,implements,no-concurrency"
"""What the configuration below says, as a part of the cache's key."""


class WasmtimeEngine:
    """Composes and compiles; see `hosts.engine.base.Engine`."""

    def __init__(self, cache_dir: Path) -> None:
        self._core = WasmtimeCore(_config())
        self._cache = CodeCache(self._core, cache_dir, flags=FLAGS)
        self._scratch = Scratch(cache_dir)
        functions = HostFunctions()
        self._ticker = Ticker(self._advance)
        self._shared = Shared(
            core=self._core,
            functions=functions,
            fibers=Fibers(functions, self._ticker),
            files=FileSets(self._scratch.path),
            directory=self._scratch.path,
            numbers=itertools.count(1),
        )
        self._compiling = threading.Lock()  # one at a time: compiling uses all cores already
        self._loading: dict[object, asyncio.Future[WasmtimeProgram]] = {}

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that every instance gets from the engine without a grant."""
        return standard.INTERFACES

    async def load(self, parts: Sequence[Part], links: Sequence[Link]) -> WasmtimeProgram:
        """Return the program of these parts; see `hosts.engine.base.Engine.load`.

        Concurrent loads of the same composition compile once. Cancelling leaves the compiler at
        work, so that the next load finds the result.
        """
        key = (tuple((part.name, part.digest) for part in parts), tuple(links))
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = self._start_load(tuple(parts), tuple(links))
            loading.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(loading)

    def close(self) -> None:
        """Release threads and files. Programs and instances must be gone.

        A component that is being compiled is left to its thread, which ends with the process.
        """
        self._ticker.close()
        self._shared.files.close()
        self._scratch.close()

    def _start_load(
        self, parts: Sequence[Part], links: Sequence[Link]
    ) -> asyncio.Future[WasmtimeProgram]:
        """Load on a thread of its own; a daemon, since compiling cannot be interrupted."""
        loaded: Future[WasmtimeProgram] = Future()

        def load() -> None:
            try:
                with self._compiling:
                    loaded.set_result(self._load(parts, links))
            except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
                loaded.set_exception(error)

        threading.Thread(target=load, name="lattice-compile", daemon=True).start()
        return asyncio.wrap_future(loaded)

    def _load(self, parts: Sequence[Part], links: Sequence[Link]) -> WasmtimeProgram:
        body = compose(parts, links)
        wit = read_component(body)
        component = self._cache.load(body, name=", ".join(part.name for part in parts))
        return WasmtimeProgram(self._shared, component, wit)

    def _loaded(self, key: object, done: asyncio.Future[WasmtimeProgram]) -> None:
        self._loading.pop(key, None)
        if not done.cancelled() and done.exception() is not None:
            # Seen here too, because whoever waited may be gone.
            logger.debug("load failed: %s", done.exception())

    def _advance(self) -> None:
        ffi.engine_increment_epoch(ffi.pointer(self._core))


def _config() -> Config:
    """Return the engine's configuration; a change belongs into `FLAGS` too."""
    config = Config()
    config.epoch_interruption = True
    config.wasm_component_model_map = True
    config.wasm_component_model_implements = True
    # Costs 0.3-1 us per call when on, and only asynchronously lifted functions need it.
    ffi.config_concurrency_support(ffi.pointer(config), False)
    return config
