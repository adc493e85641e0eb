"""Compiles in a child process: the host keeps no compiler memory and survives its crashes.

`Compiler` is the host's side. The child (`python -m hosts.engine.compiling DIRECTORY TIER`) reads
a component from its standard input, bounds itself in memory, processor time and priority, and
writes sealed code into the cache. The host only loads that file: nothing of the child's output but
its exit status and a message is believed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from hosts.engine.tiers import Tier, flags, new_core, tier_named
from lattice.errors import InvalidError

MEMORY_BYTES_MAX = 4 * 1024**3
"""Address space of a compiler: a guest of 18 MB takes 0.5 GB, so this serves one of 100 MB."""

TIME_S_MAX = 600.0
"""Time to compile one component: ten seconds alone, minutes at low priority on a busy machine."""

NICENESS = 10
"""Added to the priority value of a compiler, so that guests that answer calls go first."""

KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TMPDIR")
"""What a compiler gets of the host's environment: what an interpreter may need to start."""

MESSAGE_BYTES_MAX = 2000
"""How much of a compiler's last words is passed on."""

STORED, INVALID, NOT_STORED = 0, 3, 4
"""Exit statuses of the child: the code is in the cache; no valid component; cache unwritable."""


class Compiler:
    """Runs compilers in child processes for one cache directory and one tier."""

    def __init__(
        self,
        directory: Path,
        tier: Tier,
        *,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        time_s_max: float = TIME_S_MAX,
    ) -> None:
        self._directory = directory
        self._tier = tier
        self._memory_bytes_max = memory_bytes_max
        self._time_s_max = time_s_max
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing is compiled any more."""
        return self._is_closed

    def run(self, body: bytes, *, name: str) -> bool:
        """Compile a component into the cache; blocks. Return whether the cache could take it.

        Raises:
            InvalidError: the bytes are no valid component, or compiling crashed, took too long or
                too much memory; `name` is in the message.
        """
        with self._start() as child:
            try:
                _, output = child.communicate(body, timeout=self._time_s_max)
            except subprocess.TimeoutExpired:
                child.kill()
                raise InvalidError(
                    f"{name} did not compile within {self._time_s_max:g} s: it is too large or "
                    "made to keep a compiler busy"
                ) from None
            finally:
                with self._lock:
                    self._children.discard(child)
        if child.returncode in (STORED, NOT_STORED):
            return child.returncode == STORED
        words = output[-MESSAGE_BYTES_MAX:].decode("utf-8", "replace").strip()
        if child.returncode == INVALID:
            raise InvalidError(f"{name} is no valid component: {words}")
        raise InvalidError(
            f"{name} did not compile, the compiler {_ended(child.returncode)} (it may use "
            f"{self._memory_bytes_max >> 20} MiB): {words or 'no message'}"
        )

    def close(self) -> None:
        """End the compilers that run; whoever waits for one is told that it did not compile."""
        with self._lock:
            self._is_closed = True
            for child in self._children:
                child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-P", "-m", "hosts.engine.compiling",
            str(self._directory), self._tier, str(self._memory_bytes_max), str(self._time_s_max),
        ]  # fmt: skip
        with self._lock:
            if self._is_closed:
                raise InvalidError("nothing is compiled any more: the engine is closed")
            child = subprocess.Popen(  # noqa: S603 - this interpreter with this module
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
                # Ctrl-C in a terminal is for the host, which then ends its children.
                start_new_session=True,
            )
            self._children.add(child)
        return child


def _environment() -> dict[str, str]:
    """Return the child's environment: it needs no secrets of the host, and finds this package."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    # glibc reserves 64 MiB of addresses for each thread's arena, which the limit would count.
    kept["MALLOC_ARENA_MAX"] = "2"
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _bound(memory_bytes_max: int, time_s_max: float) -> None:
    """Bound this process; what the system does not offer (Windows) is left out."""
    with contextlib.suppress(AttributeError):
        os.nice(NICENESS)
    try:
        import resource
    except ImportError:
        return
    seconds = int(time_s_max) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # the system refuses it on macOS
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))


def main(arguments: list[str]) -> int:
    """Compile what comes on standard input and return the exit status."""
    from hosts.engine.cache import CodeCache

    directory, named, memory_bytes_max, time_s_max = arguments
    tier = tier_named(named)
    _bound(int(memory_bytes_max), float(time_s_max))
    body = sys.stdin.buffer.read()
    try:
        cache = CodeCache(new_core(tier), Path(directory), flags=flags(tier))
        return STORED if cache.compile(body, name="the component") else NOT_STORED
    except InvalidError as error:
        sys.stderr.write(error.message.removeprefix("the component is no valid component: "))
        return INVALID


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
