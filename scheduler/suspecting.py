"""The shell of `probing`: hears which connections end, and asks hosts whether they are there.

A hint that does not come and a question that cannot be asked delay the loss of a host, never more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from lattice.bus.advisories import disconnected_identity
from lattice.bus.base import Bus
from lattice.errors import DeniedError, LatticeError, NoRouteError
from lattice.model.ids import HostId
from lattice.wire.subjects import Names
from scheduler.probing import Hinted, Probe, Probed

PROBE_S = 1.0
"""Seconds for a host's answer to a probe; that nobody listens is known in a millisecond."""

HEAR_RETRY_S = 1.0
"""Wait before a subscription that failed is made again."""

log = logging.getLogger(__name__)


async def probe(bus: Bus, names: Names, asked: Probe) -> Probed:
    """Return whether a host is there; whatever it answers proves that it is."""
    await anyio.sleep(asked.after_s)
    host, ticket = asked.host, asked.ticket
    try:
        await bus.request(names.host_control(host, "probe"), timeout_s=PROBE_S)
    except NoRouteError:
        return Probed(host=host, ticket=ticket, outcome="absent")
    except LatticeError as exc:
        log.info("host %s did not answer a probe: %s", host, exc)
        return Probed(host=host, ticket=ticket, outcome="unknown")
    return Probed(host=host, ticket=ticket, outcome="answered")


async def hear_disconnects(bus: Bus, names: Names, tell: Callable[[Hinted], object]) -> None:
    """Take the word of NATS that a connection ended for a hint, until cancelled; it returns where
    this identity may not hear it.
    """
    while True:
        try:
            async with bus.subscribe(names.disconnects()) as ended:
                async for packet in ended:
                    host = HostId(disconnected_identity(packet.body))
                    tell(Hinted(host=host, reason="it was disconnected"))
        except DeniedError:
            log.info("NATS does not tell which connections end; heartbeats do")
            return
        except LatticeError as exc:
            log.warning("disconnects are not heard, trying again: %s", exc)
        await anyio.sleep(HEAR_RETRY_S)
