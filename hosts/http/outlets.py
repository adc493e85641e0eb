"""How the instances of a workload get a way out for their requests over HTTP.

The place where other ways than the outside are added: what makes outlets may be wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hosts.engine.adapting import OUTGOING
from hosts.engine.fetches import Outlet
from hosts.http.destination import Log
from hosts.http.egress import Egress
from lattice.component.types import ComponentType
from lattice.model.network import HttpGrant
from lattice.model.wit import interface_key

MakeOutlet = Callable[[], Outlet]
"""Makes the outlet of one instance (`World.outlet`)."""


def sends_requests(component: ComponentType) -> bool:
    """Tell whether a component imports what requests over HTTP are sent with."""
    return interface_key(OUTGOING) in map(interface_key, component.imports)


def to_the_outside(egress: Egress, grants: Iterable[HttpGrant], log: Log) -> MakeOutlet:
    """Return what gives each instance of a program a way to whatever it is granted.

    The connections are those of the workload, and so is the log.
    """
    granted = tuple(grants)
    return lambda: egress.outlet(granted, log)
