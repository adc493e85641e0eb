"""The way in to a lattice for programs: `async with lattice.connect() as l: ...`.

This package only asks and reads. What is decided is decided by the scheduler and the hosts; no
module here writes to a store.
"""

from __future__ import annotations

from lattice.client.calling import CallResult
from lattice.client.deploying import Applied, Upload
from lattice.client.differences import Difference
from lattice.client.jobviews import JobView, Submitted
from lattice.client.session import LatticeClient, connect
from lattice.client.views import (
    DeploymentView,
    Description,
    Generations,
    GenerationView,
    HostView,
    ReplicaList,
    ReplicaView,
    Status,
    UnplacedView,
    Upkeep,
)
from lattice.model.durable import Retry
from lattice.wire.requests import LogLine

__all__ = [
    "Applied",
    "CallResult",
    "DeploymentView",
    "Description",
    "Difference",
    "GenerationView",
    "Generations",
    "HostView",
    "JobView",
    "LatticeClient",
    "LogLine",
    "ReplicaList",
    "ReplicaView",
    "Retry",
    "Status",
    "Submitted",
    "UnplacedView",
    "Upkeep",
    "Upload",
    "connect",
]
