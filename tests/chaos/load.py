"""Calls that are made all the time, and counted, while something else goes on."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from lattice.client.session import LatticeClient
from lattice.errors import LatticeError

DEADLINE_S = 30.0


@dataclass
class Load:
    """What came of the calls."""

    client: LatticeClient
    deployment: str
    is_keyed: bool
    is_linked: bool = False  # greets, through a link, in place of adding
    answered: int = 0
    longest_s: float = 0.0
    longest_attempts: int = 1
    failures: Counter[str] = field(default_factory=Counter[str])
    by_host: Counter[str] = field(default_factory=Counter[str])
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def call(self) -> None:
        """Make one call, and count it."""
        number = next(self._numbers) % 1_000_000
        key = f"{self.deployment}-{number}" if self.is_keyed else None
        function: str
        args: list[Any]
        right: Any
        function, args, right = "add", [number, 2], number + 2
        if self.is_linked:
            function, args, right = "welcome", [f"{number}"], f"Hello, {number}!"
        began_s = time.monotonic()
        try:
            result = await self.client.call(
                self.deployment, function, args, deadline_s=DEADLINE_S, key=key, detail=True
            )
        except LatticeError as error:
            self.failures[f"{error.kind}: {error.message}"] += 1
            return
        if result.value != right:
            self.failures[f"wrong: {result.value}"] += 1
        self.answered += 1
        self.by_host[result.host] += 1
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        self.longest_attempts = max(self.longest_attempts, result.attempts)

    def __str__(self) -> str:
        return (
            f"{self.answered} answered, longest {self.longest_s:.2f} s, "
            f"at most {self.longest_attempts} attempts, failures {dict(self.failures)}"
        )


@asynccontextmanager
async def load(
    client: LatticeClient,
    deployment: str,
    *,
    callers: int,
    is_keyed: bool = False,
    is_linked: bool = False,
) -> AsyncIterator[Load]:
    """Yield the figures of so many callers that call one after the other while the context lasts;
    what they have begun at its end is finished."""
    made = Load(client, deployment, is_keyed, is_linked)
    is_over = False

    async def calls() -> None:
        while not is_over:
            await made.call()

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(calls)
        yield made
        is_over = True
