"""What the reconciler takes in and gives out. Values only; `scheduler.reconciler` decides.

Each command has exactly one outcome that comes back as an event, unless it says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from lattice.model.host import Inventory, Report
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import HeartbeatAck
from scheduler import delivery, records
from scheduler.announcements import Emit
from scheduler.collecting import DropGenerations, DropInventory, HistoryRead
from scheduler.generations import Wanted
from scheduler.memory import RestoreSeen
from scheduler.probing import Hinted, Probe, Probed
from scheduler.scaling import QueueSeen
from scheduler.wishes import Woken

# --- events ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed; plans are made at ticks only, so that changes that come together are one."""

    may_plan: bool = True  # else what is due waits for the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExtended:
    """The own leadership is certain until then."""

    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredRead:
    """A deployment's desired state; `wanted` is None when it was deleted.

    A record that `is_malformed` keeps whatever the deployment has.
    """

    name: DeploymentName
    wanted: Wanted | None
    revision: int
    is_malformed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryRead:
    """A host's facts; None when it left."""

    host: HostId
    inventory: Inventory | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A heartbeat: answered by exactly one `Acknowledge` or `Refuse`."""

    report: Report


Event = (
    Ticked
    | LeaseExtended
    | DesiredRead
    | InventoryRead
    | Reported
    | HistoryRead
    | RestoreSeen
    | Hinted
    | Probed
    | Woken
    | QueueSeen
    | records.Outcome
    | delivery.Outcome
)

# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """Answer the report."""

    ack: HeartbeatAck


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer the report with a conflict, or with "no route" when this scheduler does not lead."""

    host: HostId
    reason: str
    is_leading: bool = True


Command = (
    Acknowledge
    | Refuse
    | Emit
    | Probe
    | DropGenerations
    | DropInventory
    | records.Command
    | delivery.Command
)
