"""The seam between a host and what executes WebAssembly.

An `Engine` turns component binaries into a `Program` (composed, compiled, cached); a `Program`
makes `Instance`s; an `Instance` answers one call at a time. Values are plain: what
`lattice.wire.values` describes, and what MessagePack carries. A fake engine in plain Python
(`hosts.engine.fake`) and the real one pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lattice.component.types import ComponentType
from lattice.model.ids import Digest

HostImport = Callable[[str, str, Sequence[Any]], Awaitable[Any]]
"""Satisfies an imported interface: (interface, function, args) -> result value, None without one.

A `LatticeError` that it raises ends the guest's call with that error (see `Instance.call`); a WIT
`result` is returned as `["ok", value]` or `["err", value]` like any value.
"""


@dataclass(frozen=True, slots=True)
class Direct:
    """Satisfies an imported interface by functions that answer at once, by their WIT names.

    They get the arguments and return the result value, like a `HostImport`, but are called on the
    guest's stack: they must be quick, and neither block nor await nor call a guest. What they raise
    ends the guest's call with that error.
    """

    functions: Mapping[str, Callable[..., Any]]


Import = HostImport | Direct
"""What satisfies an imported interface."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a composition, by name."""

    name: str
    digest: Digest
    body: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """Inside a composition, `part`'s import `interface` is satisfied by the part `to`.

    The part exports it under the name `to_interface`, or the same when that is empty. With a
    `function`, only that function at the importing part's root (`interface` is `""`) is meant; the
    export is then the function `to_function`, or of the same name when that is empty.
    """

    part: str
    interface: str
    to: str
    to_interface: str = ""
    function: str = ""
    to_function: str = ""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of this machine that a guest may use, with all below it."""

    path: Path
    is_writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an instance sees besides its imports. Nothing is granted that is not named here."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    args: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict[str, Path])
    # files: name -> a file on this machine, seen read-only as /files/<name>
    directories: Mapping[str, Directory] = field(default_factory=dict[str, Directory])
    # directories: absolute path as the guest sees it -> what it sees there
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    memory_bytes_max: int = 256 * 1024 * 1024
    log: Callable[[str, str], None] = lambda _level, _line: None  # (level, one line of output)


class Instance(Protocol):
    """One store: lives for one call (a component) or long (a service). One call at a time."""

    async def call(
        self, interface: str, function: str, args: Sequence[Any], *, deadline_s: float
    ) -> Any:
        """Return the function's result value, None without one. Other tasks run meanwhile.

        Cancelling, a trap and a passed deadline poison the instance: it is then `is_dead`.

        Raises:
            NotFoundError: the program does not export it.
            InvalidError: the arguments do not fit the parameters; the path is named.
            GuestTrapError: the guest trapped; the message has its backtrace, truncated.
            DeadlineExceededError: it did not return within `deadline_s`.
            ConflictError: a call is running in this instance already.
            LatticeError: what a `HostImport` raised while the guest called it.
        """
        ...

    @property
    def is_dead(self) -> bool:
        """Tell whether the instance can take no further call."""
        ...

    def close(self) -> None:
        """Drop the store and all it holds. Idempotent."""
        ...


class Program(Protocol):
    """A compiled component, ready to be instantiated any number of times."""

    @property
    def type(self) -> ComponentType:
        """Return what remains imported and what is exported after composition."""
        ...

    @property
    def footprint_bytes(self) -> int:
        """Return what the program holds in memory, roughly and rather too much."""
        ...

    async def instantiate(self, imports: Mapping[str, Import], world: World) -> Instance:
        """Return a new instance. `imports` is keyed by the interface names of `type.imports`.

        Raises:
            InvalidError: an import is satisfied by nobody (neither `imports` nor the engine's own
                standard interfaces), or memory does not suffice; all missing imports are listed.
            GuestTrapError: the start section trapped.
        """
        ...


class Engine(Protocol):
    """Composes and compiles."""

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that every instance gets from the engine without a grant."""
        ...

    async def load(self, parts: Sequence[Part], links: Sequence[Link]) -> Program:
        """Compose the parts along the links, compile (or take from the cache), and return it.

        The event loop stays free while compiling. Exports of all parts stay visible; of one
        exported by two parts, the first part's wins.

        Raises:
            InvalidError: bytes are no component, or two parts do not fit; explained in WIT terms.
            IncompatibleError: a type differs across a link; both sides are shown.
        """
        ...

    def close(self) -> None:
        """Release threads and child processes. Programs and instances must be gone."""
        ...
