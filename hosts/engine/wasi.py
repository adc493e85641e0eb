"""What a guest sees through wasmtime's own WASI: nothing but what its `World` names.

Used with `LATTICE_WASI=builtin` only; else `hosts.engine.guestsystem` answers.

No inherited environment, arguments, standard streams or network. Output goes to files in a
private directory, which the engine reads after each call and on close, and turns into log lines;
they cost two open files for each instance that imports WASI.
Files are shown read-only under `/files`, out of a directory that holds nothing else
(`hosts.engine.files`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hosts.engine import ffi
from hosts.engine.base import World
from hosts.engine.output import DRAIN_BYTES_MAX, Lines
from lattice.errors import InvalidError

FILES_GUEST_PATH = "/files"

OUTPUT_KEPT_BYTES = 1024 * 1024
"""Size from which a stream's file is emptied after reading, so that it does not fill the disk."""


class Stream:
    """One output stream of a guest: a file that the guest writes, read here line by line."""

    def __init__(self, path: Path, level: str, log: Callable[[str, str], None]) -> None:
        self.path = path
        self._log = log
        self._lines = Lines(level, log)
        self._read = 0  # bytes of the file that were read

    def drain(self) -> None:
        """Log the complete lines that were written since the last time."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size <= self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            output = file.read(min(size - self._read, DRAIN_BYTES_MAX))
        dropped = size - self._read - len(output)
        self._read = size
        if size > OUTPUT_KEPT_BYTES:
            # The guest writes on at its own offset: the file gets a hole and needs no space.
            os.truncate(self.path, 0)
        self._lines.feed(output)
        if dropped:
            self._lines.flush()
            self._log("warn", f"{dropped} bytes of output dropped: more than is kept at once")

    def close(self) -> None:
        """Log what is left, a last line without its end included, and remove the file."""
        self.drain()
        self._lines.flush()
        self.path.unlink(missing_ok=True)


def new_streams(
    directory: Path, number: int, log: Callable[[str, str], None]
) -> tuple[Stream, Stream]:
    """Return the output streams of an instance: stdout is logged as info, stderr as warn."""
    return (
        Stream(directory / f"{number}.out", "info", log),
        Stream(directory / f"{number}.err", "warn", log),
    )


def configure(context: int, world: World, streams: Sequence[Stream], files: Path | None) -> None:
    """Give a store its WASI: exactly what the world names.

    Raises:
        InvalidError: an argument or an environment variable cannot be passed on, or directories
            are granted.
    """
    if world.directories:
        raise InvalidError("granted directories need the adapter: unset LATTICE_WASI")
    config = ffi.wasi_new()
    try:
        _set_texts(config, world)
        stdout, stderr = (os.fsencode(stream.path) for stream in streams)
        _expect(
            ffi.wasi_set_stdout_file(config, stdout) and ffi.wasi_set_stderr_file(config, stderr),
            "cannot open the files for a guest's output: disk full or too many open files",
        )
        if files is not None:
            guest_path = FILES_GUEST_PATH.encode()
            _expect(
                ffi.wasi_preopen_dir(config, os.fsencode(files), guest_path, False),
                f"cannot open {files} for a guest",
            )
    except BaseException:
        ffi.wasi_delete(config)
        raise
    error = ffi.context_set_wasi(context, config)
    if error:
        raise InvalidError(f"cannot give WASI to a guest: {ffi.take_error(error)[0]}")


def _set_texts(config: int, world: World) -> None:
    texts = [*world.args, *world.env, *world.env.values()]
    if any("\0" in text for text in texts):
        raise InvalidError("arguments and environment must not contain NUL")
    args = _texts(world.args)
    names, values = _texts(tuple(world.env)), _texts(tuple(world.env.values()))
    _expect(
        ffi.wasi_set_argv(config, len(world.args), args)
        and ffi.wasi_set_env(config, len(world.env), names, values),
        "arguments or environment cannot be passed to the guest",
    )


def _expect(is_done: bool, fault: str) -> None:
    if not is_done:
        raise InvalidError(fault)


def _texts(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise InvalidError(f"arguments and environment must be Unicode text: {error}") from None
    return (ctypes.c_char_p * max(len(texts), 1))(*encoded)
