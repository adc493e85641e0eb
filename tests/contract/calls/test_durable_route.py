"""What is the durable route's own: its calls outlive their callers. Their values and errors are
those of the other routes, see test_routes.py.
"""

from __future__ import annotations

import pytest
from wasmtime import wat2wasm

from lattice.client.jobviews import view_of
from lattice.testing import eventually
from tests.contract.calls.conftest import Calling
from tests.contract.calls.test_routes import ASK, ASKS, RUN

pytestmark = pytest.mark.wasm


async def test_who_waits_until_the_deadline_gets_the_id_of_the_job(calling: Calling) -> None:
    to = calling.name("nobody")
    link = {"import": RUN, "to": to, "route": "durable", "timeout": "300ms"}
    front = await calling.deploy("front", bytes(wat2wasm(ASKS)), links=[link])
    err = (await calling.ask(front, ASK, "ask")).err or {}
    assert err["kind"] == "deadline"
    job = err["details"]["job"]
    assert job.startswith(f"{to}/")

    async def is_stored() -> bool:
        pattern = calling.names.job("*", to, "*", job.partition("/")[2])
        found = await calling.client.jobs.newest(pattern)
        return found is not None and view_of(found, calling.names).state == "queued"

    await eventually(is_stored)
