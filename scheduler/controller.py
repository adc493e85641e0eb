"""The shell of a scheduler: takes part in the election, and while it leads, drives the lattice.

The cores decide; this carries out, in one task group. What it promises: a scheduler outlives any
outage of NATS and any malformed record; a standby answers `api` and takes over when the lease of
the active one ran out; every request is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup, TaskStatus

from lattice.bus.base import Connection, Packet
from lattice.clock import Clock, SystemClock
from lattice.errors import LatticeError, UnavailableError
from lattice.telemetry import PLAN_DURATION, gauges, timing
from lattice.wire.subjects import API_QUEUE, Names
from scheduler import delivery, election, reconciler, records
from scheduler.announcements import Announcements, Emit
from scheduler.answers import ReportAnswers, answer, lead_verbs
from scheduler.asking_why import why_verbs
from scheduler.chronicle import Chronicle
from scheduler.collecting import DropGenerations, DropInventory
from scheduler.durable_timer import DurableTimer
from scheduler.durable_waking import follow_jobs
from scheduler.election import Election
from scheduler.gauging import scheduler_readings
from scheduler.keeping import Keeper
from scheduler.large import LargeTargets
from scheduler.observer import Observed, Observer
from scheduler.outbox import Outbox
from scheduler.probing import Probe
from scheduler.profile import DEFAULT, Profile
from scheduler.queue_watch import watch_queues
from scheduler.reconciler import Reconciler
from scheduler.resting import Resting
from scheduler.restoring import Restoring
from scheduler.store import ControlStore
from scheduler.submission import api_verbs
from scheduler.suspecting import hear_disconnects, probe
from scheduler.sweeping import Sweeper

REQUESTS_MAX = 32
"""Requests to the control bucket in flight: enough to hide its latency, few enough to leave others
room on the connection."""

REQUEST_S = 5.0
"""Seconds after which a request's outcome counts as unknown, whatever the connection still does."""

STORES_RETRY_S = 2.0
"""Least time between two looks whether the stores are there, each four requests: it is looked when
the lease could be neither read nor written."""

SWEEP_S = 60.0
"""Seconds between two looks for what nothing uses any more: it lasts for hours, and a look lists
the keys of all generations."""

SERVE_RETRY_S = 1.0
"""Wait before a subscription that failed is made again."""

RELEASE_S = 1.0
"""Seconds that a stopping leader spends on giving its lease back."""

HEARTBEATS_MAX = 256
"""Reports that are answered at once: each takes well under a millisecond."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Term:
    """What this process holds while it leads."""

    core: Reconciler
    announcements: Announcements
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


async def run_scheduler(
    connection: Connection,
    *,
    identity: str,
    clock: Clock | None = None,
    profile: Profile = DEFAULT,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run a scheduler until cancelled; "started" when it answers `api` and stands for election.

    `identity` names the process to people and in events. Cancelling gives the lease back.
    """
    controller = _Controller(connection, identity, clock or SystemClock(), profile)
    await controller.run(task_status)


class _Controller:
    def __init__(
        self, connection: Connection, identity: str, clock: Clock, profile: Profile
    ) -> None:
        self._connection = connection
        self._identity = identity
        self._clock = clock
        self._profile = profile
        self._names = Names(connection.lattice)
        self._timer = DurableTimer(connection.jobs, self._names, clock)
        self._store = ControlStore(connection.control, LargeTargets(connection.artifacts))
        holder, incarnation = f"{identity}/{uuid4().hex[:12]}", uuid4().hex
        self._election = Election(holder, incarnation, profile)
        self._outbox = Outbox(connection.events, self._names, identity=identity, clock=clock)
        self._chronicle = Chronicle(connection.events, self._names, self._outbox, clock)
        self._observer = Observer(connection, self._observed, self._malformed)
        self._sweeper = Sweeper(connection)
        self._keeper = Keeper(connection.control)
        self._term: _Term | None = None
        self._room = anyio.CapacityLimiter(REQUESTS_MAX)
        self._plan_wanted = anyio.Event()
        self._resting = Resting(clock)
        self._stores_doubted = anyio.Event()
        self._group: TaskGroup

    async def run(self, task_status: TaskStatus[None]) -> None:
        """See `run_scheduler`."""
        who = {"lattice.scheduler": self._identity}
        readings = scheduler_readings(self._leading, self._outbox)
        try:
            with gauges(who, readings):
                async with anyio.create_task_group() as group:
                    self._group = group
                    group.start_soon(self._outbox.publish)
                    group.start_soon(self._timer.run)
                    await group.start(self._serve_api)
                    await group.start(self._observer.deployments)
                    await group.start(self._observer.hosts)
                    group.start_soon(self._ticks)
                    group.start_soon(self._plans)
                    group.start_soon(self._sweeps)
                    group.start_soon(self._stores)
                    task_status.started()
        finally:
            await self._step_down()

    # --- events into the cores ------------------------------------------------------------

    def _elect(self, event: election.Event) -> None:
        for command in self._election.handle(self._clock.monotonic_s(), event):
            match command:
                case election.ReadLease():
                    self._ask(self._store.read_lease)
                case election.Acquire() as asked:
                    self._ask(partial(self._store.acquire, asked))
                case election.Renew() as asked:
                    self._ask(partial(self._store.renew, asked))
                case election.Lead():
                    self._begin_term(command)
                case election.Follow(reason=reason):
                    self._end_term(reason)
        if (term := self._term) is not None:
            extended = reconciler.LeaseExtended(until_s=self._election.lease_until_s)
            self._decide(term, extended)

    def _decide(
        self, term: _Term, event: reconciler.Event
    ) -> reconciler.Acknowledge | reconciler.Refuse | None:
        """Feed the reconciler, carry out what it says, and return its answer to a report."""
        answered: reconciler.Acknowledge | reconciler.Refuse | None = None
        for command in term.core.handle(self._clock.monotonic_s(), event):
            match command:
                case reconciler.Acknowledge() | reconciler.Refuse():
                    answered = command
                case Emit():
                    self._outbox.put(command)
                case DropGenerations() | DropInventory():
                    self._group.start_soon(self._sweeper.carry_out, command)
                case Probe():
                    self._group.start_soon(self._probe, term, command)
                case (
                    records.ReadRecords()
                    | records.KeepRecord()
                    | records.Revert()
                    | records.DeleteEnded()
                ):
                    self._group.start_soon(self._keep, term, command)
                case _:
                    self._group.start_soon(self._deliver, term, command)
        if term.core.is_due and not isinstance(event, reconciler.Ticked):
            self._plan_wanted.set()
        return answered

    def _observed(self, event: Observed) -> None:
        if (term := self._term) is not None:
            self._decide(term, event)

    def _malformed(self, key: str, reason: str) -> None:
        if (term := self._term) is not None:
            self._outbox.put(term.announcements.malformed(key, reason))

    # --- terms ----------------------------------------------------------------------------

    def _begin_term(self, lead: election.Lead) -> None:
        core = Reconciler(
            epoch=lead.epoch,
            incarnation=lead.incarnation,
            profile=self._profile,
            now_s=self._clock.monotonic_s(),
            lease_until_s=self._election.lease_until_s,
        )
        self._term = term = _Term(core, core.announcements)
        log.info("%s leads lattice %s, epoch %d", self._identity, self._names.lattice, lead.epoch)
        self._outbox.put(core.announcements.elected(self._identity))
        for event in self._observer.known():
            self._decide(term, event)
        self._decide(term, reconciler.Ticked())
        self._group.start_soon(self._serve_term, term)

    def _end_term(self, reason: str) -> None:
        if (term := self._term) is None:
            return
        log.info("%s leads no longer: %s", self._identity, reason)
        self._term = None
        term.scope.cancel()

    def _leading(self) -> Reconciler | None:
        return None if self._term is None else self._term.core

    def _has_settled(self, term: _Term) -> bool:
        """Tell whether the term knows the hosts and their targets."""
        core = term.core
        now_s = self._clock.monotonic_s()
        return core.delivery.is_sealed and core.membership.is_settled(now_s)

    async def _step_down(self) -> None:
        held = self._election.lease
        self._end_term("it is stopping")
        if held is None:
            return
        with anyio.move_on_after(RELEASE_S, shield=True):
            await self._store.release(held[1])

    # --- commands out ---------------------------------------------------------------------

    def _ask(self, request: Callable[[], Awaitable[election.Event]]) -> None:
        self._group.start_soon(self._carry, request)

    async def _carry(self, request: Callable[[], Awaitable[election.Event]]) -> None:
        outcome: election.Event = election.Failed(reason=f"no answer within {REQUEST_S:g} s")
        with anyio.move_on_after(REQUEST_S):
            outcome = await request()
        if isinstance(outcome, election.Failed):
            self._stores_doubted.set()
        self._elect(outcome)

    async def _keep(self, term: _Term, command: records.Command) -> None:
        outcome: records.Outcome | None = None
        with anyio.move_on_after(REQUEST_S) as limit:
            outcome = await self._keeper.carry_out(command)
        if limit.cancelled_caught:
            outcome = records.unknown(command)
        if outcome is not None and self._term is term:
            self._decide(term, outcome)

    async def _deliver(self, term: _Term, command: delivery.Command) -> None:
        outcome: delivery.Outcome
        async with self._room:
            with anyio.move_on_after(REQUEST_S) as limit:
                match command:
                    case delivery.ReadTargets():
                        outcome = await self._store.read_targets()
                    case delivery.ReadTarget():
                        outcome = await self._store.read_target(command)
                    case delivery.SealTargets():
                        outcome = await self._store.seal_targets(command)
                    case delivery.WriteTarget():
                        outcome = await self._store.write_target(command)
                    case delivery.DropTarget():
                        outcome = await self._store.drop_target(command)
        if limit.cancelled_caught:
            match command:
                case delivery.ReadTargets():
                    outcome = delivery.TargetsUnread()
                case delivery.SealTargets():
                    outcome = delivery.TargetsUnsealed(writes=command.writes)
                case delivery.ReadTarget() | delivery.WriteTarget() | delivery.DropTarget():
                    outcome = delivery.TargetUnknown(host=command.host, ticket=command.ticket)
        if self._term is term:
            self._decide(term, outcome)

    async def _probe(self, term: _Term, asked: Probe) -> None:
        probed = await probe(self._connection.bus, self._names, asked)
        if self._term is term:
            self._decide(term, probed)

    # --- time -----------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            self._elect(election.Ticked())
            if (term := self._term) is not None:
                with self._resting.turn() as may_plan:
                    self._decide(term, reconciler.Ticked(may_plan=may_plan))
            await anyio.sleep(self._profile.tick_s)

    async def _plans(self) -> None:
        while True:
            await self._plan_wanted.wait()
            await anyio.sleep(self._resting.wait_s)
            self._plan_wanted = anyio.Event()
            if (term := self._term) is not None:
                with timing(PLAN_DURATION), self._resting.turn() as may_plan:
                    self._decide(term, reconciler.Ticked(may_plan=may_plan))

    async def _stores(self) -> None:
        """Create the stores again when they are gone: NATS may have lost its disk."""
        ensure = self._connection.ensure_stores
        if ensure is None:
            return
        while True:
            await self._stores_doubted.wait()
            try:
                await ensure()
            except UnavailableError as exc:
                log.info("stores not looked at, trying again: %s", exc)
            except LatticeError as exc:
                log.warning("stores of the lattice cannot be made, trying again: %s", exc)
            await anyio.sleep(STORES_RETRY_S)
            self._stores_doubted = anyio.Event()

    async def _sweeps(self) -> None:
        while True:
            await anyio.sleep(SWEEP_S)
            if (term := self._term) is None:
                continue
            found = None
            with anyio.move_on_after(REQUEST_S):
                found = await self._sweeper.history()
            if found is not None and self._term is term:
                self._decide(term, found)

    # --- answers --------------------------------------------------------------------------

    async def _serve_api(self, *, task_status: TaskStatus[None]) -> None:
        verbs = {
            **api_verbs(self._store, self._connection.artifacts, self._outbox.put),
            "restore": Restoring(self._connection.control).restore,
        }

        async def handle(packet: Packet) -> bytes:
            return await answer(packet, verbs)

        is_started = False
        while True:
            try:
                async with self._connection.bus.serve(
                    self._names.api("*"), handle, queue=API_QUEUE
                ):
                    if not is_started:
                        task_status.started()
                        is_started = True
                    await anyio.sleep_forever()
            except LatticeError as exc:
                log.warning("api is not served, trying again: %s", exc)
            await anyio.sleep(SERVE_RETRY_S)

    async def _serve_term(self, term: _Term) -> None:
        """Answer reports and `lead` verbs while the term lasts."""
        reports = ReportAnswers(self._names, lambda event: self._decide(term, event))
        verbs = {
            **lead_verbs(term.core, self._clock, lambda event: self._decide(term, event)),
            **why_verbs(term.core, self._clock, self._store),
        }

        async def handle(packet: Packet) -> bytes:
            return await answer(packet, verbs)

        bus, names = self._connection.bus, self._names
        with term.scope:
            async with anyio.create_task_group() as group:
                decide, following = partial(self._decide, term), term.core.decider.wishes.queued
                group.start_soon(hear_disconnects, bus, names, decide)
                group.start_soon(watch_queues, self._connection.jobs, names, following, decide)
                put, wishes = self._outbox.put, term.core.decider.wishes
                group.start_soon(follow_jobs, self._connection, self._clock, put, wishes, decide)
                group.start_soon(self._chronicle.keep, term.core, partial(self._has_settled, term))
                while True:
                    try:
                        async with (
                            bus.serve(
                                names.heartbeat("*"), reports.handle, concurrency=HEARTBEATS_MAX
                            ),
                            bus.serve(names.lead("*"), handle),
                        ):
                            await anyio.sleep_forever()
                    except LatticeError as exc:
                        log.warning("heartbeats are not served, trying again: %s", exc)
                    await anyio.sleep(SERVE_RETRY_S)
