"""Very many deployments behind one dynamic proxy: warm against a static link, and cold starts."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from bench.case import Case, LeftOut, Reading
from bench.proxied import Proxied, memory_bytes
from bench.running import lattice_up
from lattice.client import connect

MANY = "proxy_many"
CASES = (MANY,)

COUNT_VARIABLE = "LATTICE_BENCH_DEPLOYMENTS"
"""How many deployments stand behind the proxy, where the machine has not the time for all."""

DEPLOYMENTS = 100_000
HOSTS = 3
DRAWS = 2_000  # calls as Zipf's law draws them
CALLS = 400  # of a sample, one after the other
REPETITIONS = 9
WARM_TARGET = 1 / 1.3  # what a link takes of what the proxy takes
COLD_LIMIT_MS = 100.0
MEMORY_LIMIT_MIB = 2048.0


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases; a lattice of three hosts with all deployments runs meanwhile."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(lattice_up(HOSTS))
        client = await stack.enter_async_context(connect(running.settings))
        count = int(os.environ.get(COUNT_VARIABLE, DEPLOYMENTS))
        proxied = Proxied(running, client, count)
        await proxied.deploy()
        await proxied.spread_calls(DRAWS)
        yield [_many(proxied, _figures(proxied))] if MANY in wanted else []


def _figures(proxied: Proxied) -> Mapping[str, float]:
    memory = memory_bytes(proxied.running.pids)
    hosts = [size for name, size in memory.items() if name.startswith("host")]
    cold = sorted(proxied.cold_s) or [0.0]
    again = sorted(proxied.again_s) or [0.0]
    return {
        "deployments_count": proxied.count,
        "deployed_per_s": proxied.count / proxied.deploy_s,
        "cold_count": len(proxied.cold_s),
        "cold_p50_ms": statistics.median(cold) * 1e3,
        "cold_p99_ms": cold[min(len(cold) - 1, len(cold) * 99 // 100)] * 1e3,
        "cold_limit_ms": COLD_LIMIT_MS,
        "again_p50_ms": statistics.median(again) * 1e3,
        "again_p99_ms": again[min(len(again) - 1, len(again) * 99 // 100)] * 1e3,
        "failed_count": len(proxied.failures),
        "largest_host_mib": max(hosts) / 2**20,
        "scheduler_mib": memory["scheduler"] / 2**20,
        "nats_mib": memory["nats-server"] / 2**20,
        "memory_limit_mib": MEMORY_LIMIT_MIB,
    }


def _many(proxied: Proxied, figures: Mapping[str, float]) -> Case:
    return Case(
        name=MANY,
        what=f"a client calls one of {proxied.count} deployments through a proxy guest that opens "
        "it by name, and it has a replica; the further figures are those of calls over all of "
        f"them by Zipf's law on {HOSTS} hosts: `cold` calls found no replica",
        ours=partial(_sample, partial(proxied.call_proxied, 0)),
        peer=partial(_sample, proxied.call_linked),
        peer_name="the same by a guest with a static link to it",
        unit="us",
        is_sampled=True,
        warm_up=1,
        repetitions=REPETITIONS,
        target=WARM_TARGET,
        figures=lambda: figures,
    )


async def _sample(call: Callable[[], Awaitable[float]], effort: float) -> Reading:
    calls = max(1, round(CALLS * effort))
    began_s = time.perf_counter()
    took_s = sorted([await call() for _ in range(calls)])
    return Reading(
        elapsed_s=time.perf_counter() - began_s,
        operations=calls,
        figures={"p50_us": took_s[calls // 2] * 1e6, "p99_us": took_s[calls * 99 // 100] * 1e6},
    )
