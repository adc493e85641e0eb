"""What a client changes of what stands: generations and counts of deployments, duties of hosts.

Part of `LatticeClient`. What a change means is decided by the scheduler and the host.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import anyio

from lattice.client.asking import Asker, all_pages, list_of
from lattice.client.deploying import Applied
from lattice.client.views import Generations, HostView, Upkeep
from lattice.errors import DeadlineExceededError
from lattice.model.host import Taint
from lattice.wire import codec
from lattice.wire.requests import (
    LabelChange,
    Listing,
    OneDeployment,
    RollBack,
    SetPaused,
    SetReplicas,
    TaintChange,
)

DRAINED_TIMEOUT_S = 300.0
"""Seconds until a host must be empty when the caller waits and does not say how long: updates of
what it runs may have to take their time."""

DRAINED_POLL_S = 0.2
"""Seconds between two looks at a host that is being emptied."""


class Steering:
    """Changes of deployments that stand, and of hosts."""

    def __init__(self, asker: Asker, client_id: str) -> None:
        self._asker = asker
        self._client_id = client_id

    # --- deployments ----------------------------------------------------------------------

    async def history(self, name: str) -> Generations:
        """Return the generations of a deployment that are kept. `Raises:` NotFoundError."""
        return codec.convert(
            await self._asker.api("history", OneDeployment(name=name)), Generations
        )

    async def roll_back(
        self,
        name: str,
        generation: int | None = None,
        *,
        expect: int | None = None,
        reason: str = "",
    ) -> Applied:
        """Desire an earlier generation again, the one before without `generation`.

        It keeps its number, and the deployment as many replicas as it has now.

        Raises:
            NotFoundError: there is no such deployment, or the generation is not kept.
            ConflictError: it does not stand at `expect`, or another deployment has its routes now.
            InvalidError, IncompatibleError: the generation can no longer be used.
        """
        question = RollBack(
            name=name,
            generation=generation,
            expect=expect,
            submitted_by=self._client_id,
            reason=reason,
        )
        return codec.convert(await self._asker.api("rollback", question), Applied)

    async def scale(self, name: str, replicas: int, *, expect: int | None = None) -> Applied:
        """Desire another number of replicas; the generation stays and nothing is restarted.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: it does not stand at `expect`, or its manifest leaves the number to
                something else (`daemon`, `singleton`, `scale`, `job`).
        """
        question = SetReplicas(
            name=name, replicas=replicas, expect=expect, submitted_by=self._client_id
        )
        return codec.convert(await self._asker.api("scale", question), Applied)

    async def pause(self, name: str, *, expect: int | None = None) -> Applied:
        """Leave what runs of a deployment as it is, whatever is applied, until it is resumed.

        `Raises:` NotFoundError, ConflictError as `scale`.
        """
        question = SetPaused(name=name, expect=expect, submitted_by=self._client_id)
        return codec.convert(await self._asker.api("pause", question), Applied)

    async def resume(self, name: str, *, expect: int | None = None) -> Applied:
        """Go on with a paused deployment. `Raises:` as `pause`."""
        question = SetPaused(name=name, expect=expect, submitted_by=self._client_id)
        return codec.convert(await self._asker.api("resume", question), Applied)

    # --- hosts ----------------------------------------------------------------------------

    async def hosts(self) -> list[HostView]:
        """Return the hosts that the active scheduler knows, by name."""
        answer = await all_pages(partial(self._asker.lead, "hosts"), Listing(), "hosts")
        return sorted(list_of(answer, "hosts", HostView), key=lambda host: (host.name, host.id))

    async def label_host(
        self, host: str, *, set_labels: Mapping[str, str], remove: Collection[str] = ()
    ) -> dict[str, str]:
        """Change labels of a host, by its id, and return all that it has then.

        Raises:
            InvalidError: a key or value is malformed or reserved; nothing was changed.
            NoRouteError: the host is not there.
        """
        question = LabelChange(set=dict(set_labels), remove=list(remove))
        answer = await self._asker.host(host, "labels", question)
        return {str(key): str(value) for key, value in dict(answer.get("labels", {})).items()}

    async def cordon(self, host: str) -> Upkeep:
        """Have a host, by its id, take no new replicas, also after it started again.

        `Raises:` NoRouteError when the host is not there.
        """
        return await self._maintain(host, "cordon", {})

    async def uncordon(self, host: str) -> Upkeep:
        """Have a host take replicas again, and end a drain. `Raises:` as `cordon`."""
        return await self._maintain(host, "uncordon", {})

    async def drain(self, host: str) -> Upkeep:
        """Cordon a host and have its replicas move to others at the pace of their updates.

        `Raises:` as `cordon`.
        """
        return await self._maintain(host, "drain", {})

    async def wait_drained(
        self,
        host: str,
        *,
        timeout_s: float = DRAINED_TIMEOUT_S,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Return when no replica is left on a host, by its id, or it is gone.

        `progress` is told each new number of replicas that are left.

        Raises:
            DeadlineExceededError: some are left after `timeout_s`; it goes on being drained.
            NoRouteError: no scheduler leads.
        """
        left: int | None = None
        with anyio.move_on_after(timeout_s):
            while True:
                found = [each for each in await self.hosts() if each.id == host]
                count = int(found[0].replicas) if found else 0
                if count != left and progress is not None:
                    progress(count)
                left = count
                if not count:
                    return
                await anyio.sleep(DRAINED_POLL_S)
        raise DeadlineExceededError(
            f"{left if left is not None else 'unknown'} replicas are left on host {host} after "
            f"{timeout_s:.3g} s; it goes on being drained: `lattice get replicas` shows them",
            host=host,
            left=left,
        )

    async def taint(
        self, host: str, *, taints: Collection[Taint], remove: Collection[str] = ()
    ) -> Upkeep:
        """Set taints of a host, by its id, and remove those with the given keys.

        Raises:
            InvalidError: a taint is malformed or reserved, or one to remove is not there; nothing
                was changed.
            NoRouteError: the host is not there.
        """
        return await self._maintain(
            host, "taint", TaintChange(set=list(taints), remove=list(remove))
        )

    async def stop_host(self, host: str) -> None:
        """Ask a host, by its id, to end cleanly; it answers before it does."""
        await self._asker.host(host, "stop", {})

    async def _maintain(self, host: str, verb: str, question: Any) -> Upkeep:
        return codec.convert(await self._asker.host(host, verb, question), Upkeep)
