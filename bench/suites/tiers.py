"""Baseline code first: how soon a large component answers that this machine never saw."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.case import Case
from bench.suites.engine_instances import first_call, python_guest
from hosts.engine.base import Part
from hosts.engine.tiers import HAS_BASELINE

CASES = ("first_answer_python_guest",)


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases."""
    with TemporaryDirectory() as folder:
        made = (_first_answer(Path(folder), python_guest()),)
        yield [case for case in made if case.name in wanted]


def _first_answer(folder: Path, guest: Part) -> Case:
    empty = folder / "unknown"

    async def measured(has_baseline: bool) -> float:
        shutil.rmtree(empty, ignore_errors=True)
        return await first_call(empty, guest, has_baseline=has_baseline)

    return Case(
        name="first_answer_python_guest",
        what="a componentize-py guest of 18 MB that this machine never saw, until its first answer",
        ours=lambda: measured(HAS_BASELINE),
        peer=lambda: measured(has_baseline=False),
        peer_name="the same without a baseline tier",
        unit="ms",
        is_clocked=True,
        warm_up=0,
        repetitions=5,
    )
