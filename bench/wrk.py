"""Asks a server as fast as it answers, with wrk, and says how fast that was.

wrk (https://github.com/wg/wrk) is a program of its own; `make setup` installs it where it can.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

import anyio

from bench.case import UnavailableError

SAMPLE_S = 2
"""Seconds of one run; wrk takes whole ones."""

THREADS = 1
CONNECTIONS = 32

_LIMIT_S = 30.0
"""Seconds beyond its time after which wrk hangs."""

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "elapsed_us": %d, "p50_us": %d, "p99_us": %d, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout + e.status))
end
"""
"""Says at the end what was measured, in a form that does not depend on the version."""

_VARIED = """
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", wrk.path .. "?number=" .. number)
end
"""
"""Asks for another target each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One run of wrk, as it describes it."""

    requests: int  # that were answered
    elapsed_s: float
    p50_ms: float
    p99_ms: float


def find_wrk() -> str:
    """Return the path of wrk.

    Raises:
        UnavailableError: it is not on this machine.
    """
    found = shutil.which("wrk")
    if found is None:
        raise UnavailableError("wrk is not installed: `sh scripts/system-packages wrk`, as root")
    return found


async def load(url: str, seconds: int, *, is_varied: bool = False) -> Load:
    """Return what came of asking for a URL over and over, on kept connections.

    Raises:
        AssertionError: an answer was none, an error, or did not come.
        UnavailableError: wrk is not on this machine.
    """
    wrk = find_wrk()
    with NamedTemporaryFile("w", suffix=".lua") as script:
        script.write((_VARIED if is_varied else "") + _DONE)
        script.flush()
        words = [f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script.name, url]
        with anyio.fail_after(seconds + _LIMIT_S):
            done = await anyio.run_process([wrk, *words], stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, f"wrk failed: {said}"
    return read(said)


def read(said: str) -> Load:
    """Return what the last line of wrk's output says.

    Raises:
        AssertionError: answers failed, or there were none.
    """
    found = json.loads(said.strip().splitlines()[-1])
    assert found["requests"] > 0, f"nothing was answered: {said}"
    assert found["failed"] == 0, f"{found['failed']} answers failed: {said}"
    return Load(
        requests=found["requests"],
        elapsed_s=found["elapsed_us"] / 1e6,
        p50_ms=found["p50_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
    )
