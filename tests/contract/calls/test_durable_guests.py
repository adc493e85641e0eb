"""`lattice:jobs/jobs`: guests submit jobs without waiting; equal calls of one job stay apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wasmtime import wat2wasm

from hosts.durable_guests import INTERFACE
from lattice.bus.base import Connection
from lattice.client.asking import Asker
from lattice.client.jobs import Jobs
from lattice.errors import GuestTrapError
from lattice.model.durable import NO_KEY
from lattice.testing import eventually
from lattice.wire.durable import StoredJob
from lattice.wire.subjects import Names
from tests.contract.calls.conftest import Calling
from tests.guests import components

pytestmark = pytest.mark.wasm

SUBMITTER = "test:jobs/submitter@0.1.0"
COUNTER = "test:counter/counter@0.1.0"
ADD = "test:math/add@0.1.0#add"


@pytest.fixture
def jobs(client: Connection) -> Jobs:
    return Jobs(Asker(client), client.jobs, "tester")


async def submitter_in(calling: Calling, **config: str) -> str:
    binding = {"interface": INTERFACE, "config": config}
    return await calling.deploy("submitter", components.submitter(), bindings=[binding])


async def asked(calling: Calling, submitter: str, function: str, *args: Any) -> Any:
    reply = await calling.ask(submitter, SUBMITTER, function, *args)
    assert reply.err is None, reply.err
    return (reply.ok or [None])[0]


async def store(jobs: Jobs, deployment: str, job_id: str, op: str, *args: Any) -> None:
    """Store a job of a function whose type the scheduler's stand-in does not tell."""
    job = StoredJob(op=op, args=list(args), attempts_max=3, pause_ms=10, pause_max_ms=10)
    assert await jobs.kept.store(deployment, job_id, NO_KEY, job, as_json=False)


async def test_a_guest_submits_a_job_and_fetches_its_result(calling: Calling) -> None:
    to = await calling.deploy("add", components.add())
    submitter = await submitter_in(calling, allow=to)
    kind, job = await asked(calling, submitter, "submit", to, ADD, "[40, 2]")
    assert (kind, job.partition("/")[0]) == ("ok", to)
    assert await asked(calling, submitter, "result", job, 20_000) == ["ok", "42"]
    again = await asked(calling, submitter, "twice", to, ADD, "[40, 2]")
    assert again[0] == "ok"
    assert again[1] != job


async def test_what_a_guest_may_not_submit_is_told(calling: Calling) -> None:
    submitter = await submitter_in(calling, allow="tenant-*")
    wrong = {
        ("elsewhere", ADD, "[1, 2]"): "may not be given jobs",
        ("No Name", ADD, "[1, 2]"): "No Name",
        ("tenant-1", "add", "[1, 2]"): "is no function",
        ("tenant-1", ADD, "{"): "no JSON",
    }
    for asking, message in wrong.items():
        kind, told = await asked(calling, submitter, "submit", *asking)
        assert (kind, message in told) == ("err", True), told
    kind, told = await asked(calling, submitter, "result", "tenant-1/none", 0)
    assert kind == "err"
    kind, job = await asked(calling, submitter, "submit", "tenant-1", ADD, "[1, 2]")
    assert kind == "ok"
    kind, told = await asked(calling, submitter, "result", job, 100)
    assert (kind, "is queued" in told) == ("err", True)


async def test_a_job_that_submits_and_is_tried_again_submits_once(
    calling: Calling, jobs: Jobs, client: Connection, names: Names
) -> None:
    to = await calling.deploy("add", components.add())
    submitter = await submitter_in(calling, allow=to)
    await store(jobs, submitter, "a", f"{SUBMITTER}#twice-and-trap", to, ADD, json.dumps([1, 2]))
    with pytest.raises(GuestTrapError):
        await jobs.result(f"{submitter}/a")
    assert (await jobs.status(f"{submitter}/a")).attempts == 3

    async def have_ended() -> bool:
        return len(await jobs.list(to, states=["done"])) == 2

    await eventually(have_ended, what="both jobs of the guest ran")
    assert len(await jobs.list(to)) == 2


TWICE = f"""
(component
  (import "{COUNTER}" (instance $counter (export "next" (func (result u64)))))
  (core func $next (canon lower (func $counter "next")))
  (core module $code
    (import "counter" "next" (func $next (result i64)))
    (func (export "run") (result i64)
      (i64.add (i64.mul (call $next) (i64.const 10)) (call $next))))
  (core instance $main
    (instantiate $code (with "counter" (instance (export "next" (func $next))))))
  (func $run (result u64) (canon lift (core func $main "run")))
  (export "run" (func $run)))
"""


async def test_equal_calls_of_one_job_by_a_durable_link_are_two_jobs(
    calling: Calling, jobs: Jobs
) -> None:
    to = calling.name("counter")
    await calling.submit(to, {"a-service": components.counter()})
    await calling.take(to)
    link = {"import": COUNTER, "to": to, "route": "durable"}
    front = await calling.deploy("front", bytes(wat2wasm(TWICE)), links=[link])
    await store(jobs, front, "a", "#run")
    assert await jobs.result(f"{front}/a") == 12
