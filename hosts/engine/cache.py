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
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from wasmtime import Engine as WasmtimeCore
from wasmtime import WasmtimeError
from wasmtime.component import Component

from lattice.errors import InvalidError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # tested before use

logger = logging.getLogger(__name__)

CACHE_BYTES_MAX = 4 * 1024**3
"""Size of all cached code, above which the least recently used goes: about 120 Python guests."""

KEY_BYTES = 32
KEY_FILE = "key"
LOCK_FILE = "lock"
CODE_SUFFIX = ".cwasm"
SEAL_SUFFIX = ".seal"


class CodeCache:
    """A directory of compiled components, safe to share between processes of one user."""

    def __init__(
        self,
        core: WasmtimeCore,
        directory: Path,
        *,
        flags: str,
        bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        """Open or make the directory.

        Raises:
            InvalidError: the directory cannot be made, or belongs to somebody else.
        """
        self._core = core
        self._directory = directory
        self._bytes_max = bytes_max
        version = metadata.version("wasmtime")
        self._build = f"{version};{flags};{platform.machine()};{_cpu_features()}"
        _make_private(directory)
        self._key = _read_key(directory / KEY_FILE)

    def load(self, body: bytes, *, name: str) -> Component:
        """Return the compiled component; `name` is for messages. Blocks while compiling.

        Raises:
            InvalidError: the bytes are no valid component.
        """
        code = self._directory / (self._name_of(body) + CODE_SUFFIX)
        started = time.monotonic()
        component = self._cached(code)
        if component is not None:
            logger.debug("%s: taken from the cache in %.3f s", name, time.monotonic() - started)
            return component
        with self._only_compiler():
            # Another process of this machine may have compiled it while this one waited.
            return self._cached(code) or self._compile(code, body, name)

    def _compile(self, code: Path, body: bytes, name: str) -> Component:
        started = time.monotonic()
        logger.info("%s: compiling %.1f MB", name, len(body) / 1e6)
        try:
            component = Component(self._core, body)
        except WasmtimeError as error:
            raise InvalidError(f"{name} is no valid component: {error}") from None
        logger.info("%s: compiled in %.1f s", name, time.monotonic() - started)
        self._store(code, bytes(component.serialize()))
        return component

    @contextlib.contextmanager
    def _only_compiler(self) -> Iterator[None]:
        """Hold the lock of the directory: compiling uses all cores, and the second may be spared.

        The system releases it when a process dies. Without locks (Windows, some network file
        systems) two processes may compile the same component, which only costs time.
        """
        if fcntl is None:
            yield
            return
        try:
            descriptor = os.open(self._directory / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:  # the directory vanished or is full; storing will tell
            yield
            return
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _name_of(self, body: bytes) -> str:
        digest = hashlib.sha256(body).hexdigest()
        return hashlib.sha256(f"{digest};{self._build}".encode()).hexdigest()

    def _seal(self, code: Path, content: bytes) -> bytes:
        seal = hmac.new(self._key, code.name.encode() + b"\0", hashlib.sha256)
        seal.update(content)
        return seal.hexdigest().encode()

    def _cached(self, code: Path) -> Component | None:
        """Return the component in a file that this cache wrote and nobody changed since."""
        try:
            content = code.read_bytes()
            seal = code.with_suffix(SEAL_SUFFIX).read_bytes()
        except OSError:
            return None
        if not hmac.compare_digest(seal, self._seal(code, content)):
            logger.warning("%s does not match its seal: compiling again", code)
            return None
        try:
            # Maps the file instead of copying it; the content was checked above, and the
            # directory is ours alone.
            component = Component.deserialize_file(self._core, str(code))
            os.utime(code)
        except (WasmtimeError, OSError) as error:
            logger.warning("%s cannot be loaded (%s): compiling again", code, error)
            return None
        return component

    def _store(self, code: Path, content: bytes) -> None:
        try:
            _write_whole(code, content)
            _write_whole(code.with_suffix(SEAL_SUFFIX), self._seal(code, content))
            self._evict(code)
        except OSError as error:  # a full disk must not keep a workload from running
            logger.warning("cannot cache compiled code in %s: %s", self._directory, error)

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used code above the size bound, never the newest."""
        files = [(path.stat(), path) for path in self._directory.glob(f"*{CODE_SUFFIX}")]
        excess = sum(status.st_size for status, _ in files) - self._bytes_max
        for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if excess <= 0:
                return
            if path != newest:
                _remove((path.with_suffix(SEAL_SUFFIX), path))
                excess -= status.st_size


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise InvalidError(
                f"the code cache {directory} belongs to user {status.st_uid}: choose another"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            directory.chmod(0o700)
            # Others may have read the key while the directory was open: what it sealed is void.
            (directory / KEY_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidError(f"cannot make the code cache {directory}: {error}") from None


def _read_key(path: Path) -> bytes:
    """Return the key of the cache, made when there is none; of two processes one key wins."""
    try:
        if not _is_usable_key(path):
            path.unlink(missing_ok=True)
            made = _write_temporary(path, secrets.token_bytes(KEY_BYTES))
            with contextlib.suppress(FileExistsError):  # another process was quicker
                path.hardlink_to(made)
            made.unlink()
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"cannot make the key of the code cache {path}: {error}") from None


def _is_usable_key(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return status.st_size == KEY_BYTES and not stat.S_IMODE(status.st_mode) & 0o077


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    _write_temporary(path, content).replace(path)


def _write_temporary(path: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return Path(name)


def _cpu_features() -> str:
    """Return a hash of what this machine's processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:16]
