"""The shell of a host: joins a lattice, adopts its target, reports, and answers.

The lifecycle core decides; this carries out, in one task group. What it promises: running work
goes on while NATS or the scheduler is away; a target is adopted as soon as the watch or an ack
tells of it; on a clean stop the running calls are finished and the inventory is withdrawn.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts import inventory
from hosts.announcer import Announcer
from hosts.artifacts import Artifacts
from hosts.bytestream import INTERFACE as STREAM
from hosts.callees import ReadyReplicas
from hosts.control import HostControl
from hosts.departure import LEAVE_S, Departure
from hosts.directories import Directories
from hosts.durable_guests import INTERFACE as JOBS
from hosts.dynamic import INTERFACE as DYNAMIC
from hosts.endpoints import Endpoints
from hosts.engine.base import Directory, Engine
from hosts.gauging import host_readings
from hosts.guarded import Guard, GuardedEngine
from hosts.http.front import NO_HTTP, Front, HttpOptions
from hosts.labels import first_labels
from hosts.lifecycle import (
    FEATURES,
    Announce,
    Command,
    Event,
    HeartbeatDue,
    Lifecycle,
    ReadTarget,
    ReportNow,
    SendReport,
    SingletonFound,
    StartReplica,
    StopReplica,
    Ticked,
)
from hosts.logbook import Logbook, own_lines
from hosts.maintenance import Maintenance, joined_taints, kept_upkeep
from hosts.presence import Presence
from hosts.programs import PROGRAM_BYTES_MAX, Programs
from hosts.reporting import HEARTBEAT_S, Reporting
from hosts.routes import RouteBook
from hosts.runner import Runner
from hosts.targets import Targets
from hosts.workload import Workloads
from lattice import __version__
from lattice.bus.base import Connection
from lattice.client.asking import Asker
from lattice.client.jobs import Jobs
from lattice.clock import Clock, SystemClock
from lattice.errors import ConflictError, LatticeError, first_cause
from lattice.model.host import Capacity, Inventory, Load, Taint
from lattice.model.ids import HostId, host_short
from lattice.telemetry import gauges
from lattice.wire.subjects import Names

LOOK_S = 1.0
"""Longest time between two looks at what is due: at retries, the connection and the quarantine."""

CHECKED_MAX = 32
"""Replicas up to which the core's state is looked through after every event: with more of them that
would cost more than what the core decides, and it is done at each look at what is due."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """How a host presents itself, where it keeps its files, and what ties it to a supervisor."""

    host: HostId
    directory: Path
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    capacity: Capacity | None = None
    curve_key: str = ""
    heartbeat_s: float = HEARTBEAT_S
    program_bytes_max: int = PROGRAM_BYTES_MAX
    directories: Mapping[str, Directory] = field(default_factory=dict[str, Directory])
    # directories: those that manifests may name, by the names of the grants
    guard: Guard = field(default_factory=Guard)
    http: HttpOptions = NO_HTTP  # where it takes requests
    taints: tuple[Taint, ...] = ()  # beside those that were set while it ran before
    after: str = ""  # how the process before this one ended, when a supervisor started it again


async def run_host(
    connection: Connection,
    options: HostOptions,
    engine: Engine,
    *,
    clock: Clock | None = None,
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run a host until cancelled; "started" (with its id) when its inventory is written.

    Cancelling is a clean stop: no new calls, running ones are finished within `DRAIN_S`, the
    inventory is withdrawn within `LEAVE_S`. It also ends when asked to by `ctl.host.<host>.stop`.

    Raises:
        InvalidError: a label that it was given is malformed or reserved; all faults are listed.
        ConflictError: another process runs under the same key.
        DeniedError: the identity lacks a permission that a host needs; the subject is named.
    """
    stop = anyio.Event()
    agent = Agent(connection, options, engine, stop, clock or SystemClock())

    async def run_shielded(*, task_status: TaskStatus[str]) -> None:
        # The parts of the host must outlive the cancellation by as long as the leaving takes.
        with anyio.CancelScope(shield=True):
            await agent.run(task_status=task_status)
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            try:
                task_status.started(await group.start(run_shielded))
                await anyio.sleep_forever()
            finally:
                stop.set()
    except* LatticeError as failures:
        raise first_cause(failures) from None


class Agent:
    """One host in one lattice."""

    def __init__(
        self,
        connection: Connection,
        options: HostOptions,
        engine: Engine,
        stop: anyio.Event,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._options = options
        self._stop = stop
        self._clock = clock
        self._names = names = Names(connection.lattice)
        self._boot = boot = uuid4().hex
        host = options.host
        self._core = Lifecycle(host=host, boot=boot)
        self._logbook = Logbook(host=host, names=names, clock=clock)
        self._announcer = Announcer(connection.events, names, host=host, boot=boot, clock=clock)
        ready = ReadyReplicas(self._core.why_not)
        bus = connection.bus
        self._targets = Targets(connection.control, connection.artifacts, host, self._feed)
        self._routes = RouteBook(connection.control)
        self._endpoints = Endpoints(
            host=host, bus=bus, names=names, clock=clock, ready=ready, http=options.http.internal,
            routes=self._routes.routes,
            jobs=Jobs(Asker(connection, clock=clock), connection.jobs, host),
            tell=self._announcer.announce,
        )  # fmt: skip
        relay = self._endpoints.relay
        self._directories = Directories(options.directory / "scratch", options.directories)
        self._programs = Programs(bytes_max=options.program_bytes_max)
        self._runner = self._make_runner(engine)
        self._front = Front(
            options.http, connection.control, ready, clock,
            forward=relay.forward, hand_over=relay.hand_over, routes=self._routes.routes,
        )  # fmt: skip
        facts = _facts(options, boot, engine)
        self._presence = Presence(connection.hosts, facts, has_lease=self._has_lease)
        maintenance = Maintenance(self._presence, options.directory)
        self._control = HostControl(
            bus=bus, names=names, logbook=self._logbook, clock=clock,
            inventory=lambda: self._presence.inventory, relabel=self._relabel,
            maintain=maintenance.do, stop=self._ask_stop,
        )  # fmt: skip
        self._departure = Departure(
            presence=self._presence, runner=self._runner, front=self._front,
            slots=self._core.slots.values, stop=stop,
        )  # fmt: skip
        self._due = anyio.Event()
        self._cpu = inventory.CpuMeter(clock)
        self._reporting = Reporting(
            bus=bus, names=names, host=host, heartbeat_s=options.heartbeat_s,
            due=self._report, acked=self._feed, refused=self._refused,
            missed=self._presence.write,
        )  # fmt: skip
        self._group: TaskGroup
        self._fault: LatticeError | None = None
        self._is_connected = True

    def _make_runner(self, engine: Engine) -> Runner:
        connection, options = self._connection, self._options
        return Runner(
            workloads=Workloads(
                control=connection.control,
                artifacts=Artifacts(connection.artifacts, options.directory / "artifacts"),
                engine=GuardedEngine(engine, options.guard),
                programs=self._programs,
            ),
            invoker=self._endpoints.invoker,
            endpoints=self._endpoints,
            logbook=self._logbook,
            clock=self._clock,
            feed=self._feed,
            guard=options.guard,
            directories=self._directories,
        )

    async def run(self, *, task_status: TaskStatus[str]) -> None:
        """See `run_host`."""
        readings = host_readings(
            self._core, self._runner, self._programs, self._logbook, self._announcer
        )
        who = {"lattice.host": self._options.host}
        with own_lines(self._logbook), gauges(who, readings):
            async with anyio.create_task_group() as group:
                self._group = group
                await self._join(group)
                task_status.started(self._options.host)
                await self._stop.wait()
                if self._fault is None:
                    await self._leave()
                group.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    async def _join(self, group: TaskGroup) -> None:
        await self._directories.clear()
        await self._presence.write()
        group.start_soon(self._logbook.publish, self._connection.bus)
        group.start_soon(self._announcer.publish)
        await group.start(self._control.run)
        await group.start(self._endpoints.run)
        await group.start(self._front.run)
        facts = self._presence.inventory
        log.info("host %s (%s) started, boot %s, release %s",
                 facts.name, facts.host, self._boot, facts.version)  # fmt: skip
        reason = self._options.after and f"the process before this one {self._options.after}"
        if reason:
            log.warning("%s", reason)
        self._say("host-started", reason=reason)
        group.start_soon(self._targets.watch)
        group.start_soon(self._routes.watch)
        group.start_soon(self._reporting.run)
        group.start_soon(self._ticks)
        group.start_soon(self._presence.keep)

    # --- decisions in, deeds out ----------------------------------------------------------

    def _feed(self, event: Event) -> None:
        adopted = self._core.adopted
        commands = self._core.handle(self._clock.monotonic_s(), event)
        if len(self._core.slots) <= CHECKED_MAX or isinstance(event, Ticked):
            self._core.check()
        self._runner.fence.until_s = self._core.fence_at_s
        self._departure.noted()
        if isinstance(event, SingletonFound):
            self._due.set()  # its fence may be due sooner than what was known
        if self._core.adopted != adopted:
            count = sum(slot.is_wanted for slot in self._core.slots.values())
            log.info("target at revision %d adopted, replicas: %d",
                     self._core.adopted.sequence, count)  # fmt: skip
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartReplica():
                if not self._stop.is_set():  # else `_leave` would wait for it too
                    log.info("replica %s starts", command.replica)
                    self._runner.start(self._group, command)
            case StopReplica():
                log.info("replica %s is to stop", command.replica)
                self._runner.stop(command)
            case ReportNow():
                self._reporting.hasten()
            case ReadTarget():
                self._group.start_soon(self._targets.read)
            case SendReport():
                self._group.start_soon(self._reporting.send, command.report)
            case Announce():
                self._announce(command)

    def _announce(self, command: Announce) -> None:
        host = self._options.host
        data = {"host": host, "reason": command.reason} if command.reason else {"host": host}
        self._announcer.announce(command.kind, command.replica or host, data)
        what = command.kind if command.replica is None else f"{command.kind} {command.replica}"
        if command.reason:  # its backtrace, if it has one, is in the log of the deployment
            log.warning("%s: %s", what, command.reason.partition("\n")[0])
        else:
            log.info("%s", what)

    # --- what is due ----------------------------------------------------------------------

    def _report(self) -> None:
        load = Load(
            cpu_milli=self._cpu.used_milli(),
            memory_bytes=inventory.resident_bytes(),
            calls_in_flight=self._runner.in_flight,
        )
        self._feed(HeartbeatDue(load=load, figures=self._runner.figures()))

    def _refused(self, fault: ConflictError) -> None:
        self._fault = fault
        self._stop.set()

    async def _ticks(self) -> None:
        while True:
            due_s = self._core.next_due_s()
            now_s = self._clock.monotonic_s()
            wait_s = LOOK_S if due_s is None else min(max(due_s - now_s, 0.01), LOOK_S)
            self._due = anyio.Event()
            with anyio.move_on_after(wait_s):
                await self._due.wait()
            self._feed(Ticked())
            self._runner.expel()
            self._options.guard.black_box.tick()
            self._note_connection()

    def _note_connection(self) -> None:
        is_connected = self._connection.bus.state == "connected"
        if is_connected and not self._is_connected:
            log.info("connection to NATS restored")
        elif self._is_connected and not is_connected:
            log.warning("connection to NATS lost, running work goes on")
        self._is_connected = is_connected

    # --- inventory ------------------------------------------------------------------------

    def _has_lease(self) -> bool:
        return self._core.has_lease(self._clock.monotonic_s())

    async def _relabel(self, labels: Mapping[str, str]) -> None:
        await self._presence.relabel(labels)
        self._say("host-labelled")

    def _say(self, kind: str, *, reason: str = "") -> None:
        facts = {
            "host": self._options.host,
            "name": self._presence.inventory.name,
            "labels": dict(self._presence.inventory.labels),
            "boot": self._boot,
        }
        if reason:
            facts["reason"] = reason
        self._announcer.announce(kind, self._options.host, facts)

    def _ask_stop(self, drain_s: float) -> None:
        if drain_s > 0:
            self._group.start_soon(self._departure.drain, drain_s)
        else:
            self._stop.set()

    async def _leave(self) -> None:
        await self._departure.leave()
        self._say("host-stopped")
        await self._departure.withdraw()
        await self._announcer.flushed(timeout_s=LEAVE_S)


def _facts(options: HostOptions, boot: str, engine: Engine) -> Inventory:
    upkeep = kept_upkeep(options.directory)
    return Inventory(
        host=options.host,
        boot=boot,
        name=options.name or host_short(options.host),
        labels=first_labels(inventory.standard_labels(inventory.machine_id()), options.labels),
        interfaces=(*engine.interfaces, DYNAMIC, JOBS, STREAM),
        capacity=options.capacity or inventory.capacity(),
        features=FEATURES,
        version=__version__,
        curve_key=options.curve_key,
        http=options.http.urls,
        is_cordoned=upkeep.is_cordoned,
        is_draining=upkeep.is_draining,
        taints=joined_taints(options.taints, upkeep.taints),
    )
