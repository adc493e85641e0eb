"""Starts, watches and ends the processes of `lattice up`.

The order matters: NATS first and last, the scheduler before the hosts, which have to be told of
work, and after them, so that it sees them leave.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from hosts.sharing import worker_directory, worker_name
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import load_or_create_identity
from lattice.cli.children import Child, keep_logs_small, start_child
from lattice.cli.listening import LOOPBACK, port_of_lattice
from lattice.client import connect
from lattice.config import Contexts, Settings
from lattice.errors import DeadlineExceededError, InvalidError, LatticeError, UnavailableError

JOIN_S = 30.0
"""Seconds until scheduler and hosts must have joined; two are usual on an idle machine."""

HOSTS_STOP_S = 5.5
"""Seconds that hosts get to finish their calls; ten in all end the whole lattice."""

SCHEDULER_STOP_S = 1.5
"""Seconds that the scheduler gets to hand over its lead."""

NATS_STOP_S = 2.0
"""Seconds that NATS gets once nobody uses it any more: milliseconds are usual."""

RESTART_FIRST_S = 0.5
"""Seconds before a process that died is started again; each further wait is twice as long."""

RESTART_LONGEST_S = 30.0
"""Seconds between two such starts at most."""

NATS = "nats-server"
"""What people are told that the broker is called."""

POLL_S = 0.1
"""Seconds between two looks at who has joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """One host to start, or with several workers a supervisor of as many hosts."""

    name: str
    labels: Mapping[str, str]
    workers: int = 1

    def directories(self, directory: Path) -> dict[str, Path]:
        """Return where each host keeps its key, by the host's name, within a directory of all."""
        own = directory / self.name
        if self.workers == 1:
            return {self.name: own}
        return {
            worker_name(self.name, number): worker_directory(own, number)
            for number in range(self.workers)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerPlan:
    """The schedulers to start, and their times (`scheduler.profile.PROFILES`)."""

    count: int = 1
    profile: str = "default"


ONE_SCHEDULER = SchedulerPlan()
"""Enough on one machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where to listen on the loopback address; None leaves the choice."""

    nats: int | None = None
    http: int | None = None


ANY_PORTS = Ports()
"""No wishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One process of the lattice, for people and programs."""

    name: str
    role: str
    pid: int
    id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class Crew:
    """The processes of one lattice on this machine, while the context lasts."""

    def __init__(
        self,
        *,
        lattice: str,
        directory: Path,
        hosts: Sequence[HostPlan],
        grants: Sequence[str] = (),
        schedulers: SchedulerPlan = ONE_SCHEDULER,
        ports: Ports = ANY_PORTS,
        restarts: bool = False,
        authorized: Sequence[str] = (),
    ) -> None:
        self.lattice = lattice
        self.directory = directory
        self.context_before: str | None = None
        self.end_reason = ""
        self._hosts = {plan.name: plan for plan in hosts}
        self._grants = grants
        self._ids: dict[str, str] = {}  # host name -> id
        self._ports = ports
        self.http_port = 0
        """Of the loopback address, where the hosts take requests together."""
        self._restarts = restarts
        self._authorized = authorized
        self._schedulers = scheduler_names(schedulers.count)
        self._profile = schedulers.profile
        self._stack = AsyncExitStack()
        self._nats: EmbeddedNats | None = None
        self._children: dict[str, Child] = {}
        self._group: TaskGroup | None = None
        self._deaths: Counter[str] = Counter()
        self._is_up = False
        self._is_stopping = False
        self._ended = anyio.Event()

    async def __aenter__(self) -> Crew:
        """Start everything; `Raises:` as `EmbeddedNats` when it cannot."""
        for directory in (self.directory, self.directory / "logs"):
            _make_directory(directory)
        async with AsyncExitStack() as stack:
            self.http_port = stack.enter_context(port_of_lattice(self._ports.http))
            broker = EmbeddedNats(
                self.directory / "nats",
                lattice=self.lattice,
                port=self._ports.nats,
                take_over=True,
                stop_s=NATS_STOP_S,
            )
            self._nats = await stack.enter_async_context(broker)
            for plan in self._hosts.values():
                for name, own in plan.directories(self._hosts_directory).items():
                    self._ids[name] = load_or_create_identity(own).id
            for key in (*self._ids.values(), *self._authorized):
                await broker.authorize("host", key)
            self._save_context()
            self._group = await stack.enter_async_context(anyio.create_task_group())
            stack.push_async_callback(self._stop_children)
            self._group.start_soon(self._watch_nats)
            self._group.start_soon(keep_logs_small, self._children)
            for name in self._schedulers:
                await self._start(name)
            for name in self._hosts:
                await self._start(name)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """End hosts, then the scheduler, then NATS."""
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """Return where NATS listens."""
        return self._broker.url

    @property
    def http_url(self) -> str:
        """Return where requests over HTTP are taken, "" without a host to take them."""
        return f"http://{LOOPBACK}:{self.http_port}" if self._hosts else ""

    async def wait_joined(self) -> None:
        """Return when the scheduler leads and every host has joined.

        Raises:
            UnavailableError: one of them ended; the end of its log is shown.
            DeadlineExceededError: it took longer than `JOIN_S`.
        """
        missing, cause = "the scheduler", ""
        with anyio.move_on_after(JOIN_S):
            while True:
                if self._ended.is_set():
                    raise UnavailableError(self.end_reason)
                try:
                    async with connect(self._settings()) as client:
                        while not self._ended.is_set():
                            joined = {
                                host.id for host in await client.hosts() if _is_in(host.state)
                            }
                            absent = [n for n, key in self._ids.items() if key not in joined]
                            if not absent:
                                self._is_up = True
                                return
                            missing, cause = ", ".join(absent), ""
                            await anyio.sleep(POLL_S)
                except LatticeError as exc:
                    cause = f" ({exc.message})"
                    await anyio.sleep(POLL_S)
        raise DeadlineExceededError(
            f"{missing} did not join within {JOIN_S:g} s{cause}: "
            f"see the logs in {self.directory / 'logs'}"
        )

    async def watch(self) -> None:
        """Return when the lattice cannot go on; `end_reason` then tells why."""
        await self._ended.wait()

    def processes(self) -> list[Running]:
        """Return what runs now, NATS first."""
        found = [Running(name=NATS, role="nats", pid=self._broker.pid)]
        for name, child in self._children.items():
            plan = self._hosts.get(name)
            if plan is None:
                found.append(Running(name=name, role="scheduler", pid=child.pid))
            elif plan.workers > 1:
                found.append(
                    Running(name=name, role="supervisor", pid=child.pid, labels=plan.labels)
                )
            else:
                found.append(
                    Running(
                        name=name,
                        role="host",
                        pid=child.pid,
                        id=self._ids[name],
                        labels=plan.labels,
                    )
                )
        return found

    def facts(self) -> dict[str, object]:
        """Return all that a program needs to use what was started."""
        return {
            "lattice": self.lattice,
            "nats": self.url,
            "http": self.http_url,
            "context": self.lattice,
            "directory": str(self.directory),
            "nkey": str(self._settings().nkey),
            "processes": self.processes(),
        }

    # --- starting -------------------------------------------------------------------------

    @property
    def _broker(self) -> EmbeddedNats:
        assert self._nats is not None, "the crew was never started"
        return self._nats

    def _settings(self) -> Settings:
        seed = self._broker.seed_path("operator")
        return Settings(lattice=self.lattice, servers=(self.url,), nkey=seed)

    def _save_context(self) -> None:
        contexts = Contexts.of_user()
        self.context_before = contexts.current()
        contexts.save(self.lattice, self._settings())
        contexts.select(self.lattice)

    @property
    def _hosts_directory(self) -> Path:
        return self.directory / "hosts"

    async def _start(self, name: str) -> None:
        assert self._group is not None, "children run in the crew's task group"
        common = ["--lattice", self.lattice, "--nats", self.url, "--context", self.lattice]
        plan = self._hosts.get(name)
        if plan is None:
            words = ["scheduler", "--nkey", str(self._broker.seed_path("scheduler")), *common]
            words += [f"--profile={self._profile}"]
        else:
            directory = self._hosts_directory / name
            labels = [f"--label={key}={value}" for key, value in plan.labels.items()]
            # The key of a host is the one in its directory: that of the context is the operator's.
            words = ["host", "--name", name, "--dir", str(directory)]
            words += [f"--workers={plan.workers}", *labels, *self._grants, *common]
            words += [f"--http={LOOPBACK}:{self.http_port}", "--shares-http", "--http-dev"]
        child = await start_child(name, words, self.directory / "logs" / f"{name}.log")
        self._children[name] = child
        self._group.start_soon(self._watch_child, child)

    # --- watching -------------------------------------------------------------------------

    async def _watch_child(self, child: Child) -> None:
        """Report a child that dies by itself, and start it again if that was asked for."""
        await child.process.wait()
        await child.process.aclose()
        if child.is_stopping:
            return
        if not self._is_up:
            self._end(child.ended_text())
            return
        _report(child.ended_text())
        if not self._restarts:
            return
        await anyio.sleep(self._pause_s(child.name))
        if self._is_stopping:
            return
        await self._start(child.name)
        _report(f"{child.name} runs again, pid {self._children[child.name].pid}")

    async def _watch_nats(self) -> None:
        while True:
            status = await self._broker.wait_exit()
            text = f"nats-server ended with status {status}: see {self._broker.directory}/nats.log"
            if not self._restarts or not self._is_up:
                self._end(text)
                return
            _report(text)
            await anyio.sleep(self._pause_s(NATS))
            await self._broker.restart()
            _report(f"nats-server runs again, pid {self._broker.pid}")

    def _pause_s(self, name: str) -> float:
        """Return the wait before a process that died is started again, and count its death."""
        pause_s = RESTART_FIRST_S * 2.0 ** min(self._deaths[name], 16)
        self._deaths[name] += 1
        return min(pause_s, RESTART_LONGEST_S)

    def _end(self, reason: str) -> None:
        self.end_reason = self.end_reason or reason
        self._ended.set()

    # --- ending ---------------------------------------------------------------------------

    async def _stop_children(self) -> None:
        assert self._group is not None, "children run in the crew's task group"
        self._is_stopping = True
        with anyio.CancelScope(shield=True):
            hosts = [self._children[name] for name in self._hosts if name in self._children]
            others = [child for child in self._children.values() if child not in hosts]
            for children, limit_s in ((hosts, HOSTS_STOP_S), (others, SCHEDULER_STOP_S)):
                for child in children:
                    child.ask_to_stop()
                async with anyio.create_task_group() as group:
                    for child in children:
                        group.start_soon(child.stopped, limit_s)
        self._group.cancel_scope.cancel()


def scheduler_names(count: int) -> list[str]:
    """Return what the schedulers are called: the first as if it were the only one."""
    return ["scheduler", *(f"scheduler-{number}" for number in range(2, count + 1))]


def _make_directory(directory: Path) -> None:
    """Make a directory for our eyes only; what keeps keys in it checks its own part of it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidError(f"cannot make the directory {directory}: {exc.strerror}") from None


def _is_in(state: str) -> bool:
    return state in ("ready", "cordoned", "draining")


def _report(text: str) -> None:
    print(f"lattice up: {text}", file=sys.stderr, flush=True)
