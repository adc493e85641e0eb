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

from hosts.engine.fetches import Outlet
from hosts.engine.network.loopback import Loopback
from hosts.engine.quota import Quota
from lattice.component.types import ComponentType
from lattice.model.ids import Digest
from lattice.model.network import NOTHING, Network

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


@dataclass(frozen=True, slots=True)
class Resource:
    """Objects of the host that guests have handles of: what they are, and how one ends.

    `drop` is called once for each object that a guest owned, when the guest drops it or, at the
    latest, when the instance ends; not for one that a function got back as an owned handle. It must
    be quick, and neither block nor await nor call a guest.
    """

    kind: type
    drop: Callable[[Any], None] = lambda _value: None


@dataclass(frozen=True, slots=True)
class Capability:
    """Satisfies an imported interface by functions and resources of Python, by their WIT names.

    `direct` has what answers at once, as `Direct` does, `waiting` what suspends the guest. Methods
    and the like have WIT's names for them: `[constructor]thing`, `[method]thing.get`,
    `[static]thing.open`. For a handle, functions get and give the object itself. An object that a
    function gives as an owned handle is the guest's until that passes or drops it: it must not be
    given twice at a time. With `has_records`, records reach the functions as frozen dataclasses
    (`hosts.engine.codec.records`).

    `hosts.engine.binder` makes one of a plain class.
    """

    direct: Mapping[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    waiting: Mapping[str, Callable[..., Awaitable[Any]]] = field(
        default_factory=dict[str, Callable[..., Awaitable[Any]]]
    )
    resources: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    has_records: bool = False


class Lease(Protocol):
    """A claim on the instance that answers one call; see `Forward.claim`."""

    @property
    def instance(self) -> Instance:
        """Return the instance, which is of the same engine and takes no other call meanwhile."""
        ...

    @property
    def interface(self) -> str:
        """Return the interface to call there, as the instance exports it."""
        ...

    @property
    def function(self) -> str:
        """Return the function to call there."""
        ...

    @property
    def deadline_s(self) -> float:
        """Return the seconds that the call may take: what is left to the caller, or less."""
        ...

    def release(self) -> None:
        """Take note that the call is over, however it ended. Called once; must not raise."""
        ...


@dataclass(frozen=True, slots=True)
class Forward:
    """Satisfies an imported interface by functions that other instances on this host export.

    Values that are only passed on are not converted: `call` gets as its arguments a sequence that
    converts them when somebody looks at it. Whoever passes that very object to `Instance.call`
    gets an answer that is not converted either, which is fit for nothing but being returned from
    `call`. A callee that is elsewhere is sent `list(args)` and answers a value, as with any
    `HostImport`. Where the types on both sides are not the same, the engine converts after all.
    Functions that take or give handles of resources are refused when the guest is instantiated.

    `claim` is the short way, asked first: `(interface, function)` as imported -> a `Lease` when
    the instance that is to answer is there and idle, so that its call can begin at once; None when
    somebody must wait, be made or be asked elsewhere: then `call` does all of it. It is called on
    the guest's stack: it must be quick, and neither block nor await nor call a guest. What it
    raises ends the guest's call with that error.

    An error of the callee ends the caller's call with that error. When the caller is cancelled or
    its time is up, so is the callee's call.
    """

    call: HostImport
    claim: Callable[[str, str], Lease | None] | None = None


Import = HostImport | Direct | Capability | Forward
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
    quota: Quota | None = None  # bounds what guests put there, all together


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
    fuel_max: int = 0  # instructions, roughly, that one call may run; 0: they are not counted
    meter: Callable[[int], None] = lambda _fuel: None  # told after each call what it used
    log: Callable[[str, str], None] = lambda _level, _line: None  # (level, one line of output)
    stdout: Callable[[bytes], None] | None = None
    stderr: Callable[[bytes], None] | None = None
    # stdout, stderr: get what is written there, as it is and at once, in place of `log`
    stdin: Callable[[int], Awaitable[bytes]] | None = None
    # stdin: returns at most so many bytes as soon as there are any, b"" at the end; None: empty
    network: Network = NOTHING
    loopback: Loopback | None = None
    # loopback: what the guest reaches as 127.0.0.1 and ::1; None: one of its own
    outlet: Callable[[], Outlet] | None = None
    # outlet: makes what an instance sends its HTTP requests by; None: they are denied


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
            LatticeError: what an import raised while the guest called it.
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

    async def load(
        self, parts: Sequence[Part], links: Sequence[Link], *, is_metered: bool = False
    ) -> Program:
        """Compose the parts along the links, compile (or take from the cache), and return it.

        The event loop stays free while compiling. Exports of all parts stay visible; of one
        exported by two parts, the first part's wins. Instances of a metered program count their
        fuel (`World.fuel_max`), which costs time; others do not.

        Raises:
            InvalidError: bytes are no component, or two parts do not fit; explained in WIT terms.
            IncompatibleError: a type differs across a link; both sides are shown.
        """
        ...

    def close(self) -> None:
        """Release threads and child processes. Programs and instances must be gone."""
        ...
