"""What the connections of one server share, and what the server counts of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hosts.http.accesslog import Served
from hosts.http.answers import DateLine
from hosts.http.base import Handler
from hosts.http.limits import Limits
from hosts.http.outbox import Outbox
from lattice.clock import Clock

if TYPE_CHECKING:
    from hosts.http.protocol import Connection


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """What the connections of one server share, and what it counts."""

    handler: Handler
    limits: Limits
    clock: Clock
    start: Callable[[Connection], None]  # runs a connection in the server's task group
    is_dev: bool = False
    is_traced: bool = False
    is_draining: bool = False
    on_served: Callable[[Served], None] | None = None
    on_empty: Callable[[], None] | None = None  # the last connection closed
    connections: set[Connection] = field(default_factory=set["Connection"])
    in_flight: int = 0
    date: DateLine = field(default_factory=DateLine)
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.clock.monotonic_s)
