"""A service that runs by itself: one instance whose `wasi:cli/run` lasts as long as the service.

Nobody calls it, it may call others. Its run has no deadline; the limits of memory hold. When it
ends, the manifest's `restart` says what follows.
"""

from __future__ import annotations

import anyio
from anyio.abc import TaskStatus

from hosts.callcontext import CallContext
from hosts.engine.base import Instance, Program, World
from hosts.instances import ImportsFor
from hosts.restarts import Restarts
from lattice.clock import Clock
from lattice.component.programs import RUN_FUNCTION
from lattice.errors import GuestTrapError, LatticeError
from lattice.model.deployment import Service


class ServiceProcess:
    """One process of one replica."""

    def __init__(
        self,
        service: Service,
        program: Program,
        interface: str,
        *,
        owner: str,
        deployment: str,
        imports_for: ImportsFor,
        world: World,
        clock: Clock,
    ) -> None:
        """Prepare; `interface` is the name under which the program exports `run`."""
        self.id = f"{owner}:{service.name}"
        self._service = service
        self._deployment = deployment
        self._program = program
        self._interface = interface
        self._world = world
        self._clock = clock
        self._imports = imports_for(self._new_context)
        self._life = Restarts(service.name, service.restart)
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run it until cancelled, stopped or finished; "started" when the first instance is made.

        Raises:
            LatticeError: no instance could be made, or restarts ran out; the last cause is told.
        """
        try:
            with self._scope:
                await self._lives(task_status)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Cancel it, and return when it is gone. Idempotent."""
        self._scope.cancel()
        await self._ended.wait()

    async def ended(self) -> None:
        """Return when it is gone, by itself or not."""
        await self._ended.wait()

    @property
    def failure(self) -> str:
        """Return why it ended for good, "" when it did not, or ended well."""
        return self._life.last_error if self._life.verdict == "failed" else ""

    @property
    def restarts(self) -> int:
        """Return how often it was started again."""
        return self._life.total

    @property
    def trouble(self) -> str:
        """Return what is wrong with it at the moment, "" when nothing is."""
        return self._life.trouble(self._clock.monotonic_s())

    @property
    def is_looping(self) -> bool:
        """Tell whether it fails again and again."""
        return self._life.is_looping(self._clock.monotonic_s())

    async def _lives(self, task_status: TaskStatus[None]) -> None:
        is_first = True
        while True:
            self._life.begin(self._clock.monotonic_s())
            try:
                instance = await self._program.instantiate(self._imports, self._world)
            except LatticeError as exc:
                if is_first:
                    raise
                error = exc.message
            else:
                if is_first:
                    task_status.started()
                    is_first = False
                self._life.up()
                error = await self._run_once(instance)
            if not await self._pause(error):
                return

    async def _run_once(self, instance: Instance) -> str:
        """Return why the run failed, "" when it ended well."""
        try:
            result = await instance.call(self._interface, RUN_FUNCTION, (), deadline_s=float("inf"))
        except GuestTrapError as exc:
            return "" if exc.details.get("exit_status") == 0 else exc.message
        except LatticeError as exc:
            return exc.message
        finally:
            instance.close()
        return "" if result[0] == "ok" else "its run returned an error"

    async def _pause(self, error: str) -> bool:
        """Wait until the next life begins; False when there is none."""
        ending = self._life.end(self._clock.monotonic_s(), error)
        name = self._service.name
        what = f"failed: {error}" if error else "ended by itself"
        match ending.verdict:
            case "given-up":
                raise LatticeError(
                    f"service {self.id} failed {self._life.failures} times in a row, "
                    f"restart.max is {self._service.restart.attempts}: {error}"
                )
            case "finished":
                self._world.log("info", f"service {name} {what}")
                return False
            case "failed":
                self._world.log("error", f"service {name} {what}; it is not restarted")
                return False
            case "restart":
                level = "warn" if error else "info"
                again = f"restart {self._life.total} in {ending.delay_s:.1f} s"
                self._world.log(level, f"service {name} {what}; {again}")
                await anyio.sleep(ending.delay_s)
                return True

    def _new_context(self) -> CallContext:
        """Return the context of one call that the guest makes: the callee's limits bound it."""
        return CallContext(
            deadline_at_s=float("inf"),
            steps=((self._deployment, self._service.name, RUN_FUNCTION),),
            caller=self._deployment,
            chain=(self._deployment,),
        )
