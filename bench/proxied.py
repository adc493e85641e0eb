"""Very many deployments behind one proxy guest: makes them, and measures calls through it.

A deployment is a guest in C that adds, at zero replicas until somebody calls it. The proxy opens
them by name (`lattice:invoke/dynamic`); beside it stands a guest with a link to one of them.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import anyio
import wasmtime

from bench.guests import INVOKE_OFTEN
from bench.running import RunningLattice
from lattice.client import LatticeClient
from lattice.errors import LatticeError

ADD = "bench:invoke/add@1.0.0"
PROXY = "test:proxy/proxy@0.1.0"

SOURCE = "unsigned add(unsigned a, unsigned b) { return a + b; }\n"
WIT = """
package bench:invoke@1.0.0;
interface add { add: func(a: u32, b: u32) -> u32; }
world adds { export add; }
"""

DEPLOYING = 32  # at once
IDLE = "60s"  # without a call until a replica goes
PATIENCE_S = 60.0
SEED = 7
FAILURES_SHOWN = 3  # kinds of them, on standard error
IN_FLIGHT = 4  # calls at once, of those that Zipf's law draws
EXPONENT = 1.0  # of Zipf's law


def c_guest(folder: Path) -> Path:
    """Return a guest in C that adds, built by Zig's C compiler.

    Raises:
        subprocess.CalledProcessError: it could not be built.
    """
    source, wit = folder / "add.c", folder / "add.wit"
    wit.write_text(WIT)
    module, embedded, target = (folder / f"c-add.{end}" for end in ("core", "embedded", "wasm"))
    tool = str(Path(sysconfig.get_path("scripts")) / "wasm-tools")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding"]
    flags = ["-nostdlib", "-Wl,--no-entry", "-O2", "-s"]
    exported = f'__attribute__((export_name("{ADD}#add"))) {SOURCE}'
    source.write_text(exported)
    subprocess.run([*compiler, *flags, str(source), "-o", str(module)], check=True)
    embed = ["embed", str(wit), str(module), "--world", "adds", "--output", str(embedded)]
    subprocess.run([tool, "component", *embed], check=True)
    subprocess.run([tool, "component", "new", str(embedded), "--output", str(target)], check=True)
    return target


def name_of(number: int) -> str:
    """Return the name of a deployment behind the proxy."""
    return f"t-{number:06d}"


@dataclass(slots=True)
class Proxied:
    """A lattice with many deployments behind a proxy."""

    running: RunningLattice
    client: LatticeClient
    count: int
    cold_s: list[float] = field(default_factory=list[float])  # of the first call of each
    again_s: list[float] = field(default_factory=list[float])  # of those after it
    failures: list[str] = field(default_factory=list[str])
    deploy_s: float = 0.0

    async def deploy(self) -> None:
        """Make all deployments."""
        from tests.guests import components

        folder = self.running.folder
        image = c_guest(folder)
        await self._add(0, str(image))
        digest = f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}"
        left = iter(range(1, self.count))
        began_s = time.perf_counter()

        async def some() -> None:
            for number in left:
                await self._add(number, digest)

        async with anyio.create_task_group() as group:
            for _ in range(DEPLOYING):
                group.start_soon(some)
        self.deploy_s = time.perf_counter() - began_s
        (folder / "proxy.wasm").write_bytes(components.proxy())
        (folder / "often.wasm").write_bytes(wasmtime.wat2wasm(INVOKE_OFTEN))
        binding = {"interface": "lattice:invoke/dynamic@0.1.0", "config": {"allow": "t-*"}}
        link = {"import": ADD, "to": name_of(0)}
        await self._front("proxy", bindings=[binding])
        await self._front("often", links=[link])

    async def call_linked(self) -> float:
        """Return the seconds of a call through the guest with a link."""
        began_s = time.perf_counter()
        assert await self.client.call("often", "often", [1], deadline_s=PATIENCE_S) == 1
        return time.perf_counter() - began_s

    async def call_proxied(self, number: int) -> float:
        """Return the seconds of a call of a deployment through the proxy."""
        began_s = time.perf_counter()
        args = [name_of(number), ADD, "auto", "add", "[0, 1]"]
        answer = await self.client.call("proxy", f"{PROXY}#ask", args, deadline_s=PATIENCE_S)
        if answer not in (("ok", "1"), ["ok", "1"], "1"):
            message = f"the proxy says {answer!r}"
            raise AssertionError(message)
        return time.perf_counter() - began_s

    async def spread_calls(self, draws: int) -> None:
        """Call deployments as Zipf's law draws them, and note what the first and further calls of
        each took.
        """
        left, seen = iter(zipf(self.count, draws)), set[int]()

        async def some() -> None:
            for number in left:
                took_s = self.again_s if number in seen else self.cold_s
                seen.add(number)
                try:
                    took_s.append(await self.call_proxied(number))
                except (LatticeError, AssertionError) as error:
                    self.failures.append(str(error))

        async with anyio.create_task_group() as group:
            for _ in range(IN_FLIGHT):
                group.start_soon(some)
        for text, times in Counter(self.failures).most_common(FAILURES_SHOWN):
            print(f"{times} x {text}", file=sys.stderr)

    async def _add(self, number: int, image: str) -> Any:
        manifest = {
            "lattice": "v1", "name": name_of(number),
            "components": [{"name": "add", "image": image, **_reused()}],
            "scale": {"min": 0, "max": 1, "idle": IDLE},
        }  # fmt: skip
        return await self.client.apply(manifest)

    async def _front(self, name: str, **fields: Any) -> None:
        image = self.running.folder / f"{name}.wasm"
        component = {"name": name, "image": str(image), **_reused()}
        manifest = {
            "lattice": "v1", "name": name, "replicas": 3, "components": [component], **fields
        }  # fmt: skip
        await self.client.apply(manifest, wait=True)


def zipf(count: int, draws: int) -> list[int]:
    """Return numbers below `count` as Zipf's law draws them: 0 most often."""
    weights = list(accumulate(1 / (rank + 1) ** EXPONENT for rank in range(count)))
    return random.Random(SEED).choices(range(count), cum_weights=weights, k=draws)


def memory_bytes(pids: Mapping[str, int]) -> Mapping[str, int]:
    """Return the resident memory of processes by their names."""
    found = {}
    for name, pid in pids.items():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                found[name] = 1024 * int(line.split()[1])
    return found


def _reused() -> dict[str, Any]:
    return {"instances": {"mode": "reuse", "maxInvocations": 1_000_000}}
