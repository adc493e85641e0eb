"""One client of one lattice: what a program can ask and have done.

    async with lattice.connect() as l:
        await l.apply("docsearch.yaml", wait=True)
        hits = await l.call("docsearch", "search", ["event loop", 5])

Every request has a time limit, and every failure is one of the errors of `lattice.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

from lattice import config
from lattice.bus.base import Connection
from lattice.client import deploying, observing
from lattice.client.addresses import urls
from lattice.client.asking import REQUEST_TIMEOUT_S, Asker, all_pages, list_of
from lattice.client.calling import CALL_DEADLINE_S, Caller, CallResult
from lattice.client.deploying import READY_TIMEOUT_S, Applied, Manifest, Progress
from lattice.client.differences import Difference, differences
from lattice.client.explaining import Explaining
from lattice.client.jobs import Jobs
from lattice.client.observing import LOG_LINES
from lattice.client.steering import Steering
from lattice.client.streaming import ByteCall, Source
from lattice.client.views import (
    DeploymentView,
    Description,
    PingView,
    ReplicaList,
    Status,
)
from lattice.client.watching import Watching
from lattice.clock import Clock
from lattice.errors import DeniedError, InvalidError, LatticeError, NoRouteError, NotFoundError
from lattice.model.manifest import http_addresses, to_document
from lattice.wire import codec
from lattice.wire.messages import DeploymentRecord
from lattice.wire.requests import (
    DeleteDeployment,
    Listing,
    LogLine,
    OneDeployment,
    ReplicaListing,
)

PING_TIMEOUT_S = 0.5
"""Seconds for which answers to a ping are gathered: hosts answer within milliseconds."""


@asynccontextmanager
async def connect(
    settings: config.Settings | None = None,
    *,
    context: str | None = None,
    config_file: Path | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    client_id: str = "client",
    **overrides: str | None,
) -> AsyncIterator[LatticeClient]:
    """Yield a client while the context lasts; leaving it closes the connection.

    Without `settings` they come from `overrides` (`nats=...`, `lattice=...`, `nkey=...`, as the
    flags of the command line with `_` for `-`), the environment, `config_file`, and the named or
    current context, in this order. `timeout_s` limits each request. `client_id` is who submits and
    calls, for records and callees; it proves nothing.

    Raises:
        InvalidError: settings are malformed or unknown.
        UnavailableError: NATS cannot be reached.
        DeniedError: NATS refuses the identity.
    """
    from lattice.bus.connecting import connect as connect_bus

    if settings is None:
        flags = {name.replace("_", "-"): value for name, value in overrides.items()}
        settings = config.resolve(flags, config=config_file, context=context)
    elif overrides or context or config_file:
        raise InvalidError("settings are given, so context, config_file and overrides cannot be")
    async with connect_bus(settings, name="lattice-client") as connection:
        yield LatticeClient(connection, client_id=client_id, timeout_s=timeout_s)


class LatticeClient(Explaining, Steering, Watching):
    """What a program can ask of a lattice and have done in it."""

    def __init__(
        self,
        connection: Connection,
        *,
        client_id: str = "client",
        timeout_s: float = REQUEST_TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self.connection = connection
        super().__init__(Asker(connection, timeout_s=timeout_s, clock=clock), client_id)
        self._caller = Caller(self._asker, caller_id=client_id)
        self.jobs = Jobs(self._asker, connection.jobs, client_id)

    # --- deployments ----------------------------------------------------------------------

    async def apply(
        self,
        manifest: Manifest,
        *,
        wait: bool = False,
        timeout_s: float = READY_TIMEOUT_S,
        progress: Progress | None = None,
    ) -> list[Applied]:
        """Submit every deployment of a manifest, and with `wait` return when all of them run.

        `manifest` is a file, its text (a string with a line break), one document or a checked
        `Deployment`. Its images and files are uploaded by digest before. Applying what stands
        already changes nothing.

        Raises:
            InvalidError: manifest or deployment is wrong (nothing was changed by the deployment
                at fault), or the hosts could not run it: `faults` has their own error texts.
            DeadlineExceededError: not ready within `timeout_s`; it stays submitted.
        """
        found = await deploying.resolve(manifest)
        results = [
            await deploying.submit(
                self._asker,
                self.connection.artifacts,
                resolved,
                by=self._client_id,
                progress=progress,
            )
            for resolved in found
        ]
        if wait:
            return await self.wait_ready(results, timeout_s=timeout_s, progress=progress)
        return results

    async def wait_ready(
        self,
        applied: Sequence[Applied],
        *,
        timeout_s: float = READY_TIMEOUT_S,
        progress: Progress | None = None,
    ) -> list[Applied]:
        """Return what `apply` returned, with status, when all of it runs. `Raises:` as `apply`."""
        give_up_s = self._asker.clock.monotonic_s() + timeout_s
        return [
            await deploying.wait_ready(
                self._asker,
                one,
                timeout_s=max(give_up_s - self._asker.clock.monotonic_s(), 0.0),
                progress=progress,
            )
            for one in applied
        ]

    async def diff(self, manifest: Manifest) -> dict[str, tuple[Difference, ...]]:
        """Return what applying a manifest would change, by deployment; uploads nothing.

        `Raises:` InvalidError as `apply`.
        """
        found: dict[str, tuple[Difference, ...]] = {}
        for resolved in await deploying.resolve(manifest):
            wanted = to_document(resolved.deployment)
            try:
                record, _ = await self.record(resolved.deployment.name)
            except NotFoundError:
                found[resolved.deployment.name] = differences({}, wanted)
            else:
                found[resolved.deployment.name] = differences(record.manifest, wanted)
        return found

    async def delete(self, name: str) -> int:
        """Remove a deployment and return the revision of its removal; its replicas stop soon.

        Raises:
            NotFoundError: there is none of that name.
        """
        return int((await self._asker.api("delete", DeleteDeployment(name=name)))["revision"])

    async def record(self, name: str) -> tuple[DeploymentRecord, int]:
        """Return a deployment as stored, and its revision. `Raises:` NotFoundError."""
        answer = await self._asker.api("get", OneDeployment(name=name))
        return codec.convert(answer.get("record"), DeploymentRecord), int(answer["revision"])

    async def deployments(self) -> list[DeploymentView]:
        """Return all deployments, by name."""
        answer = await all_pages(partial(self._asker.api, "list"), Listing(), "deployments")
        return sorted(list_of(answer, "deployments", DeploymentView), key=lambda d: d.name)

    async def status(self, name: str) -> Status:
        """Return how far a deployment is from what is wanted. `Raises:` NotFoundError."""
        return codec.convert(await self._asker.lead("status", OneDeployment(name=name)), Status)

    async def replicas(self, deployment: str | None = None) -> ReplicaList:
        """Return the replicas of one or all deployments, and what could not be placed."""
        ask = partial(self._asker.lead, "replicas")
        answer = await all_pages(ask, ReplicaListing(deployment=deployment), "replicas", "unplaced")
        return codec.convert(answer, ReplicaList)

    async def describe(self, name: str) -> Description:
        """Return all that is known of a deployment; without a leader only what is stored.

        Raises:
            NotFoundError: there is none of that name.
        """
        record, revision = await self.record(name)
        try:
            status: Status | None = await self.status(name)
            replicas = await self.replicas(name)
            found = await self._urls(record)
        except NoRouteError:
            status, replicas, found = None, ReplicaList(), []
        return Description(
            record=record, revision=revision, status=status, replicas=replicas, urls=found
        )

    async def urls(self, name: str) -> list[str]:
        """Return where a deployment answers requests over HTTP.

        Raises:
            NotFoundError: there is none of that name.
            NoRouteError: no scheduler leads, who knows the hosts.
        """
        return await self._urls((await self.record(name))[0])

    async def _urls(self, record: DeploymentRecord) -> list[str]:
        addresses = http_addresses(record.manifest)
        if not addresses:
            return []
        return urls(addresses, [url for host in await self.hosts() for url in host.http])

    # --- calls ----------------------------------------------------------------------------

    @overload
    async def call(
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
    async def call(
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

    async def call(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        deadline_s: float = CALL_DEADLINE_S,
        key: str | None = None,
        as_json: bool = False,
        expects: str = "",
        detail: bool = False,
    ) -> Any:
        """Return the value of one call, or with `detail` also who ran it, how and how long.

        `function` is `ns:pkg/iface[@version]#func`, `iface#func`, or `func` when unique. Values
        are those of the wire: records are maps with kebab-case names, `list<u8>` is bytes, an
        option is its value or None, a result is `["ok", value]` or `["err", value]`. A call that
        nobody began is sent again within the deadline. One that was lost on the way may have run:
        it is sent again only with a `key`, which says that running it twice does no harm.
        `expects` is the fingerprint of the function's type that the caller was built for.

        `Raises:` see `Caller.call`.
        """
        call = self._caller.call if detail else self._caller.value
        return await call(
            deployment,
            function,
            args,
            deadline_s=deadline_s,
            key=key,
            as_json=as_json,
            expects=expects,
        )

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
    ) -> AbstractAsyncContextManager[ByteCall]:
        """Enter a call whose guest reads `body` and writes bytes while it runs.

        Iterate over what is yielded for what the guest writes, and await its `value()` for the
        function's result. `body` is bytes, a file that is open for reading, or an iterable of
        bytes. What neither side takes is not sent: memory stays small however long the streams
        are. `deadline_s` is the longest time without any byte that moves. Leaving the context
        early ends the call. Bytes are never sent again, so there is no key.

        `Raises:` see `Caller.stream`.
        """
        return self._caller.stream(
            deployment, function, args, body=body, deadline_s=deadline_s, as_json=as_json,
            expects=expects,
        )  # fmt: skip

    # --- hosts ----------------------------------------------------------------------------

    async def ping(self, *, timeout_s: float = PING_TIMEOUT_S) -> list[PingView]:
        """Return the hosts that answer by themselves within `timeout_s`; needs no scheduler."""
        found: list[PingView] = []
        replies = self.connection.bus.request_many(
            self._asker.names.ping(), codec.encode({}), timeout_s=timeout_s
        )
        async for packet in replies:
            try:
                found.append(codec.convert(codec.answer_of(packet.body), PingView))
            except LatticeError:
                continue  # an answer that cannot be read must not hide the others
        return sorted(found, key=lambda host: (host.name, host.host))

    async def find_host(self, wanted: str) -> str:
        """Return the id of the one host with this id, name or beginning of an id.

        Raises:
            NotFoundError: there is none; those there are listed.
            InvalidError: there are several; their ids are listed.
        """
        hosts = await self.hosts()
        exact = [host for host in hosts if wanted in (host.id, host.name)]
        found = exact or [host for host in hosts if wanted and host.id.startswith(wanted)]
        if len(found) > 1:
            raise InvalidError(
                f"{wanted!r} names {len(found)} hosts, write the id",
                [f"{host.id} ({host.name})" for host in found],
            )
        if not found:
            known = ", ".join(host.name or host.id for host in hosts) or "none"
            raise NotFoundError(f"no host {wanted!r}; the lattice has: {known}", host=wanted)
        return found[0].id

    async def inventory(self, host: str) -> dict[str, Any]:
        """Return what a host, by its id, says of itself. `Raises:` NoRouteError."""
        return await self._asker.host(host, "inventory", {})

    # --- what happens ---------------------------------------------------------------------

    async def logs(
        self,
        *,
        deployment: str = "",
        host: str = "",
        lines: int = LOG_LINES,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        """Yield log lines of a deployment or of a host (by its id), oldest first.

        Whoever may not ask the hosts gets no lines of the past, only new ones.
        """
        history_from = {host} if host else await self._hosts_with_history()
        stream = observing.read_logs(
            self._asker,
            deployment=deployment,
            host=host,
            history_from=history_from,
            lines=lines,
            follow=follow,
        )
        async for line in stream:
            yield line

    async def _hosts_with_history(self) -> set[str]:
        try:
            return {found.host for found in await self.ping()}
        except DeniedError:  # a client may listen to log lines, but not steer hosts
            return set()
