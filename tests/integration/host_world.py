"""A host over an in-memory lattice, driven by target documents that a test writes itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from hosts.agent import HostOptions, run_host
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.bus.base import Connection
from lattice.bus.memory import memory_connection
from lattice.component.reader import read_component
from lattice.component.wiring import resolve
from lattice.errors import from_wire
from lattice.model.host import Report
from lattice.model.ids import HostId
from lattice.model.manifest import parse_deployment
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, DeploymentRecord, HeartbeatAck, Invocation, Target
from lattice.wire.messages import TargetItem as Item
from lattice.wire.subjects import Names, desired, history, target
from scheduler.assembling import Assembly


class World:
    """One lattice in memory with a stand-in for the scheduler: it acks, and keeps the reports."""

    def __init__(self, cache: Path) -> None:
        self.connection: Connection = memory_connection("test")
        self.names = Names("test")
        self.reports: dict[str, Report] = {}
        self.cache = cache
        self.lease_ms = 6000
        self.is_silent = False
        """Whether the stand-in answers no report."""
        self._epoch = 0
        self._since: dict[str, int] = {}

    async def submit(
        self, name: str, parts: Mapping[str, bytes], *, generation: int = 1, **fields: Any
    ) -> None:
        """Want a generation: parts named `*service` are services, the others components."""
        digests = {part: await self.connection.artifacts.put(body) for part, body in parts.items()}
        entries = {
            kind: [
                {"name": part, "image": digest, **fields.pop(part, {})}
                for part, digest in digests.items()
                if part.endswith("service") == (kind == "services")
            ]
            for kind in ("components", "services")
        }
        manifest = {"lattice": "v1", "name": name} | {k: v for k, v in entries.items() if v}
        deployment = parse_deployment(manifest | fields)
        types = {part: read_component(body) for part, body in parts.items()}
        record = DeploymentRecord(
            name=name,
            generation=generation,
            manifest=manifest | fields,
            exposed={i: dict(f) for i, f in resolve(deployment, types).exposed.items()},
        )
        revision = await self.connection.control.put(history(name, generation), encode(record))
        record = replace(record, since=self._since.setdefault(name, revision))
        await self.connection.control.put(desired(name), encode(record))

    async def assign(
        self, host: str, *items: tuple[str, int, int], needs: Sequence[str] = ()
    ) -> int:
        """Write a host's target: (deployment, generation, count)."""
        self._epoch += 1
        document = Target(
            epoch=self._epoch,
            incarnation="i",
            needs=list(needs),
            items=[Item(deployment=d, generation=g, count=c, assignment=g) for d, g, c in items],
        )
        return await self.connection.control.put(target(host), encode(document))

    async def call(
        self,
        deployment: str,
        interface: str,
        function: str,
        args: Sequence[Any] = (),
        **fields: Any,
    ) -> Any:
        """Return the value of a call over the bus, or raise its error."""
        reply = await self.reply(deployment, interface, function, args, **fields)
        return reply.ok[0] if reply.ok else None

    async def reply(
        self,
        deployment: str,
        interface: str,
        function: str,
        args: Sequence[Any] = (),
        **fields: Any,
    ) -> CallReply:
        """Return the whole reply of a call."""
        invocation = Invocation(op=f"{interface}#{function}", args=list(args), **fields)
        packet = await self.connection.bus.request(
            self.names.call(deployment, interface, function), encode(invocation), timeout_s=30
        )
        reply = decode_as(CallReply, packet.body)
        if reply.err:
            raise from_wire(reply.err)
        return reply

    def states(self, host: str) -> dict[str, tuple[str, str]]:
        """Return (state, reason) of the host's replicas, by deployment, as last reported."""
        report = self.reports.get(host)
        return {r.deployment: (r.state, r.reason) for r in report.replicas} if report else {}

    @asynccontextmanager
    async def scheduler(self) -> AsyncIterator[None]:
        assembly = Assembly()

        async def ack(packet: Any) -> bytes | None:
            report = decode_as(Report, packet.body)
            if self.is_silent:
                return None
            whole, is_base_unknown = assembly.take(report)
            self.reports[report.host] = whole
            ack = HeartbeatAck(
                sequence=report.sequence, required=report.adopted, lease_ms=self.lease_ms,
                is_base_unknown=is_base_unknown,
            )  # fmt: skip
            return encode({"ok": ack})

        async with self.connection.bus.serve(self.names.heartbeat("*"), ack):
            yield

    @asynccontextmanager
    async def host(self, host: str, directory: Path, **options: Any) -> AsyncIterator[None]:
        engine = WasmtimeEngine(self.cache)
        try:
            async with anyio.create_task_group() as group:
                await group.start(
                    run_host,
                    self.connection,
                    HostOptions(host=HostId(host), directory=directory, heartbeat_s=0.2, **options),
                    engine,
                )
                yield
                group.cancel_scope.cancel()
        finally:
            engine.close()
