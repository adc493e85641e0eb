"""The shell of a host: joins a lattice, adopts its target, reports, and answers.

The lifecycle core decides; this carries out, in one task group. What it promises: running work
goes on while NATS or the scheduler is away; a target is adopted as soon as the watch or an ack
tells of it; on a clean stop the running calls are finished and the inventory is withdrawn.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts import inventory
from hosts.announcer import Announcer
from hosts.artifacts import Artifacts
from hosts.callees import ReadyReplicas
from hosts.control import HostControl
from hosts.directories import Directories
from hosts.endpoints import Endpoints
from hosts.engine.base import Directory, Engine
from hosts.guarded import Guard, GuardedEngine
from hosts.http.front import NO_HTTP, Front, HttpOptions
from hosts.invoker import Invoker
from hosts.labels import first_labels
from hosts.lifecycle import (
    FEATURES,
    Acked,
    Announce,
    Command,
    Event,
    HeartbeatDue,
    Lifecycle,
    ReadTarget,
    ReportNow,
    SendReport,
    StartReplica,
    StopReplica,
    Ticked,
)
from hosts.logbook import Logbook, own_lines
from hosts.presence import Presence
from hosts.programs import PROGRAM_BYTES_MAX, Programs
from hosts.runner import DRAIN_S, STOP_S, Runner
from hosts.targets import Targets
from hosts.workload import Workloads
from lattice import __version__
from lattice.bus.base import Connection
from lattice.clock import Clock, SystemClock
from lattice.errors import ConflictError, LatticeError, first_cause
from lattice.model.host import Capacity, Inventory, Load, Report
from lattice.model.ids import HostId, host_short
from lattice.wire.codec import answer_of, convert, encode
from lattice.wire.messages import HeartbeatAck
from lattice.wire.subjects import Names

HEARTBEAT_S = 2.0
"""Pace of reports, +-10 %: three of them fit into the time after which a host is called lost."""

HEARTBEAT_TIMEOUT_S = 1.5
"""Wait for an ack: shorter than the pace, so that reports never pile up."""

HEARTBEAT_JITTER = 0.1
"""Share by which the pace varies, so that hosts started together do not report together."""

REPORT_GAP_S = 0.05
"""Least time between two reports: changes that come together travel together."""

LOOK_S = 1.0
"""Longest time between two looks at what is due: at retries, the connection and the quarantine."""

LEAVE_S = 2.0
"""Seconds that a stopping host spends on its last words to the lattice."""

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
        ready = ReadyReplicas()
        bus = connection.bus
        self._targets = Targets(connection.control, host, self._feed)
        self._endpoints = Endpoints(
            host=host, bus=bus, names=names, clock=clock, ready=ready, http=options.http.internal
        )
        relay = self._endpoints.relay
        self._directories = Directories(options.directory / "scratch", options.directories)
        self._runner = Runner(
            workloads=Workloads(
                control=connection.control,
                artifacts=Artifacts(connection.artifacts, options.directory / "artifacts"),
                engine=GuardedEngine(engine, options.guard),
                programs=Programs(bytes_max=options.program_bytes_max),
            ),
            invoker=Invoker(
                host=host, bus=bus, names=names, clock=clock, callees=ready, internal=relay.internal
            ),
            endpoints=self._endpoints,
            logbook=self._logbook,
            clock=clock,
            feed=self._feed,
            guard=options.guard,
            directories=self._directories,
        )
        self._front = Front(options.http, connection.control, ready, clock, forward=relay.forward)
        facts = _facts(options, boot, engine)
        self._presence = Presence(connection.hosts, facts, has_lease=self._has_lease)
        self._control = HostControl(
            bus=bus, names=names, logbook=self._logbook, clock=clock,
            inventory=lambda: self._presence.inventory, relabel=self._relabel, stop=stop.set,
        )  # fmt: skip
        self._cpu = inventory.CpuMeter(clock)
        self._report_wanted = anyio.Event()
        self._random = random.Random(host)  # noqa: S311 - spreads load, guards nothing
        self._group: TaskGroup
        self._fault: LatticeError | None = None
        self._is_led = True
        self._is_connected = True

    async def run(self, *, task_status: TaskStatus[str]) -> None:
        """See `run_host`."""
        with own_lines(self._logbook):
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
        group.start_soon(self._heartbeats)
        group.start_soon(self._ticks)
        group.start_soon(self._presence.keep)

    # --- decisions in, deeds out ----------------------------------------------------------

    def _feed(self, event: Event) -> None:
        adopted = self._core.adopted
        commands = self._core.handle(self._clock.monotonic_s(), event)
        self._core.check()
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
                self._report_wanted.set()
            case ReadTarget():
                self._group.start_soon(self._targets.read)
            case SendReport():
                self._group.start_soon(self._send, command.report)
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

    # --- reports --------------------------------------------------------------------------

    async def _heartbeats(self) -> None:
        while True:
            self._report_wanted = anyio.Event()
            self._feed(
                HeartbeatDue(
                    load=Load(
                        cpu_milli=self._cpu.used_milli(),
                        memory_bytes=inventory.resident_bytes(),
                        calls_in_flight=self._runner.in_flight,
                    ),
                    calls=self._runner.calls(),
                    fuel=self._runner.fuel(),
                    restarts=self._runner.restarts(),
                    troubles=self._runner.troubles(),
                    looping=self._runner.looping(),
                )
            )
            jitter = self._random.uniform(1 - HEARTBEAT_JITTER, 1 + HEARTBEAT_JITTER)
            await anyio.sleep(REPORT_GAP_S)
            with anyio.move_on_after(self._options.heartbeat_s * jitter - REPORT_GAP_S):
                await self._report_wanted.wait()

    async def _send(self, report: Report) -> None:
        subject = self._names.heartbeat(self._options.host)
        try:
            packet = await self._connection.bus.request(
                subject, encode(report), timeout_s=HEARTBEAT_TIMEOUT_S
            )
            ack = convert(answer_of(packet.body), HeartbeatAck)
        except ConflictError as exc:
            self._fault = exc
            self._stop.set()
        except LatticeError as exc:
            if self._is_led:
                log.warning("no scheduler took the report, running work goes on: %s", exc)
            self._is_led = False
        else:
            if not self._is_led:
                log.info("a scheduler takes the reports again")
            self._is_led = True
            self._feed(
                Acked(sequence=ack.sequence, required=ack.required, lease_s=ack.lease_ms / 1000)
            )

    async def _ticks(self) -> None:
        while True:
            due_s = self._core.next_due_s()
            now_s = self._clock.monotonic_s()
            wait_s = LOOK_S if due_s is None else min(max(due_s - now_s, 0.01), LOOK_S)
            await anyio.sleep(wait_s)
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

    async def _leave(self) -> None:
        log.info("host stops")
        await self._front.drain()
        with anyio.move_on_after(DRAIN_S + STOP_S):
            await self._runner.stop_all()
        self._say("host-stopped")
        with anyio.move_on_after(LEAVE_S):
            try:
                await self._presence.withdraw()
            except LatticeError as exc:
                log.info("inventory not withdrawn: %s", exc)
        await self._announcer.flushed(timeout_s=LEAVE_S)


def _facts(options: HostOptions, boot: str, engine: Engine) -> Inventory:
    return Inventory(
        host=options.host,
        boot=boot,
        name=options.name or host_short(options.host),
        labels=first_labels(inventory.standard_labels(inventory.machine_id()), options.labels),
        interfaces=engine.interfaces,
        capacity=options.capacity or inventory.capacity(),
        features=FEATURES,
        version=__version__,
        curve_key=options.curve_key,
        http=options.http.urls,
    )
