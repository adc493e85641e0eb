"""What a client asks about placement: why here, why not there, and what a manifest would do.

Part of `LatticeClient`. The scheduler answers; nothing is uploaded, stored or decided here.
"""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread

from lattice.bus.base import Connection
from lattice.client import deploying
from lattice.client.asking import Asker
from lattice.client.deploying import Manifest, Resolved
from lattice.client.explanations import Explanation, Rehearsed, WhyNot
from lattice.component.reader import read_component
from lattice.component.types import ComponentType
from lattice.component.wiring import resolve
from lattice.errors import InvalidError, NoRouteError, NotFoundError
from lattice.model.ids import Digest
from lattice.model.manifest import to_document
from lattice.wire import codec
from lattice.wire.requests import OneDeployment, OneHost, Proposal, Rehearsal

PLANNED_PATIENCE_S = 2.0
"""Seconds until the leader must have planned what was submitted: it does so in some 0.1 s."""

PLANNED_POLL_S = 0.05
"""Seconds between two such questions."""


class Explaining:
    """Questions about where replicas are and would be."""

    connection: Connection
    _asker: Asker

    async def explain(self, name: str) -> Explanation:
        """Return why a deployment's replicas are where they are, and what keeps more away.

        Raises:
            NotFoundError: there is none of that name.
            NoRouteError: no scheduler leads, or it has made no plan yet.
        """
        answer = await self._planned("explain", OneDeployment(name=name), name)
        return codec.convert(answer, Explanation)

    async def why_not(self, name: str, host: str) -> WhyNot:
        """Return every rule of a deployment with its verdict on one host, by its id.

        Raises:
            NotFoundError: there is no deployment of that name, or no such host.
            NoRouteError: no scheduler leads, or it has made no plan yet.
        """
        answer = await self._planned("why-not", OneHost(name=name, host=host), name)
        return codec.convert(answer, WhyNot)

    async def plan(self, manifest: Manifest) -> Rehearsed:
        """Return what would start, stop and stay where if a manifest were applied now.

        It is a dry run: nothing is uploaded and nothing stored. Where replicas come to rest is
        told, not the steps of the updates on the way there.

        Raises:
            InvalidError: the manifest is wrong, an image is neither given nor in the lattice, or
                imports stay open.
            NoRouteError: no scheduler leads, or it has made no plan yet.
        """
        proposals = [
            Proposal(manifest=to_document(each.deployment), interfaces=await self._needs(each))
            for each in await deploying.resolve(manifest)
        ]
        answer = await self._asker.lead("plan", Rehearsal(proposals=proposals))
        return codec.convert(answer, Rehearsed)

    async def _planned(self, verb: str, question: object, name: str) -> dict[str, Any]:
        """Return an answer about a deployment, which may have been submitted just now."""
        clock = self._asker.clock
        give_up_s = clock.monotonic_s() + PLANNED_PATIENCE_S
        while True:
            try:
                return await self._asker.lead(verb, question)
            except NotFoundError as exc:
                await self._asker.api("get", OneDeployment(name=name))  # raises if it is true
                if "host" in exc.details or clock.monotonic_s() > give_up_s:
                    raise
            except NoRouteError:
                if clock.monotonic_s() > give_up_s:
                    raise
            await anyio.sleep(PLANNED_POLL_S)

    async def _needs(self, resolved: Resolved) -> list[str]:
        """Return the interfaces that a host must offer to run a deployment."""
        types: dict[str, ComponentType] = {}
        for part in resolved.deployment.parts:
            digest = Digest(part.image)
            if digest in resolved.bodies:
                body = resolved.bodies[digest][1]
            else:
                body = await self._artifact(resolved.deployment.name, part.name, digest)
            types[part.name] = await anyio.to_thread.run_sync(read_component, body)
        return sorted(resolve(resolved.deployment, types).interfaces)

    async def _artifact(self, deployment: str, part: str, digest: Digest) -> bytes:
        try:
            return await self.connection.artifacts.get(digest)
        except NotFoundError:
            raise InvalidError(
                f"deployment {deployment}: {part}: {digest} is not in the lattice, and no file of "
                "the manifest has it"
            ) from None
