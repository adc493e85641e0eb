"""A claim on an idle instance for one call of another guest of the same replica."""

from __future__ import annotations

from collections.abc import Callable

from hosts.engine.base import Instance


class CallLease:
    """One call that may begin at once; see `hosts.engine.base.Lease`."""

    __slots__ = ("deadline_s", "function", "instance", "interface", "release")

    def __init__(
        self,
        instance: Instance,
        interface: str,
        function: str,
        deadline_s: float,
        release: Callable[[], None],
    ) -> None:
        # A plain class: a frozen dataclass takes five times as long to make, once for each call.
        self.instance = instance
        self.interface = interface
        self.function = function
        self.deadline_s = deadline_s
        self.release = release
