"""Answers requests in the asker's encoding: `api` and `lead` verbs, and the hosts' reports.

A body that cannot be read and a verb that does not exist are typed errors at once. What a verb
means is not known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from lattice.bus.base import Packet
from lattice.clock import Clock
from lattice.errors import ConflictError, DecodeError, DeniedError, InvalidError, NoRouteError
from lattice.model.host import Report
from lattice.model.ids import DeploymentName
from lattice.wire import codec
from lattice.wire.messages import HeartbeatAck
from lattice.wire.requests import Listing, OneDeployment, ReplicaListing
from lattice.wire.subjects import Names
from scheduler import states, views
from scheduler.assembling import Assembly
from scheduler.reconciler import Acknowledge, Reconciler, Refuse, Reported, Woken

Question = Mapping[str, Any]

Verb = Callable[[Question], Awaitable[Mapping[str, object]]]
"""Answers one question with the map under `ok`, or raises the error that is answered."""

Decide = Callable[[Reported], Acknowledge | Refuse | None]


async def answer(packet: Packet, verbs: Mapping[str, Verb]) -> bytes:
    """Return the body of the reply to a request whose subject ends with its verb.

    Raises:
        InvalidError: there is no such verb, or the body is not a map.
        LatticeError: what the verb raises.
    """
    as_json = codec.is_json(packet.headers)
    name = packet.subject.rpartition(".")[2]
    if (verb := verbs.get(name)) is None:
        raise InvalidError(f"there is no verb {name!r}, known are {', '.join(sorted(verbs))}")
    question = codec.decode(packet.body, as_json=as_json) if packet.body else {}
    if not isinstance(question, dict):
        raise DecodeError(f"the body of {name} is a {type(question).__name__}, expected a map")
    return codec.encode({"ok": await verb(question)}, as_json=as_json)


class ReportAnswers:
    """Answers heartbeats. A report counts only on its own host's subject, which the server guards
    with the host's permissions.
    """

    def __init__(self, names: Names, decide: Decide) -> None:
        self._names = names
        self._decide = decide
        self._assembly = Assembly()

    async def handle(self, packet: Packet) -> bytes:
        """Return the acknowledgement.

        Raises:
            DecodeError: the body is no report.
            DeniedError: it reports for another host than the subject's.
            ConflictError: another process reports as this host.
            NoRouteError: this scheduler leads no longer.
        """
        as_json = codec.is_json(packet.headers)
        if as_json:
            report = codec.decode_as(Report, packet.body, as_json=True)
        else:
            report = codec.decode_often(Report, packet.body)
        if self._names.heartbeat(report.host) != packet.subject:
            raise DeniedError(f"a report of host {report.host} came on {packet.subject}")
        adopted = report.adopted
        report, is_base_unknown = self._assembly.take(report)
        if not self._assembly.knows(report):
            # What it runs is not known, which is not the same as that it runs nothing. So nothing
            # is decided by it, and it gets no lease; the rest follows at once.
            ack = HeartbeatAck(
                sequence=report.sequence, required=adopted, is_base_unknown=is_base_unknown
            )
            return codec.encode({"ok": ack}, as_json=as_json)
        match self._decide(Reported(report=report)):
            case Acknowledge(ack=ack):
                ack = replace(ack, is_base_unknown=is_base_unknown)
                return codec.encode({"ok": ack}, as_json=as_json)
            case Refuse(reason=reason, is_leading=True):
                raise ConflictError(reason, host=report.host)
            case _:
                raise NoRouteError("this scheduler leads no longer")


def lead_verbs(
    core: Reconciler, clock: Clock, decide: Callable[[Woken], object]
) -> Mapping[str, Verb]:
    """Return the verbs that only the active scheduler answers; `decide` feeds its core."""

    async def hosts(question: Question) -> Mapping[str, object]:
        return views.hosts(core, clock.monotonic_s(), codec.convert(question, Listing))

    async def replicas(question: Question) -> Mapping[str, object]:
        return views.replicas(core, codec.convert(question, ReplicaListing))

    async def status(question: Question) -> Mapping[str, object]:
        return states.status(core, codec.convert(question, OneDeployment).name)

    async def wake(question: Question) -> Mapping[str, object]:
        name = DeploymentName(codec.convert(question, OneDeployment).name)
        decide(Woken(name=name))
        wakes, is_ready = core.decider.wakes(name)
        return {"wakes": wakes, "ready": is_ready}

    return {"wake": wake, "hosts": hosts, "replicas": replicas, "status": status}
