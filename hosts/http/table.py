"""The routes of all deployments, as the control store has them, in one table that is kept current.

What a manifest asks for stands under `desired.<deployment>`. A change makes a new table; until it
is made, the one before answers. A conflict that came through all the same (two deployments were
submitted at the same moment) takes no host down: the older deployment keeps its route.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from lattice.bus.base import Entry, Store
from lattice.errors import DecodeError, InvalidError, LatticeError
from lattice.model.ids import DeploymentName
from lattice.model.manifest import http_addresses
from lattice.routing.http import Conflict, HttpRoute, HttpRoutes, routes_of, settled
from lattice.wire.codec import decode_as
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import DESIRED, RESTORE

WATCH_RETRY_S = 1.0
"""Wait before a lost watch is tried again."""

TEST_SUFFIX = "localhost"
"""Browsers and resolvers take every name below it for this machine (RFC 6761)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one deployment asks for."""

    age: tuple[int, str]  # of the older deployment it is the lower one
    routes: tuple[HttpRoute, ...]


class RouteTable:
    """A table of routes that `watch` keeps current."""

    def __init__(self, control: Store, *, has_test_addresses: bool = False) -> None:
        """Begin without routes; `has_test_addresses`: `<deployment>.localhost` is answered too."""
        self.routes = HttpRoutes()
        self.is_known = False
        """Whether the routes were read: before, no request can be said to have none."""
        self._control = control
        self._test_suffix = TEST_SUFFIX if has_test_addresses else None
        self._claims: dict[str, _Claim] = {}
        self._conflicts: frozenset[Conflict] = frozenset()

    async def watch(self) -> None:
        """Keep the table current until cancelled."""
        is_told = True
        while True:
            try:
                async with self._control.watch(DESIRED) as entries:
                    read: dict[str, _Claim] = {}  # until all that stands has come
                    is_reading = True
                    async for entry in entries:
                        if isinstance(entry, Entry):
                            claims = read if is_reading else dict(self._claims)
                            self._take(claims, entry)
                            if not is_reading:
                                self._use(claims)
                        else:
                            is_reading = False
                            self._use(read)
                            self.is_known, is_told = True, True
            except LatticeError as exc:
                if is_told:
                    log.warning("routes of deployments are not told, trying again: %s", exc)
                is_told = False  # once is enough
            await anyio.sleep(WATCH_RETRY_S)

    def _take(self, claims: dict[str, _Claim], entry: Entry) -> None:
        """Change the claim of one deployment; one that cannot be read keeps what it has."""
        if entry.key == RESTORE:
            return
        name = entry.key.removeprefix(f"{DESIRED}.")
        if entry.value is None:
            claims.pop(name, None)
            return
        claim: _Claim | None
        try:
            claim = _claim(name, entry.value)
        except (DecodeError, InvalidError) as exc:
            log.warning("routes of %s cannot be read, it keeps those it has: %s", name, exc)
            claim = self._claims.get(name)
        if claim is not None and claim.routes:
            claims[name] = claim
        else:
            claims.pop(name, None)

    def _use(self, claims: Mapping[str, _Claim]) -> None:
        if claims == self._claims:
            return
        self._claims = dict(claims)
        by_age = sorted(claims.values(), key=lambda claim: claim.age)
        self.routes, conflicts = settled(
            (route for claim in by_age for route in claim.routes), test_suffix=self._test_suffix
        )
        for conflict in conflicts:
            if conflict not in self._conflicts:
                log.warning("%s; the older one answers", conflict)
        self._conflicts = frozenset(conflicts)
        log.info("routes: %d of %d deployments", len(self.routes.routes), len(claims))


def _claim(name: str, value: bytes) -> _Claim:
    """Return what a record asks for.

    Raises:
        DecodeError: it is no record.
        InvalidError: its routes are none; nothing else of the manifest is looked at.
    """
    record = decode_as(DeploymentRecord, value)
    addresses = http_addresses(record.manifest)
    return _Claim((record.since, name), routes_of(DeploymentName(name), addresses))
