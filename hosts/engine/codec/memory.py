"""The process's memory as one view, so that values are read and written where they lie.

`MEMORY[address]` is the byte at an address: no object is made for each access, as with the
functions of ctypes. A wrong address ends the process, so only the engine may import this, and only
under these rules, which make every address right:

1. Written is only into `bytes` objects that the writing function made itself with `blank`, before
   anybody else sees them, within the size it asked for, and into slots that wasmtime passed to a
   callback (a result, a continuation) or that the engine allocated for it, in their known size.
2. The size of a block with a list's elements is computed from a tuple, which cannot change its
   length while it is written.
3. Read are only results and arguments that wasmtime wrote, before it is called again, and a
   pointer is followed only after the kind beside it was compared with what the type says. Lengths
   come from beside the pointer.
4. Addresses of `bytes` are passed on together with the objects, and the caller keeps these until
   the call is over (`hosts.engine.ffi`, rule 1).
"""

from __future__ import annotations

import ctypes
import sys

from hosts.engine.ffi import BYTES_HEADER

MEMORY = memoryview((ctypes.c_char * sys.maxsize).from_address(0)).cast("B")
"""Every byte that an address can name; touching one that is not mapped ends the process."""

HEADER = BYTES_HEADER
"""Offset of the content in a `bytes` object: its address is `id(block) + HEADER`."""

blank = bytes
"""Returns a new block of that many zero bytes; of two bytes and more it is never a shared one."""
