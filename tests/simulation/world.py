"""A lattice in one seeded loop: virtual time, faulty messages, a linearizable bucket, bad luck.

Everything random comes from one seed, so that a failing seed is a bug report. The world knows
nothing of the protocol: actors are production cores behind the thin shells of `host_actor` and
`scheduler_actor`, and `invariants` says what must hold.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lattice.errors import ConflictError
from scheduler.profile import DEFAULT, Profile

LOSSES = (0.0, 0.05, 0.05, 0.12)
"""Shares of messages that are lost; each world has one of them."""

REPEAT, SLOW = 0.03, 0.10
"""Shares of messages that arrive twice, and that take up to `World.slow_s_max`."""

SLOW_S_MAX = 9.0
REQUEST_S = 4.0
"""Seconds after which a request to the bucket has an unknown outcome; it may still take place."""

TIMERS_LATE_S = 0.001
"""After every second pause a process hears what waits for it before it looks at its timers."""

OFFSET_S_MAX = 1000.0
DRIFT_MAX = 0.01

Presence = Literal["answered", "absent", "unknown"]

Value = Any
"""What a key holds: the messages themselves, for speed."""


class Actor(Protocol):
    """A process in the world."""

    def boot(self) -> None: ...
    def crash(self) -> None: ...
    def receive(self, message: object) -> None: ...
    def notice(self) -> None: ...
    def watches(self, keys: set[str]) -> bool: ...
    def hear(self, host: str) -> None: ...


class KV:
    """A linearizable bucket with revisions, conditional batches and a fence."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[Value, int]] = {}
        self.log: list[tuple[int, str, Value]] = []
        self.revision = 0

    def get(self, key: str) -> tuple[Value, int]:
        return self.values.get(key, (None, 0))

    def put(
        self, writes: Sequence[tuple[str, Value, int | None]], fence: tuple[str, int] | None = None
    ) -> int:
        expected = [(key, revision) for key, _, revision in writes if revision is not None]
        for key, revision in [*expected, *([fence] if fence else [])]:
            if (found := self.get(key)[1]) != revision:
                raise ConflictError(f"{key} stands at revision {found}, expected {revision}")
        for key, value, _ in writes:
            self.revision += 1
            self.values[key] = (value, self.revision)
            self.log.append((self.revision, key, value))
        return self.revision


@dataclass
class Node:
    """One process with a clock of its own. `life` is new for every start."""

    name: str
    offset_s: float
    rate: float
    life: int = 0
    is_down: bool = False
    paused_until_s: float = 0.0
    timers_late_s: float = 0.0  # after a pause, behind the messages that wait
    stalled_until_s: float = 0.0  # what comes to it waits on its way until then
    ambush: Callable[[], None] | None = None  # happens when an answer is on its way to it
    actor: Any = None


@dataclass
class World:
    seed: int
    chaos_s: float = 90.0
    quiet_s: float = 60.0
    profile: Profile = DEFAULT
    slow_s_max: float = SLOW_S_MAX
    now_s: float = 0.0
    events: int = 0
    kv: KV = field(default_factory=KV)
    nodes: dict[str, Node] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    begin: Callable[[], None] = lambda: None
    calm: Callable[[], None] = lambda: None
    ended: set[str] = field(default_factory=set)  # replicas of jobs that ran to a good end
    over: set[str] = field(default_factory=set)  # those, and those that ended badly
    broken: set[tuple[str, int]] = field(default_factory=set)  # generations that never start
    check: Callable[[], None] = lambda: None
    late: set[str] = field(default_factory=set)  # processes that are not there from the beginning
    fed: set[str] = field(default_factory=set)  # hosts that took in an event since the last check
    moves: int = 0  # of replicas: starts, stops and what became of them
    planned: Callable[[Any, Any, Any], None] = lambda listed, after, wanted: None  # by a plan
    told: Callable[[str, Any], None] = lambda source, event: None  # by a host's boot or in a term
    holders: Callable[[], list[str]] = list  # who leads, and who has what may be only once

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.is_faulty = True
        self.loss = self.random.choice(LOSSES)
        self._queue: list[tuple[float, int, str, Callable[[], None]]] = []
        self._count = 0
        self.deaf: set[str] = set()  # nothing reaches them
        self.mute: set[str] = set()  # nothing leaves them
        self.away: set[str] = set()  # without a connection
        self.minority: set[str] = set()  # on the side of a partition that has no bucket
        self.is_stored = True  # requests to the bucket and watches get through
        self._digest = hashlib.blake2b(digest_size=8)

    @property
    def trace(self) -> str:
        return self._digest.hexdigest()

    def add(self, name: str, actor: Actor) -> None:
        rate = 1 + self.random.uniform(-DRIFT_MAX, DRIFT_MAX)
        offset_s = self.random.uniform(-OFFSET_S_MAX, OFFSET_S_MAX)
        self.nodes[name] = Node(name, offset_s, rate, actor=actor)

    def clock(self, name: str) -> float:
        node = self.nodes[name]
        return self.now_s * node.rate + node.offset_s

    # --- time ---------------------------------------------------------------------------------

    def at(self, delay_s: float, what: str, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, what, action))

    def timer(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        """Run an action of a process after a time by its clock, unless it died meanwhile."""
        node = self.nodes[name]
        living = self._living(name, action, is_timer=True)
        self.at(delay_s / node.rate, f"timer {name}", living)

    def _living(
        self, name: str, action: Callable[[], None], *, is_timer: bool = False
    ) -> Callable[[], None]:
        node, life = self.nodes[name], self.nodes[name].life

        def act() -> None:
            if node.is_down or node.life != life:
                return
            if node.paused_until_s > self.now_s:
                late_s = node.timers_late_s if is_timer else 0.0
                self.at(node.paused_until_s - self.now_s + late_s, f"resumed {name}", act)
                return
            action()

        return act

    def _arriving(self, name: str, action: Callable[[], None]) -> Callable[[], None]:
        """Let a process take in what was sent to it, as soon as its connection lets it through."""
        node, living = self.nodes[name], self._living(name, action)

        def arrive() -> None:
            if node.stalled_until_s > self.now_s:
                self.at(node.stalled_until_s - self.now_s, f"stalled {name}", arrive)
            else:
                living()

        return arrive

    # --- connections --------------------------------------------------------------------------

    def presence(self, name: str) -> Presence:
        """Return what the server and a process say when it is asked whether it is there."""
        node = self.nodes[name]
        if node.is_down or name in self.away:
            return "absent"
        is_silent = (
            name in self.deaf | self.mute | self.minority or node.paused_until_s > self.now_s
        )
        return "unknown" if is_silent else "answered"

    def tell_disconnected(self, name: str) -> None:
        """Let every other process hear that a connection ended."""
        for other, node in self.nodes.items():
            is_apart = (name in self.minority) != (other in self.minority)
            if other != name and not is_apart and other not in self.deaf | self.away:
                hear = self._arriving(other, lambda node=node: node.actor.hear(name))  # type: ignore[misc]  # bound now
                self.at(self.delay_s(), f"disconnect {name}", hear)

    def disconnect(self, name: str, lasts_s: float) -> None:
        """End a connection that is made again after a while; the server knows that it ended."""
        self.away.add(name)
        self.tell_disconnected(name)
        self.at(lasts_s, f"reconnect {name}", lambda: self.away.discard(name))

    # --- messages and requests ----------------------------------------------------------------

    def delay_s(self) -> float:
        if self.is_faulty and self.random.random() < SLOW:
            return self.random.uniform(0.05, self.slow_s_max)
        return self.random.uniform(0.001, 0.05)

    def is_lost(self, *, source: str = "", target: str = "") -> bool:
        """Tell whether a message is lost between two processes, or between one and the server."""
        if source in self.mute or target in self.deaf or {source, target} & self.away:
            return True
        if (source in self.minority) != (target in self.minority):  # where the server is ""
            return True
        return self.is_faulty and self.random.random() < self.loss

    def send(self, source: str, target: str, message: object) -> None:
        """Deliver at most once, but sometimes twice; late messages overtake each other."""
        node = self.nodes[target]
        deliver = self._arriving(target, lambda: node.actor.receive(message))
        for _ in range(2 if self.is_faulty and self.random.random() < REPEAT else 1):
            if not self.is_lost(source=source, target=target):
                self.at(self.delay_s(), f"message {source} {target}", deliver)
                self._spring(target, "h")

    def request(
        self, name: str, operation: Callable[[KV], Any], done: Callable[[Any], None]
    ) -> None:
        """Ask the bucket; `done` gets the result, the `ConflictError`, or None if nobody knows.

        Either half of the round trip may be slow or lost, so that a write without an answer may
        have taken place, may take place later, or never.
        """
        is_open = True

        def is_lost(**way: str) -> bool:
            return not self.is_stored or self.is_lost(**way)

        def finish(result: Any) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                done(result)

        def serve() -> None:
            before = self.kv.revision
            try:
                result = operation(self.kv)
            except ConflictError as exc:
                result = exc
            if self.kv.revision != before:
                self._wake_watchers(before)
            if not is_lost(target=name):
                reply = self._arriving(name, lambda: finish(result))
                self.at(self.delay_s(), f"reply {name}", reply)
                self._spring(name, "s")

        if not is_lost(source=name):
            self.at(self.delay_s(), f"request {name}", serve)
        self.timer(name, REQUEST_S, lambda: finish(None))

    def write(self, key: str, value: Value) -> None:
        """Write from outside, as a person does through the api."""
        before = self.kv.revision
        self.kv.put([(key, value, None)])
        self._wake_watchers(before)

    def _wake_watchers(self, before: int) -> None:
        changed = {key for _, key, _ in self.kv.log[before:]}
        for name, node in self.nodes.items():
            is_cut_off = name in self.deaf | self.away | self.minority
            if self.is_stored and not is_cut_off and node.actor.watches(changed):
                self.at(self.delay_s(), f"watch {name}", self._arriving(name, node.actor.notice))

    # --- the run ------------------------------------------------------------------------------

    def run(self) -> None:
        """Play chaos, then quiet, until the end or the first error."""
        for name, node in self.nodes.items():
            boot_s = self.random.uniform(0, 2)
            if name in self.late:
                node.is_down = True
            else:
                self.at(boot_s, f"boot {name}", node.actor.boot)
        self.begin()
        self.at(self.chaos_s, "calm", self._calm)
        end_s = self.chaos_s + self.quiet_s
        while self._queue and self._queue[0][0] <= end_s and not self.errors:
            self.now_s, _, what, action = heapq.heappop(self._queue)
            self.events += 1
            self._digest.update(f"{self.now_s:.6f} {what}".encode())
            action()
            self.check()

    def pause(self, name: str, lasts_s: float) -> None:
        """Let a process stand still. No pause is cut short: what waits keeps its order."""
        node = self.nodes[name]
        node.paused_until_s = max(node.paused_until_s, self.now_s + lasts_s)
        node.timers_late_s = self.random.choice((0.0, TIMERS_LATE_S))

    def stall(self, name: str, lasts_s: float) -> None:
        """Let what comes to a process wait on its way; it comes late, in its order, not never."""
        node = self.nodes[name]
        node.stalled_until_s = max(node.stalled_until_s, self.now_s + lasts_s)

    def ambush(self, name: str, action: Callable[[], None]) -> None:
        """Let something happen as soon as what a lease depends on is on its way to a process: for a
        host that is a message, for a scheduler what the bucket answers."""
        self.nodes[name].ambush = action

    def _spring(self, name: str, kind: str) -> None:
        node = self.nodes[name]
        if node.ambush is not None and name.startswith(kind):
            action, node.ambush = node.ambush, None
            action()

    def kill(self, name: str) -> None:
        node = self.nodes[name]
        if not node.is_down:
            node.is_down, node.life = True, node.life + 1
            node.stalled_until_s, node.ambush = 0.0, None
            node.actor.crash()
            self.tell_disconnected(name)

    def revive(self, name: str) -> None:
        node = self.nodes[name]
        if node.is_down and name not in self.late:
            node.is_down, node.paused_until_s = False, 0.0
            node.actor.boot()

    def join(self, name: str) -> None:
        """Let a process begin that was not there before."""
        self.late.discard(name)
        self.revive(name)

    def _calm(self) -> None:
        self.is_faulty = False
        self.deaf.clear()
        self.mute.clear()
        self.away.clear()
        self.minority.clear()
        self.is_stored = True
        for name, node in self.nodes.items():
            node.stalled_until_s, node.ambush = 0.0, None
            self.revive(name)
        self.calm()
