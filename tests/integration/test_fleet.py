"""A small fleet over a cluster of nats-servers, as the bench runs a large one."""

from __future__ import annotations

import pytest

from bench import fleet

pytestmark = [pytest.mark.nats, pytest.mark.e2e, pytest.mark.slow]


async def test_a_fleet_adopts_everything_and_restarts_of_schedulers_move_nothing(monkeypatch):
    monkeypatch.setattr(fleet, "SETTLE_S", 2.0)
    async with fleet.fleet_up(24, 2) as small:
        assert await small.adopted_s(2400) < fleet.ADOPTED_S
        assert await small.moves_by_restarts() == 0
