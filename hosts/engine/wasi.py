"""What a guest sees through WASI: nothing but what its `World` names.

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
from lattice.errors import InvalidError

FILES_GUEST_PATH = "/files"

LINE_BYTES_MAX = 16 * 1024
"""Longest log line: longer output without a line break is cut into lines of this size."""

DRAIN_BYTES_MAX = 256 * 1024
"""Output of one stream that is logged between two readings; a flooding guest loses the rest."""

OUTPUT_KEPT_BYTES = 1024 * 1024
"""Size from which a stream's file is emptied after reading, so that it does not fill the disk."""


class Stream:
    """One output stream of a guest: a file that the guest writes, read here line by line."""

    def __init__(self, path: Path, level: str, log: Callable[[str, str], None]) -> None:
        self.path = path
        self._level = level
        self._log = log
        self._read = 0  # bytes of the file that were read
        self._partial = b""  # a line without its end

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
        *lines, self._partial = (self._partial + output).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._partial) > LINE_BYTES_MAX:
            self._emit(self._partial[:LINE_BYTES_MAX])
            self._partial = self._partial[LINE_BYTES_MAX:]
        if dropped:
            self._flush()
            self._log("warn", f"{dropped} bytes of output dropped: more than is kept at once")

    def close(self) -> None:
        """Log what is left, a last line without its end included, and remove the file."""
        self.drain()
        self._flush()
        self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._partial:
            self._emit(self._partial)
            self._partial = b""

    def _emit(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        for start in range(0, len(text) or 1, LINE_BYTES_MAX):
            self._log(self._level, text[start : start + LINE_BYTES_MAX])


def configure(context: int, world: World, streams: Sequence[Stream], files: Path | None) -> None:
    """Give a store its WASI: exactly what the world names.

    Raises:
        InvalidError: an argument or an environment variable cannot be passed on.
    """
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
