"""Reports to the active scheduler: their pace, their sending, and what its answers say.

What is in a report the lifecycle core decides; here is when it goes, and what follows when nobody
takes it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable

import anyio

from hosts.differences import Differences
from hosts.lifecycle_events import Acked
from lattice.bus.base import Bus
from lattice.errors import ConflictError, LatticeError
from lattice.model.host import Report
from lattice.model.ids import HostId
from lattice.wire.codec import answer_of, convert
from lattice.wire.messages import HeartbeatAck
from lattice.wire.subjects import Names

HEARTBEAT_S = 2.0
"""Pace of reports, +-10 %, until a scheduler asks for another: three of them fit into the time
after which a host is called lost."""

HEARTBEAT_LEAST_S = 0.1
"""The quickest pace that a scheduler can ask for."""

HEARTBEAT_TIMEOUT_S = 1.5
"""Wait for an ack: shorter than the pace, so that reports never pile up."""

HEARTBEAT_JITTER = 0.1
"""Share by which the pace varies, so that hosts started together do not report together."""

REPORT_GAP_S = 0.05
"""Least time between two reports: changes that come together travel together."""

log = logging.getLogger(__name__)


class Reporting:
    """Makes reports due, and sends them; `refused` hears that another process has the key."""

    def __init__(
        self,
        *,
        bus: Bus,
        names: Names,
        host: HostId,
        heartbeat_s: float,
        due: Callable[[], None],
        acked: Callable[[Acked], None],
        refused: Callable[[ConflictError], None],
        missed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; `due` is called when a report is to be made, which then comes to `send`.

        `missed` is awaited when the scheduler has no inventory of this host.
        """
        self._bus = bus
        self._subject = names.heartbeat(host)
        self._heartbeat_s = heartbeat_s
        self._due = due
        self._acked = acked
        self._refused = refused
        self._missed = missed
        self._differences = Differences()
        self._wanted = anyio.Event()
        self._random = random.Random(host)  # noqa: S311 - spreads load, guards nothing
        self._is_led = True

    def hasten(self) -> None:
        """Make the next report due now."""
        self._wanted.set()

    async def run(self) -> None:
        """Make reports due at the pace, or sooner when hastened, until cancelled."""
        while True:
            self._wanted = anyio.Event()
            self._due()
            jitter = self._random.uniform(1 - HEARTBEAT_JITTER, 1 + HEARTBEAT_JITTER)
            await anyio.sleep(REPORT_GAP_S)
            with anyio.move_on_after(self._heartbeat_s * jitter - REPORT_GAP_S):
                await self._wanted.wait()

    async def send(self, report: Report) -> None:
        """Send a report and take in the answer, if one comes."""
        try:
            packet = await self._bus.request(
                self._subject,
                self._differences.encoded(report),
                timeout_s=HEARTBEAT_TIMEOUT_S,
            )
            ack = convert(answer_of(packet.body), HeartbeatAck)
        except ConflictError as exc:
            self._refused(exc)
        except LatticeError as exc:
            if self._is_led:
                log.warning("no scheduler took the report, running work goes on: %s", exc)
            self._is_led = False
        else:
            if not self._is_led:
                log.info("a scheduler takes the reports again")
            self._is_led = True
            self._acked(
                Acked(sequence=ack.sequence, required=ack.required, lease_s=ack.lease_ms / 1000)
            )
            await self._heed(ack)

    async def _heed(self, ack: HeartbeatAck) -> None:
        """Do what else an answer asks for."""
        if ack.heartbeat_ms:
            self._heartbeat_s = max(ack.heartbeat_ms / 1000, HEARTBEAT_LEAST_S)
        if self._differences.answered(ack.sequence, is_base_unknown=ack.is_base_unknown):
            self.hasten()
        if ack.is_inventory_wanted and self._missed is not None:
            try:
                await self._missed()
            except LatticeError as exc:
                log.info("inventory not written, the next report asks again: %s", exc)
