"""Leases for tests: on one instance, counting how they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hosts.engine.base import Forward, Instance

DEADLINE_S = 10.0


@dataclass(slots=True)
class CountedLease:
    """A lease on an instance; `released` says how often its owner was told that it is over."""

    instance: Instance
    interface: str
    function: str
    deadline_s: float
    released: int = 0

    def release(self) -> None:
        self.released += 1


@dataclass(slots=True)
class To:
    """Forwards all calls to one instance, at once with `is_claimed`, else by way of `call`."""

    instance: Instance
    is_claimed: bool
    deadline_s: float = DEADLINE_S
    interface: str = ""  # the same as imported when empty
    leases: list[CountedLease] = field(default_factory=list[CountedLease])
    asked: list[Sequence[Any]] = field(default_factory=list[Sequence[Any]])  # by way of `call`

    def forward(self) -> Forward:
        return Forward(self._call, self._claim if self.is_claimed else None)

    def _claim(self, interface: str, function: str) -> CountedLease:
        lease = CountedLease(self.instance, self.interface or interface, function, self.deadline_s)
        self.leases.append(lease)
        return lease

    async def _call(self, interface: str, function: str, args: Sequence[Any]) -> Any:
        self.asked.append(args)
        return await self.instance.call(
            self.interface or interface, function, args, deadline_s=self.deadline_s
        )
