"""What one call knows of itself while a host works on it: its time, its way here, what it holds.

The context goes along from call to call. Within a host it tells which services wait for the call
and how deep it is; beyond, the invocation carries hops, deployments, deadline and trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lattice.errors import ConflictError, DeadlineExceededError
from lattice.wire.messages import LEGS_MAX, Leg

if TYPE_CHECKING:
    from hosts.bytestream import ByteStream

CALL_DEPTH_MAX = 48
"""Calls inside each other on one host, from program to program. Each holds an instance and its
memory until the inner ones return, and the interpreter's own stack grows with them: its limit of
1,000 frames would be reached at about 90."""

DEADLINE_MS_MAX = 24 * 3600 * 1000
"""The longest deadline that a caller from elsewhere may ask for: a day."""

STEPS_SHOWN_MAX = 12
"""Steps of a chain that a message shows; the middle of a longer one says little."""

Step = tuple[str, str, str]
"""Deployment, component or service, and function that a call went through."""


@dataclass(slots=True, kw_only=True)
class CallContext:
    """What one call knows of itself while this host works on it."""

    deadline_at_s: float  # by this host's monotonic clock
    hops: int = 0
    chain: tuple[str, ...] = ()  # deployments on the way, outermost first
    trace: str = ""
    caller: str = ""
    key: str | None = None
    stream: ByteStream | None = None  # what its caller streams to and from it
    holds: tuple[str, ...] = ()  # services of this host that wait for this call, outermost first
    steps: tuple[Step, ...] = ()  # functions on the way on this host, outermost first
    legs: list[Leg] = field(default_factory=list[Leg])
    _inner: tuple[Step, CallContext] | None = field(default=None, init=False, repr=False)
    # _inner: what `into` returned last, and for which step: a guest's loop calls the same again

    def inside(self, service: str) -> CallContext:
        """Return the context of calls that a service makes while it works on this one."""
        return replace(self, holds=(*self.holds, service), legs=self.legs)

    def within(self, deployment: str) -> CallContext:
        """Return the context of calls that a deployment makes while it works on this one."""
        return CallContext(  # what `replace` does, in a fifth of its time
            deadline_at_s=self.deadline_at_s,
            hops=self.hops,
            chain=(*self.chain, deployment),
            trace=self.trace,
            caller=deployment,
            key=self.key,
            stream=self.stream,
            holds=self.holds,
            steps=self.steps,
            legs=self.legs,
        )

    def into(self, step: Step) -> CallContext:
        """Return the context of a call while a function works on it, the same for the same step.

        Raises:
            ConflictError: the call is `CALL_DEPTH_MAX` deep already; the chain is told.
        """
        if self._inner is not None and self._inner[0] is step:
            return self._inner[1]
        steps = (*self.steps, step)
        if len(steps) > CALL_DEPTH_MAX:
            shown = told(steps)
            raise ConflictError(
                f"calls are nested {len(steps)} deep on this host, at most {CALL_DEPTH_MAX}: "
                f"{shown}",
                chain=shown.split(" -> "),
            )
        inner = CallContext(  # what `replace` does, in a fifth of its time
            deadline_at_s=self.deadline_at_s,
            hops=self.hops,
            chain=self.chain,
            trace=self.trace,
            caller=self.caller,
            key=self.key,
            stream=self.stream,
            holds=self.holds,
            steps=steps,
            legs=self.legs,
        )
        self._inner = (step, inner)
        return inner

    def onward(self, deadline_at_s: float) -> CallContext:
        """Return the context of a call of another deployment; its hops are its own."""
        return CallContext(  # what `replace` does, in a fifth of its time
            deadline_at_s=deadline_at_s,
            hops=self.hops + 1,
            chain=self.chain,
            trace=self.trace,
            caller=self.caller,
            key=self.key,
            holds=self.holds,
            steps=self.steps,
        )

    def left_s(self, now_s: float) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineExceededError: none are.
        """
        left_s = self.deadline_at_s - now_s
        if left_s <= 0:
            raise DeadlineExceededError(
                f"the deadline passed {-left_s:.3f} s ago; the call was not started"
            )
        return left_s

    def limited_s(self, now_s: float, limit_s: float) -> float:
        """Return the seconds that a call may take which is given `limit_s`.

        With streams, that is how long no byte need move: the call itself has what is left.
        `Raises:` as `left_s`.
        """
        if self.stream is None:
            left_s = self.deadline_at_s - now_s
            if left_s > limit_s:
                return limit_s
            return left_s if left_s > 0 else self.left_s(now_s)
        self.stream.bound(limit_s)
        return self.left_s(now_s)

    def report(self, leg: Leg, inner: Sequence[Leg] = ()) -> None:
        """Add a hop, and those that were made behind it."""
        self.legs.extend((leg, *inner)[: LEGS_MAX - len(self.legs)])


at_work: ContextVar[CallContext | None] = ContextVar("at_work", default=None)
"""The call that a program works on which may send requests: they belong to it."""


def told(steps: Sequence[Step]) -> str:
    """Return a chain of calls for people: `index#add -> rank#score -> index#add`.

    Deployments are named where there is more than one; the middle of a long chain is left out.
    """
    is_one = len({deployment for deployment, _, _ in steps}) == 1
    texts = [
        f"{part}#{function}" if is_one else f"{deployment}/{part}#{function}"
        for deployment, part, function in steps
    ]
    if len(texts) > STEPS_SHOWN_MAX:
        half = STEPS_SHOWN_MAX // 2
        left_out = f"({len(texts) - 2 * half} more)"
        texts = [*texts[:half], left_out, *texts[-half:]]
    return " -> ".join(texts)
