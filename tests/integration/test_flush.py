"""A flush that was given up must not cost the connection its hearing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from lattice.testing import connect_as, eventually

pytestmark = pytest.mark.nats


def is_stopped(pid: int) -> bool:
    """Tell whether every thread of a process stands still (proc(5), the third field of stat)."""
    states = [
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) == {"T"}


async def test_a_flush_given_up_while_the_broker_stood_still_leaves_the_connection_alive(
    fresh_nats,
):
    async with connect_as(fresh_nats, "operator") as connection:
        os.kill(fresh_nats.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: is_stopped(fresh_nats.pid))
            with anyio.move_on_after(0.05) as gave_up:
                await connection.bus.flush()
        finally:
            os.kill(fresh_nats.pid, signal.SIGCONT)
        assert gave_up.cancelled_caught
        assert await connection.control.get("nothing") is None
        assert connection.bus.state == "connected"
