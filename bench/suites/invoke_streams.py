"""Byte streams of calls: a gibibyte to a guest, and one from it, and the memory that they take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

import wasmtime

from bench.case import Case, LeftOut, Reading, UnavailableError
from bench.cost import read_cost
from bench.results import CPU
from bench.running import RunningLattice, lattice_up
from lattice.client import LatticeClient, connect

TO_GUEST = "stream_1g"
FROM_GUEST = "stream_1g_back"
CASES = (TO_GUEST, FROM_GUEST)

WHOLE_BYTES = 1 << 30

PIECE_BYTES = 1 << 20  # that the source gives at once

REPETITIONS = 3
"""Samples: the memory does not vary."""

Move = Callable[[LatticeClient, int], Awaitable[None]]
"""Moves so many bytes."""

GUEST = """
(component
  (import "lattice:streams/bytes@0.1.0" (instance $bytes
    (export "read" (func (param "at-most" u32) (result (list u8))))
    (export "write" (func (param "data" (list u8))))))
  (core module $allocator
    (memory (export "memory") 32)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $heap (instantiate $allocator))
  (alias core export $heap "memory" (core memory $memory))
  (alias core export $heap "realloc" (core func $realloc))
  (core func $read (canon lower (func $bytes "read") (memory $memory) (realloc $realloc)))
  (core func $write (canon lower (func $bytes "write") (memory $memory)))
  (core module $code
    (import "heap" "memory" (memory 32))
    (import "host" "read" (func $read (param i32 i32)))
    (import "host" "write" (func $write (param i32 i32)))
    (func (export "take") (result i64) (local $count i64)
      (loop $again
        (call $read (i32.const 262144) (i32.const 16))
        (local.set $count (i64.add (local.get $count)
          (i64.extend_i32_u (i32.load (i32.const 20)))))
        (br_if $again (i32.load (i32.const 20))))
      (local.get $count))
    (func (export "give") (param $count i64) (result i64) (local $left i64)
      (local.set $left (local.get $count))
      (loop $again
        (call $write (i32.const 4096) (i32.const 262144))
        (local.set $left (i64.sub (local.get $left) (i64.const 262144)))
        (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
      (local.get $count)))
  (core instance $main (instantiate $code (with "heap" (instance $heap)) (with "host" (instance
    (export "read" (func $read)) (export "write" (func $write))))))
  (func $take (result u64) (canon lift (core func $main "take")))
  (func $give (param "count" u64) (result u64) (canon lift (core func $main "give")))
  (instance $it (export "take" (func $take)) (export "give" (func $give)))
  (export "bench:invoke/streams@1.0.0" (instance $it)))
"""
"""Reads all and counts it, or writes so many bytes, in pieces of 256 KiB."""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; a lattice runs meanwhile."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(lattice_up(hosts=1))
        client = await stack.enter_async_context(connect(running.settings))
        image = running.folder / "streams.wasm"
        image.write_bytes(wasmtime.wat2wasm(GUEST))
        component = {"name": "streams", "image": str(image)}
        manifest = {"lattice": "v1", "name": "streams", "components": [component]}
        await client.apply(manifest, wait=True)
        made = (
            _case(TO_GUEST, "a client streams a gibibyte to a guest", _send, client, running),
            _case(FROM_GUEST, "a guest streams a gibibyte to a client", _receive, client, running),
        )
        yield [case for case in made if case.name in wanted]


def _case(name: str, what: str, move: Move, client: LatticeClient, running: RunningLattice) -> Case:
    async def sample(effort: float) -> Reading:
        size = max(int(WHOLE_BYTES * effort) // PIECE_BYTES, 1) * PIECE_BYTES
        before, before_kib = read_cost(running.pids), _peak_kib(running)
        began_s = perf_counter()
        await move(client, size)
        elapsed_s = perf_counter() - began_s
        spent = read_cost(running.pids).since(before)
        return Reading(
            elapsed_s=elapsed_s,
            operations=size / 1e6,
            figures={
                CPU: (spent.cpu_s + spent.servers_cpu_s) / size * 1e12,
                "grown_kib": _peak_kib(running) - before_kib,
            },
        )

    return Case(
        name=name,
        what=f"{what}, over a nats-server; `{CPU}` is for a million bytes, "
        "of client, servers and host; `grown_kib` is by what the most memory of host and client "
        "grew, after a first gibibyte",
        ours=sample,
        peer_name="none that does the same",
        unit="MB/s",
        is_sampled=True,
        warm_up=1,
        repetitions=REPETITIONS,
        servers=running.pids,
    )


async def _send(client: LatticeClient, size: int) -> None:
    piece = bytes(PIECE_BYTES)
    body = (piece for _ in range(size // PIECE_BYTES))
    async with client.stream("streams", "take", body=body) as call:
        assert await call.value() == size, "the guest has counted all"


async def _receive(client: LatticeClient, size: int) -> None:
    found = 0
    async with client.stream("streams", "give", [size]) as call:
        async for part in call:
            found += len(part)
    assert found == size, "all of it came"


def _peak_kib(running: RunningLattice) -> int:
    """Return the most memory that host and client had at one time each, together."""
    pids = ("self", str(running.pids["host-1"]))
    try:
        texts = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in pids]
    except OSError:
        message = "memory is read in /proc, which is not here"
        raise UnavailableError(message) from None
    return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in texts)
