"""A nats-server as a child process, for one machine: `lattice up`, development and tests.

It listens on loopback only, has one least-permission user per role, and keeps its data in one
directory that no other broker can use meanwhile. It is not restarted when it dies by itself:
whoever runs it waits for `wait_exit` and decides.
"""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from types import TracebackType

import anyio
import nats
import nats.errors

from lattice.bus.auth import User
from lattice.bus.broker_files import BrokerFiles, BrokerLimits, find_binary, read_users, write_users
from lattice.bus.broker_process import START_S, STOP_S, BrokerProcess, growing_pauses
from lattice.bus.identity import create_user_seed, load_or_create_seed, load_seed, secure_directory
from lattice.bus.lock import FileLock, read_note
from lattice.bus.permissions import Role, inbox_prefix
from lattice.errors import ConflictError, InvalidError, LatticeError, UnavailableError
from lattice.model.ids import name_fault

FIXED_ROLES: tuple[Role, ...] = ("scheduler", "client", "operator")
"""Roles with one user each, whose seeds lie in the directory. Hosts bring their own keys."""

_SYSTEM = "system"


class EmbeddedNats:
    """A broker that runs while the context lasts.

    `port` None takes the port of the last start if it is still free. With `take_over` a broker
    that outlived its owner (one that was killed) is ended first; otherwise it is an error, because
    its clients may still work. At its end the server gets `stop_s` before it is killed; what it
    acknowledged is on disk by then. `lattice` names the lattice whose account the users belong to.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lattice: str = "default",
        port: int | None = None,
        limits: BrokerLimits | None = None,
        take_over: bool = False,
        stop_s: float = STOP_S,
    ) -> None:
        if fault := name_fault(lattice):
            raise InvalidError(f"lattice: {fault}")
        self.lattice = lattice
        self._files = BrokerFiles(directory=directory.absolute())
        self._asked_port = port
        self._limits = limits or BrokerLimits()
        self._take_over = take_over
        self._process = BrokerProcess(find_binary(), self._files, lattice=lattice, stop_s=stop_s)
        self._users: tuple[User, ...] = ()
        self._owner_lock: FileLock | None = None

    async def __aenter__(self) -> EmbeddedNats:
        """Start the broker and return when it answers an authenticated request.

        Raises:
            ConflictError: another process runs a broker here, or one outlived its owner, or the
                asked port is taken.
            UnavailableError: the server ended or did not answer; the end of its log is shown.
            DeniedError: others may look into the directory.
            InvalidError: a key or the list of users in the directory is damaged.
        """
        secure_directory(self._files.directory)
        self._owner_lock = self._own()
        try:
            self._users = read_users(self._files)
            await self._start(self._asked_port or self._files.remembered_port() or -1)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the broker, with all data on disk. Clients should have drained before."""
        await self._leave()

    @property
    def url(self) -> str:
        """Return where clients connect; it stays the same over `restart`."""
        return f"nats://127.0.0.1:{self._process.port}"

    @property
    def pid(self) -> int:
        """Return the process id of the server, 0 when it does not run."""
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Return where the broker keeps its data, keys and log."""
        return self._files.directory

    def seed_path(self, role: Role) -> Path:
        """Return the file with the nkey seed of a role's user.

        Raises:
            InvalidError: hosts have no shared user; each brings its own key.
        """
        if role not in FIXED_ROLES:
            raise InvalidError(f"role {role} has no key here: authorize the host's own key")
        return self._files.seed(role)

    async def authorize(self, role: Role, *public_keys: str) -> None:
        """Let more identities in, now and after every restart. Known ones cost nothing.

        Raises:
            InvalidError: one is no public user nkey, or has another role already; all are refused.
            UnavailableError: the server did not take the change.
        """
        wanted = dict.fromkeys(User(role=role, public_key=key) for key in public_keys)
        if new := [user for user in wanted if user not in self._users]:
            self._write_users((*self._users, *new))
            await self.reload()

    async def reload(self) -> None:
        """Make the server read its users again; the connections of known users stay.

        Raises:
            UnavailableError: it refused, or did not answer.
        """
        # Unlike SIGHUP, a request to the system account is answered when the reload is over.
        status = await self._ask(_SYSTEM, "$SYS.REQ.SERVER.PING", START_S)
        server = json.loads(status)["server"]["id"]
        answer = await self._ask(_SYSTEM, f"$SYS.REQ.SERVER.{server}.RELOAD", START_S)
        if error := json.loads(answer).get("error"):
            raise UnavailableError(f"nats-server refused its new configuration: {error}")

    async def wait_exit(self) -> int:
        """Return the exit status once the server has ended, for whatever reason."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End the server at once, as a crash would. For tests of recovery."""
        await self._process.stop(signal.SIGKILL)

    async def restart(self) -> None:
        """Start again, on the same port and data; a server that runs is stopped before.

        `Raises:` as entering the context.
        """
        await self._process.stop()
        await self._start(self._process.port)

    def _own(self) -> FileLock:
        path = self._files.owner_lock
        try:
            lock = FileLock(path)
        except BlockingIOError:
            holder = read_note(path)
            raise ConflictError(
                f"the broker in {self._files.directory} belongs to the running process {holder}: "
                "use that lattice, or end the process, or name another directory",
                pid=int(holder) if holder.isdigit() else 0,
            ) from None
        lock.write_note(str(os.getpid()))
        return lock

    async def _start(self, port: int) -> None:
        self._write_users(self._users)
        await self._process.start(
            port,
            is_port_asked=port == self._asked_port,
            limits=self._limits,
            take_over=self._take_over,
        )
        self._files.remember_port(self._process.port)
        await self._await_answer()

    async def _leave(self) -> None:
        await self._process.stop()
        if self._owner_lock is not None:
            self._owner_lock.close()

    async def _await_answer(self) -> None:
        """Return when JetStream answers one of our users, which is the last thing to work."""
        failure: LatticeError | None = None
        for pause_s in growing_pauses(START_S):
            try:
                answer = json.loads(await self._ask("operator", "$JS.API.INFO", START_S))
            except UnavailableError as error:
                failure = error
            else:
                if "error" not in answer:
                    return
                failure = UnavailableError(f"JetStream: {answer['error']}")
            await anyio.sleep(pause_s)
            if not self._process.pid:
                break
        raise UnavailableError(
            f"nats-server at {self.url} does not answer ({failure}); it said:\n{self._files.tail()}"
        )

    async def _ask(self, user: str, subject: str, timeout_s: float) -> bytes:
        """Return the reply to one request, over a connection of its own.

        Raises:
            UnavailableError: there was none.
        """
        identity, path = self._key(user), self._files.seed(user)
        try:
            client = await nats.connect(
                self.url,
                name="lattice-embedded",
                nkeys_seed_str=load_seed(path).decode(),
                inbox_prefix=inbox_prefix(identity),
                allow_reconnect=False,
                connect_timeout=math.ceil(timeout_s),
                error_cb=_ignore,
            )
            try:
                return (await client.request(subject, timeout=timeout_s)).data
            finally:
                await client.close()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise UnavailableError(
                f"{subject} of nats-server at {self.url}: {str(error) or type(error).__name__}"
            ) from error

    def _write_users(self, users: tuple[User, ...]) -> None:
        fixed = tuple(User(role=role, public_key=self._key(role)) for role in FIXED_ROLES)
        write_users(
            self._files,
            lattice=self.lattice,
            users=users,
            fixed=fixed,
            system_key=self._key(_SYSTEM),
        )
        self._users = users

    def _key(self, user: str) -> str:
        return load_or_create_seed(self._files.seed(user), create_user_seed())


async def _ignore(_: Exception) -> None:
    """Take the client's report of an error that the caller gets anyway."""
