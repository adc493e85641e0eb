"""Who leads: a lease under one key, taken and renewed by compare-and-set; a core without I/O.

The holder counts its lease from the sending of its own renewal; a challenger waits until the lease
stood unchanged for its full time and the drift of two clocks, by its own clock. `term` is written
in one batch with the lease at each acquisition; its revision is the epoch, and every later write
of the leader is fenced by it, so that a deposed leader's writes are refused whatever it believes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from lattice.wire.messages import Lease, Term
from scheduler.profile import DRIFT, Profile

# --- events ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRead:
    """What `leader` and `term` hold. Revision 0: the key does not exist.

    `lease` is None with a revision above 0 when the value cannot be read.
    """

    lease: Lease | None
    revision: int
    term: Term | None
    term_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """The batch was written; `epoch` is the revision of `term`."""

    epoch: int
    incarnation: str
    asked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The renewal was written, at this revision."""

    revision: int
    asked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A request was refused by its expectation, or its outcome is not known."""

    reason: str


Event = Ticked | LeaseRead | Acquired | Renewed | Failed

# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLease:
    """Read both keys; answer with `LeaseRead` or `Failed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """Write both keys in one batch, each expected at its revision; `Acquired` or `Failed`."""

    lease: Lease
    lease_expect: int
    term: Term
    term_expect: int
    asked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Write the lease, expected at its revision; answer with `Renewed` or `Failed`."""

    lease: Lease
    expect: int
    asked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """This process leads from now on, in a new term."""

    epoch: int
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """This process leads no longer."""

    reason: str


Command = ReadLease | Acquire | Renew | Lead | Follow


class Election:
    """One process's part in the election. Every request gets exactly one outcome as an event.

    `holder` and `incarnation` are new for every start of a process; `incarnation` names a control
    bucket in which no term was ever written.
    """

    def __init__(self, holder: str, incarnation: str, profile: Profile) -> None:
        self._holder = holder
        self._incarnation = incarnation
        self._profile = profile
        self._epoch: int | None = None  # of the term that this process leads
        self._lease_until_s = 0.0
        self._lease_revision: int | None = None  # None: read it before the next renewal
        self._renewals = 0
        self._births = 0
        self._seen: tuple[int, float, float] | None = None  # revision, since when, its time to live
        self._is_asking = False
        self._next_ask_s: float | None = None

    @property
    def lease_until_s(self) -> float:
        """Return until when this process may act as the leader; in the past when it does not."""
        return self._lease_until_s if self._epoch is not None else float("-inf")

    @property
    def lease(self) -> tuple[Lease, int] | None:
        """Return the lease held and its revision, to give it back at the end; None if unsure."""
        if self._epoch is None or self._lease_revision is None:
            return None
        return self._own_lease(), self._lease_revision

    def handle(self, now_s: float, event: Event) -> tuple[Command, ...]:
        """Return what to do after an event, in order."""
        fence = self._self_fence(now_s)
        match event:
            case Ticked():
                return (*fence, *self._ticked(now_s))
            case LeaseRead():
                self._is_asking = False
                return (*fence, *self._read(now_s, event))
            case Acquired():
                self._is_asking = False
                return (*fence, *self._acquired(now_s, event))
            case Renewed():
                self._is_asking = False
                return (*fence, *self._renewed(now_s, event))
            case Failed():
                self._is_asking = False
                self._lease_revision = None
                self._next_ask_s = now_s + self._profile.tick_s
                return fence
            case _:
                assert_never(event)

    def _self_fence(self, now_s: float) -> tuple[Command, ...]:
        if self._epoch is None or now_s < self._lease_until_s:
            return ()
        return self._deposed("the lease ran out before a renewal was confirmed")

    def _ticked(self, now_s: float) -> tuple[Command, ...]:
        if self._is_asking or (self._next_ask_s is not None and now_s < self._next_ask_s):
            return ()
        self._is_asking = True
        self._next_ask_s = now_s + self._profile.renew_s
        if self._epoch is not None and self._lease_revision is not None:
            self._renewals += 1
            return (Renew(lease=self._own_lease(), expect=self._lease_revision, asked_s=now_s),)
        return (ReadLease(),)

    def _read(self, now_s: float, read: LeaseRead) -> tuple[Command, ...]:
        is_own = read.lease is not None and read.lease.holder == self._holder
        if self._epoch is not None:
            if read.term_revision > self._epoch or (not is_own and read.revision > self._epoch):
                holder = read.lease.holder if read.lease else "another scheduler"
                return (*self._deposed(f"{holder} took the lead"), *self._observe(now_s, read))
            if is_own and read.term_revision == self._epoch and read.lease is not None:
                # An older read than the last renewal is refused at the next one and read again.
                self._lease_revision = read.revision
                self._renewals = read.lease.renewals
            self._next_ask_s = now_s
            return ()
        if read.revision == 0 or is_own:
            return self._acquire(now_s, read)
        return self._observe(now_s, read)

    def _observe(self, now_s: float, read: LeaseRead) -> tuple[Command, ...]:
        """Challenge a lease that stood for its whole time; time starts when it is first seen."""
        if self._seen is None or read.revision > self._seen[0]:
            ttl_s = read.lease.ttl_ms / 1000 if read.lease else self._profile.leader_lease_s
            self._seen = (read.revision, now_s, ttl_s)
        revision, since_s, ttl_s = self._seen
        if read.revision != revision or now_s - since_s < ttl_s * (1 + 2 * DRIFT):
            self._next_ask_s = now_s + self._profile.tick_s
            return ()
        return self._acquire(now_s, read)

    def _acquire(self, now_s: float, read: LeaseRead) -> tuple[Command, ...]:
        incarnation = read.term.incarnation if read.term else self._new_incarnation()
        self._is_asking = True
        self._renewals = 0
        return (
            Acquire(
                lease=self._own_lease(),
                lease_expect=read.revision,
                term=Term(holder=self._holder, incarnation=incarnation),
                term_expect=read.term_revision,
                asked_s=now_s,
            ),
        )

    def _new_incarnation(self) -> str:
        """Return a name for a bucket without a term: a new one each time, because this process may
        see the bucket lost and made again.
        """
        self._births += 1
        return self._incarnation if self._births == 1 else f"{self._incarnation}-{self._births}"

    def _acquired(self, now_s: float, event: Acquired) -> tuple[Command, ...]:
        until_s = event.asked_s + self._profile.leader_lease_s
        self._next_ask_s = now_s
        if now_s >= until_s:
            return ()  # Too late to be of use; the next read finds the own lease and acquires anew.
        self._epoch, self._lease_until_s, self._lease_revision = event.epoch, until_s, None
        return (Lead(epoch=event.epoch, incarnation=event.incarnation),)

    def _renewed(self, now_s: float, event: Renewed) -> tuple[Command, ...]:
        if self._epoch is None:
            return ()
        self._lease_revision = event.revision
        self._lease_until_s = event.asked_s + self._profile.leader_lease_s
        self._next_ask_s = max(now_s, event.asked_s + self._profile.renew_s)
        return ()

    def _deposed(self, reason: str) -> tuple[Command, ...]:
        self._epoch, self._lease_revision, self._seen = None, None, None
        return (Follow(reason=reason),)

    def _own_lease(self) -> Lease:
        ttl_ms = round(self._profile.leader_lease_s * 1000)
        return Lease(holder=self._holder, ttl_ms=ttl_ms, renewals=self._renewals)
