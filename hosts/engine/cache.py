"""Compiled components on disk, so that a component is compiled once for each machine.

A cached file is native code that the process will run: it is loaded only when a keyed hash over
its content and its name agrees with the file beside it. The key lies in the same private
directory; whoever can read it can run code as this user anyway. Anything missing, foreign or
damaged is compiled again and never loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

from wasmtime import Engine as WasmtimeCore
from wasmtime import WasmtimeError
from wasmtime.component import Component

from hosts.engine.private import NEW_PREFIX, make_private, read_key, write_whole
from lattice.errors import InvalidError

if TYPE_CHECKING:
    from hosts.engine.compiling import Compiler

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # tested before use

logger = logging.getLogger(__name__)

CACHE_BYTES_MAX = 4 * 1024**3
"""Size of all cached code, above which the least recently used goes: about 120 Python guests."""

IN_PROCESS_BYTES_MAX = 256 * 1024
"""Size up to which a component compiles in this process: at most 0.12 s on two cores, where a child
takes 0.16 s to start; all of them together leave some 10 MB of compiler behind."""

LOCK_FILE = "lock"
NEW_S_MAX = 3600.0
"""Age from which a file that was never finished is rubbish: writing one takes a second."""
CODE_SUFFIX = ".cwasm"
SEAL_SUFFIX = ".seal"

SEALED_BYTES = 4 * 1024 * 1024
"""Code is hashed in pieces of this size, on two threads when there are several: hashing the 37 MB
of an interpreter takes 28 ms on one, which is most of what loading it takes."""


class CodeCache:
    """A directory of compiled components, safe to share between processes of one user."""

    def __init__(
        self,
        core: WasmtimeCore,
        directory: Path,
        *,
        flags: str,
        bytes_max: int = CACHE_BYTES_MAX,
        compiler: Compiler | None = None,
        in_process_bytes_max: int = IN_PROCESS_BYTES_MAX,
    ) -> None:
        """Open or make the directory; `compiler` takes what is too large for this process.

        Raises:
            InvalidError: the directory cannot be made, or belongs to somebody else.
        """
        self._core = core
        self._directory = directory
        self._bytes_max = bytes_max
        self._compiler = compiler
        self._in_process_bytes_max = in_process_bytes_max
        self._lock = directory / f"{LOCK_FILE}-{hashlib.sha256(flags.encode()).hexdigest()[:16]}"
        version = metadata.version("wasmtime")
        self._build = f"{version};{flags};{platform.machine()};{_cpu_features()}"
        make_private(directory)
        self._key = read_key(directory)

    def load(self, body: bytes, *, name: str) -> Component:
        """Return the compiled component; `name` is for messages. Blocks while compiling.

        Raises:
            InvalidError: the bytes are no valid component, or the compiler failed at them.
        """
        component = self.find(body, name=name)
        if component is not None:
            return component
        code = self._path_of(body)
        with self._only_compiler():
            # Another process of this machine may have compiled it while this one waited.
            return self._cached(code) or self._compile(code, body, name)

    def find(self, body: bytes, *, name: str) -> Component | None:
        """Return the compiled component if the cache has it."""
        return self.find_code(self.code_name(body), name=name)

    def find_code(
        self, code_name: str, *, name: str, core: WasmtimeCore | None = None
    ) -> Component | None:
        """Return the compiled component by the name of its code, if the cache has it.

        `core` is another engine that runs the same code.
        """
        started = time.monotonic()
        component = self._cached(self._directory / (code_name + CODE_SUFFIX), core)
        if component is not None:
            logger.debug("%s: taken from the cache in %.3f s", name, time.monotonic() - started)
        return component

    def for_core(
        self, code_name: str, component: Component, core: WasmtimeCore
    ) -> Component | None:
        """Return a loaded component for another engine that runs the same code.

        None when that refuses it: it is too large for a pool. The file was checked when the
        component was loaded, and only this user can write there; it is not checked again.
        """
        code = self._directory / (code_name + CODE_SUFFIX)
        with contextlib.suppress(WasmtimeError, OSError):
            return Component.deserialize_file(core, str(code))
        with contextlib.suppress(WasmtimeError):  # the cache could not take it, or it went
            return Component.deserialize(core, component.serialize())
        return None

    def compile(self, body: bytes, *, name: str) -> bool:
        """Compile in this process, and return whether the cache could take the code.

        Raises:
            InvalidError: the bytes are no valid component.
        """
        return self._store(self._path_of(body), bytes(self._compiled(body, name).serialize()))

    def remove(self, body: bytes) -> None:
        """Forget the code of a component; code that is in use stays in memory."""
        code = self._path_of(body)
        _remove(code.with_suffix(SEAL_SUFFIX), code)

    def _compile(self, code: Path, body: bytes, name: str) -> Component:
        started = time.monotonic()
        logger.info("%s: compiling %.1f MB", name, len(body) / 1e6)
        component = None
        if self._compiler is not None and len(body) > self._in_process_bytes_max:
            # Code that the cache could not take is lost with its process.
            component = self._cached(code) if self._compiler.run(body, name=name) else None
        if component is None:
            component = self._compiled(body, name)
            self._store(code, bytes(component.serialize()))
        logger.info("%s: compiled in %.1f s", name, time.monotonic() - started)
        return component

    def _compiled(self, body: bytes, name: str) -> Component:
        try:
            return Component(self._core, body)
        except WasmtimeError as error:
            raise InvalidError(f"{name} is no valid component: {error}") from None

    @contextlib.contextmanager
    def _only_compiler(self) -> Iterator[None]:
        """Hold the lock of these flags: compiling uses all cores, and the second may be spared.

        The system releases it when a process dies. Without locks (Windows, some network file
        systems) two processes may compile the same component, which only costs time.
        """
        if fcntl is None:
            yield
            return
        try:
            descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:  # the directory vanished or is full; storing will tell
            yield
            return
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def code_name(self, body: bytes) -> str:
        """Return the name of a component's code, for `find_code` of this very cache."""
        digest = hashlib.sha256(body).hexdigest()
        return hashlib.sha256(f"{digest};{self._build}".encode()).hexdigest()

    def _path_of(self, body: bytes) -> Path:
        return self._directory / (self.code_name(body) + CODE_SUFFIX)

    def _seal(self, code: Path, content: bytes | mmap) -> bytes:
        seal = hmac.new(self._key, code.name.encode() + b"\0", hashlib.sha256)
        for digest in _digests(content):
            seal.update(digest)
        return seal.hexdigest().encode()

    def _seal_of(self, code: Path) -> bytes:
        """Return the seal that the content of a file should have; reads it without a copy."""
        with code.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return self._seal(code, b"")
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                return self._seal(code, content)

    def _cached(self, code: Path, core: WasmtimeCore | None = None) -> Component | None:
        """Return the component in a file that this cache wrote and nobody changed since."""
        try:
            seal = code.with_suffix(SEAL_SUFFIX).read_bytes()
            is_ours = hmac.compare_digest(seal, self._seal_of(code))
        except OSError:
            return None
        if not is_ours:
            logger.warning("%s does not match its seal: compiling again", code)
            return None
        try:
            # Maps the file instead of copying it; the content was checked above, and the
            # directory is ours alone.
            component = Component.deserialize_file(core or self._core, str(code))
            os.utime(code)
        except (WasmtimeError, OSError) as error:
            if core is None:
                logger.warning("%s cannot be loaded (%s): compiling again", code, error)
            else:
                logger.debug("%s is not for the other engine: %s", code, error)
            return None
        return component

    def _store(self, code: Path, content: bytes) -> bool:
        """Write code and its seal; return whether that was possible."""
        try:
            write_whole(code, content)
            write_whole(code.with_suffix(SEAL_SUFFIX), self._seal(code, content))
        except OSError as error:  # a full disk must not keep a workload from running
            logger.warning("cannot cache compiled code in %s: %s", self._directory, error)
            return False
        self._evict(code)
        return True

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used code above the size bound, never the newest."""
        for status, path in self._files(f"{NEW_PREFIX}*"):
            if time.time() - status.st_mtime > NEW_S_MAX:
                _remove(path)  # a compiler was ended while it wrote
        files = self._files(f"*{CODE_SUFFIX}")
        excess = sum(status.st_size for status, _ in files) - self._bytes_max
        for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if excess <= 0:
                return
            if path != newest:
                _remove(path.with_suffix(SEAL_SUFFIX), path)
                excess -= status.st_size

    def _files(self, pattern: str) -> list[tuple[os.stat_result, Path]]:
        """Return files with their status; other processes may remove them at any time."""
        found: list[tuple[os.stat_result, Path]] = []
        for path in self._directory.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat(), path))
        return found


def _digests(content: bytes | mmap) -> list[bytes]:
    """Return the hash of each piece of the content, in order."""

    def digest(start: int) -> bytes:
        with whole[start : start + SEALED_BYTES] as piece:
            return hashlib.sha256(piece).digest()

    with memoryview(content) as whole:
        starts = range(0, len(whole), SEALED_BYTES)
        if len(starts) <= 1:
            return [digest(start) for start in starts]
        with ThreadPoolExecutor(2, thread_name_prefix="lattice-seal") as threads:
            return list(threads.map(digest, starts))


def _remove(*paths: Path) -> None:
    with contextlib.suppress(OSError):
        for path in paths:
            path.unlink(missing_ok=True)


def _cpu_features() -> str:
    """Return a hash of what this machine's processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:16]
