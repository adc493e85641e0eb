"""A client that waits, for scripts and notebooks: `with lattice.sync.connect() as l: l.call(...)`.

It has the methods of `LatticeClient` and nothing of its own: each is carried out by a client on an
event loop in a thread, so that it also works where a loop runs already, as in a notebook. Ctrl-C
ends the wait and cancels what was asked. Errors are those of the client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from anyio.from_thread import start_blocking_portal

from lattice.client import session
from lattice.client.asking import REQUEST_TIMEOUT_S
from lattice.client.calling import CALL_DEADLINE_S, CallResult
from lattice.client.jobs import Jobs
from lattice.client.session import LatticeClient
from lattice.client.streaming import ByteCall, Source
from lattice.client.waiting import Facade, Loop, blocking, iterating
from lattice.config import Settings


class SyncJobs(Facade):
    """What a program can have done later, and ask of it; every method waits for its end."""

    submit = blocking(Jobs.submit)
    result = blocking(Jobs.result)
    outcome = blocking(Jobs.outcome)
    status = blocking(Jobs.status)
    list = blocking(Jobs.list)
    cancel = blocking(Jobs.cancel)
    redrive = blocking(Jobs.redrive)
    schedule = blocking(Jobs.schedule)


class SyncByteCall(Facade):
    """A call that streams bytes: iterating waits for what its guest writes."""

    part = blocking(ByteCall.part)
    value = blocking(ByteCall.value)

    def __iter__(self) -> Iterator[bytes]:
        while part := self.part():
            yield part


class SyncClient(Facade):
    """What a program can ask of a lattice and have done in it; every method waits for its end.

    One client may be used by several threads.
    """

    def __init__(self, client: LatticeClient, loop: Loop, stack: ExitStack) -> None:
        super().__init__(client, loop)
        self.jobs = SyncJobs(client.jobs, loop)
        """Calls that are carried out later."""
        self._stack = stack  # which ends connection and loop

    apply = blocking(LatticeClient.apply)
    wait_ready = blocking(LatticeClient.wait_ready)
    diff = blocking(LatticeClient.diff)
    delete = blocking(LatticeClient.delete)
    record = blocking(LatticeClient.record)
    deployments = blocking(LatticeClient.deployments)
    status = blocking(LatticeClient.status)
    replicas = blocking(LatticeClient.replicas)
    describe = blocking(LatticeClient.describe)
    urls = blocking(LatticeClient.urls)
    ping = blocking(LatticeClient.ping)
    find_host = blocking(LatticeClient.find_host)
    inventory = blocking(LatticeClient.inventory)
    explain = blocking(LatticeClient.explain)
    why_not = blocking(LatticeClient.why_not)
    plan = blocking(LatticeClient.plan)
    history = blocking(LatticeClient.history)
    roll_back = blocking(LatticeClient.roll_back)
    scale = blocking(LatticeClient.scale)
    pause = blocking(LatticeClient.pause)
    resume = blocking(LatticeClient.resume)
    hosts = blocking(LatticeClient.hosts)
    label_host = blocking(LatticeClient.label_host)
    cordon = blocking(LatticeClient.cordon)
    uncordon = blocking(LatticeClient.uncordon)
    drain = blocking(LatticeClient.drain)
    wait_drained = blocking(LatticeClient.wait_drained)
    taint = blocking(LatticeClient.taint)
    stop_host = blocking(LatticeClient.stop_host)
    events = iterating(LatticeClient.events)
    logs = iterating(LatticeClient.logs)
    state_at = blocking(LatticeClient.state_at)

    if TYPE_CHECKING:
        # Of a method with several signatures a type checker would know the first one only.
        @overload
        def call(
            self,
            deployment: str,
            function: str,
            args: Sequence[Any] = ...,
            *,
            deadline_s: float = ...,
            key: str | None = ...,
            as_json: bool = ...,
            expects: str = ...,
            detail: Literal[False] = ...,
        ) -> Any: ...

        @overload
        def call(
            self,
            deployment: str,
            function: str,
            args: Sequence[Any] = ...,
            *,
            deadline_s: float = ...,
            key: str | None = ...,
            as_json: bool = ...,
            expects: str = ...,
            detail: Literal[True],
        ) -> CallResult: ...

        def call(self, deployment: str, function: str, *args: Any, **kwargs: Any) -> Any:
            """Return the value of one call: see `LatticeClient.call`."""
    else:
        call = blocking(LatticeClient.call)

    @contextmanager
    def stream(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        body: Source | None = None,
        deadline_s: float = CALL_DEADLINE_S,
        as_json: bool = False,
        expects: str = "",
    ) -> Iterator[SyncByteCall]:
        """Enter a call whose guest reads and writes bytes: see `LatticeClient.stream`."""
        context: AbstractAsyncContextManager[ByteCall] = self.behind.stream(
            deployment, function, args, body=body, deadline_s=deadline_s, as_json=as_json,
            expects=expects,
        )  # fmt: skip
        with self.loop.entered(context) as call:
            yield SyncByteCall(call, self.loop)

    def close(self) -> None:
        """End the connection and whatever still waits for it; closing twice is no error."""
        self.loop.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    settings: Settings | None = None,
    *,
    context: str | None = None,
    config_file: Path | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    client_id: str = "client",
    **overrides: str | None,
) -> SyncClient:
    """Return a connected client; arguments and errors are those of `lattice.connect`.

    It is a context manager; whoever does not use it as one calls `close`.
    """
    connecting = session.connect(
        settings, context=context, config_file=config_file,
        timeout_s=timeout_s, client_id=client_id, **overrides,
    )  # fmt: skip
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal(name="lattice-client"))
        client = stack.enter_context(portal.wrap_async_context_manager(connecting))
        return SyncClient(client, Loop(portal), stack.pop_all())
    raise AssertionError("a client was returned, or an error raised")
