"""Bytes between files, or the shell's in- and output, and a call of `lattice call` that streams."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import anyio.to_thread

from lattice.cli.foreground import Foreground
from lattice.client.session import LatticeClient
from lattice.client.streaming import Source
from lattice.errors import InvalidError

SHELL = "-"
"""Stands for the standard in- or output."""

READ_BYTES = 256 * 1024
"""Bytes that are read of the standard input at once."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What a guest reads, and where what it writes goes: files, `-`, or None.

    Without `receive`, what it writes goes to the standard output.
    """

    send: str | None
    receive: str | None
    deadline_s: float  # without a byte that moves

    @property
    def fill_output(self) -> bool:
        """Tell whether bytes go to the standard output."""
        return self.receive in (None, SHELL)


async def stream_call(
    client: LatticeClient, deployment: str, function: str, args: Sequence[Any], streams: Streams
) -> Any:
    """Return the value of a call with streams.

    Raises:
        InvalidError: a file cannot be opened; nothing was called.
        OSError: what the guest writes cannot be written.
    """
    with ExitStack() as stack:
        body = _source(streams.send, stack)
        output = _output(streams, stack)
        context = client.stream(
            deployment, function, args, body=body, deadline_s=streams.deadline_s, as_json=True
        )
        async with context as call:
            async for part in call:
                # On another thread, because whoever reads it may be slow.
                await anyio.to_thread.run_sync(_write, output, part, abandon_on_cancel=True)
            return await call.value()


def _source(name: str | None, stack: ExitStack) -> Source | None:
    if name is None:
        return None
    return _input() if name == SHELL else stack.enter_context(_opened(name, "rb"))


def _output(streams: Streams, stack: ExitStack) -> IO[bytes]:
    if streams.receive is None or streams.fill_output:
        return sys.stdout.buffer
    return stack.enter_context(_opened(streams.receive, "wb"))


def _opened(name: str, mode: str) -> IO[bytes]:
    try:
        return cast("IO[bytes]", Path(name).open(mode))
    except OSError as error:
        raise InvalidError(f"cannot open {name}: {error.strerror}") from None


def _write(output: IO[bytes], part: bytes) -> None:
    output.write(part)
    output.flush()


async def _input() -> AsyncIterator[bytes]:
    """Yield the standard input as it comes."""
    shell = Foreground()
    while part := await shell.stdin(READ_BYTES):
        yield part
