"""`lattice scheduler`: one scheduler process, active or standby."""

from __future__ import annotations

import os
import platform
from functools import partial
from typing import Annotated, Literal
from uuid import uuid4

import anyio
from cyclopts import Parameter, validators

from lattice.cli.options import DEFAULT, Options, settings_of
from lattice.cli.output import print_json_line
from lattice.cli.process import log_to_stderr, run_until_stopped
from lattice.cli.tracing import exporting


async def scheduler_(
    *,
    copies: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=5))] = 1,
    profile: Literal["default", "fast"] = "default",
    ends_with_parent: Annotated[bool, Parameter(show=False)] = False,
    options: Options = DEFAULT,
) -> None:
    """Run one scheduler: active or standby.

    Of several schedulers of one lattice one is active, and another takes over when it ends. All
    of them answer requests for deployments. Ctrl-C or SIGTERM hands the lead over and ends.

    Parameters
    ----------
    copies
        On how many NATS servers streams and buckets are kept that do not exist yet: 1, 3 or 5.
    profile
        How soon what is silent counts as lost: after 6 seconds, or with `fast`, for one machine
        or one rack, after 1.5; all schedulers of a lattice get the same.
    ends_with_parent
        End when the standard input does.
    """
    from lattice.bus.connecting import connect
    from lattice.clock import SystemClock
    from scheduler.controller import run_scheduler
    from scheduler.profile import PROFILES

    log_to_stderr()
    settings = settings_of(options)
    identity = f"{platform.node() or 'scheduler'}-{os.getpid()}-{uuid4().hex[:8]}"

    async def work() -> None:
        async with (
            connect(
                settings, name=f"scheduler {identity}", creates_stores=True, replicas=copies
            ) as connection,
            anyio.create_task_group() as group,
        ):
            run = partial(
                run_scheduler,
                connection,
                identity=identity,
                clock=SystemClock(),
                profile=PROFILES[profile],
            )
            await group.start(run)
            if options.is_json:
                print_json_line({"scheduler": identity, "lattice": settings.lattice})
            else:
                print(f"scheduler {identity} serves lattice {settings.lattice}", flush=True)

    with exporting("lattice-scheduler"):
        await run_until_stopped(work, ends_with_parent=ends_with_parent)
