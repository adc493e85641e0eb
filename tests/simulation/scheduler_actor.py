"""A simulated scheduler: the production cores, with the world in place of clock and NATS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lattice.bus.base import batch_revisions
from lattice.errors import ConflictError
from lattice.model.host import Report
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import DeploymentStatus
from scheduler import delivery, election, reconciler, records
from scheduler.announcements import Emit
from scheduler.election import Election
from scheduler.generations import Wanted
from scheduler.placement.model import Counts
from scheduler.probing import Hinted, Probe, Probed
from scheduler.reconciler import Reconciler
from tests.simulation.pacing import Pace
from tests.simulation.world import KV, Presence, World


class SchedulerActor:
    """A scheduler: `Election`, and a `Reconciler` for each term."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.boots = 0
        self.crash()

    def new_election(self) -> Election:
        return Election(f"{self.name}-{self.boots}", f"incarnation-{self.name}", self.world.profile)

    def new_reconciler(self, lead: election.Lead) -> Reconciler:
        return Reconciler(
            epoch=lead.epoch, incarnation=lead.incarnation, profile=self.world.profile,
            now_s=self.world.clock(self.name), lease_until_s=self.election.lease_until_s,
        )  # fmt: skip

    def crash(self) -> None:
        self.election = self.new_election()
        self.term: Reconciler | None = None
        self.cursor = 0
        self.observed: dict[str, reconciler.Event] = {}
        self.hosts = 0  # whose inventory it knows

    def boot(self) -> None:
        self.boots += 1
        self.crash()
        self.tick()

    def tick(self) -> None:
        self.notice()
        self.elect(election.Ticked())
        if self.term is not None:
            self.decide(self.term, reconciler.Ticked())
        self.world.timer(self.name, self.world.profile.tick_s, self.tick)

    def elect(self, event: election.Event) -> None:
        for command in self.election.handle(self.world.clock(self.name), event):
            self.carry_out(command)
        if self.term is not None:
            until_s = self.election.lease_until_s
            self.decide(self.term, reconciler.LeaseExtended(until_s=until_s))

    def carry_out(self, command: election.Command) -> None:
        match command:
            case election.ReadLease():
                self.ask(lambda kv: (kv.get("leader"), kv.get("term")), self.lease_read)
            case election.Acquire():
                writes = [
                    ("leader", command.lease, command.lease_expect),
                    ("term", command.term, command.term_expect),
                ]
                acquired = lambda epoch: election.Acquired(  # noqa: E731 - a shape, not a function
                    epoch=epoch, incarnation=command.term.incarnation, asked_s=command.asked_s
                )
                self.ask(lambda kv: kv.put(writes), acquired)
            case election.Renew():
                renewed = lambda revision: election.Renewed(  # noqa: E731 - as above
                    revision=revision, asked_s=command.asked_s
                )
                self.ask(lambda kv: kv.put([("leader", command.lease, command.expect)]), renewed)
            case election.Lead():
                self.term = self.new_reconciler(command)
                self.pace = Pace()
                for event in list(self.observed.values()):
                    self.decide(self.term, event)
            case election.Follow():
                self.term = None

    def ask(self, operation: Callable[[KV], Any], event: Callable[[Any], election.Event]) -> None:
        def done(result: Any) -> None:
            is_known = result is not None and not isinstance(result, Exception)
            self.elect(event(result) if is_known else election.Failed(reason=str(result)))

        self.world.request(self.name, operation, done)

    @staticmethod
    def lease_read(result: Any) -> election.Event:
        (lease, revision), (term, term_revision) = result
        return election.LeaseRead(
            lease=lease, revision=revision, term=term, term_revision=term_revision
        )

    def decide(self, term: Reconciler, event: reconciler.Event) -> None:
        is_tick = isinstance(event, reconciler.Ticked)
        before, listed = term.state, _listed(term) if is_tick else {}
        commands = term.handle(self.world.clock(self.name), event)
        if term.state is not before:
            self.world.planned(listed, term.state, term.wanted.values())
        pace = self.pace
        for command in commands:
            match command:
                case reconciler.Acknowledge(ack=ack):
                    assert isinstance(event, reconciler.Reported)
                    self.world.send(self.name, event.report.host, ack)
                case reconciler.Refuse(host=host):
                    self.world.send(self.name, host, command)
                case Emit():
                    pace.emitted(self.world.clock(self.name), command)
                    self.world.told(f"{term.epoch}", command)
                case Probe():
                    self.probe(term, command)
                case records.ReadRecords() | records.KeepRecord():
                    self.keep(term, command)
                case records.Revert():
                    self.revert(command)
                case records.DeleteEnded():
                    self.world.errors.append(f"{command.name} is deleted long before its time")
                case _:
                    if is_tick and isinstance(command, delivery.WriteTarget):
                        known = term.delivery.documents[command.host].items
                        items = tuple(command.target.items)
                        pace.started(self.world.clock(self.name), known, items)
                    self.deliver(term, command)
        self.world.errors.extend(pace.look(self.world.clock(self.name), self.hosts))

    def revert(self, asked: records.Revert) -> None:
        """Desire a generation of before again, if what was judged still stands."""

        def operation(kv: KV) -> int:
            current, revision = kv.get(f"desired.{asked.name}")
            earlier, _ = kv.get(f"history.{asked.name}.{asked.to}")
            if revision != asked.revision:
                raise ConflictError("something else is desired meanwhile")
            wanted = replace(
                earlier, replicas=current.replicas, reverted=asked.given_up, reason=asked.reason
            )
            writes = [(f"desired.{asked.name}", wanted, revision)]
            return kv.put(writes, ("term", asked.epoch))

        self.world.request(self.name, operation, lambda result: None)

    def probe(self, term: Reconciler, asked: Probe) -> None:
        """Ask a host: nobody listens for one that is down or just reconnects, and one that stands
        still or is cut off does not answer."""
        world, host = self.world, asked.host

        def ask() -> None:
            said = world.presence(host)
            delay_s = 1.0 if said == "unknown" else world.delay_s()
            world.timer(self.name, delay_s, lambda: told(said))

        def told(said: Presence) -> None:
            if self.term is term:
                self.decide(term, Probed(host=host, ticket=asked.ticket, outcome=said))

        world.timer(self.name, asked.after_s, ask)

    def hear(self, host: str) -> None:
        """NATS tells that a connection ended."""
        if self.term is not None:
            self.decide(self.term, Hinted(host=HostId(host), reason="it was disconnected"))

    def keep(self, term: Reconciler, command: records.ReadRecords | records.KeepRecord) -> None:
        def done(result: Any) -> None:
            is_known = result is not None and not isinstance(result, Exception)
            told = records.unknown(command)
            if isinstance(command, records.KeepRecord):
                told = records.RecordKept(asked=command, is_kept=is_known)
            elif is_known:
                told = records.RecordsRead(statuses=result[0], routes=result[1])
            if self.term is term and told is not None:
                self.decide(term, told)

        if isinstance(command, records.KeepRecord):
            family = "status" if command.kind is DeploymentStatus else "route"
            key, fence = f"{family}.{command.name}", ("term", command.epoch)

            def read(result: Any) -> None:
                if not isinstance(result, tuple):
                    done(None)
                    return
                writes = [(key, command.value, result[1])]
                self.world.request(self.name, lambda kv: kv.put(writes, fence), done)

            self.world.request(self.name, lambda kv: kv.get(key), read)
        else:
            self.world.request(
                self.name, lambda kv: (kept(kv, "status."), kept(kv, "route.")), done
            )

    def fence(self, command: delivery.WriteTarget | delivery.SealTargets) -> tuple[str, int] | None:
        return ("term", command.epoch)

    def deliver(self, term: Reconciler, command: delivery.Command) -> None:
        def done(result: Any) -> None:
            if self.term is term:
                self.decide(term, outcome(command, result))

        match command:
            case delivery.ReadTargets():
                operation: Callable[[KV], Any] = lambda kv: {  # noqa: E731 - one of three
                    key: value for key, value in kv.values.items() if key.startswith("target.")
                }
            case delivery.ReadTarget(host=host):
                operation = lambda kv: kv.get(f"target.{host}")  # noqa: E731 - one of three
            case delivery.SealTargets():
                batch = [(f"target.{w.host}", w.target, w.expect) for w in command.writes]
                term_fence = self.fence(command)
                operation = lambda kv: kv.put(batch, term_fence)  # noqa: E731 - one of four
            case delivery.WriteTarget():
                writes = [(f"target.{command.host}", command.target, command.expect)]
                fence = self.fence(command)
                operation = lambda kv: kv.put(writes, fence)  # noqa: E731 - one of three
        self.world.request(self.name, operation, done)

    def watches(self, keys: set[str]) -> bool:
        return any(key.startswith(("desired.", "hosts.")) for key in keys)

    def notice(self) -> None:
        """Follow the bucket in order from where this watch stood; nothing is ever missed."""
        news, self.cursor = self.world.kv.log[self.cursor :], len(self.world.kv.log)
        for revision, key, value in news:
            family, _, name = key.partition(".")
            event: reconciler.Event
            if family == "desired":
                wanted: Wanted | None = value
                event = reconciler.DesiredRead(
                    name=DeploymentName(name), wanted=wanted, revision=revision
                )
            elif family == "hosts":
                event = reconciler.InventoryRead(host=HostId(name), inventory=value)
            else:
                continue
            self.hosts += family == "hosts" and key not in self.observed
            self.observed[key] = event
            if self.term is not None:
                self.decide(self.term, event)

    def receive(self, message: object) -> None:
        if self.term is None:
            return
        if isinstance(message, Report):
            self.decide(self.term, reconciler.Reported(report=message))
        elif isinstance(message, reconciler.Woken):
            self.decide(self.term, message)


def _listed(term: Reconciler) -> Counts:
    """Return what targets list at most."""
    ledger = term.decider.ledger
    return {host: dict(ledger.listed(host)) for host in term.membership.members()}


def kept(kv: KV, prefix: str) -> tuple[Any, ...]:
    """Return what stands in a family of keys."""
    return tuple(v for key, (v, _) in kv.values.items() if key.startswith(prefix) and v is not None)


def outcome(command: delivery.Command, result: Any) -> delivery.Outcome:
    """Return the event that the result of a request to the bucket is for the core."""
    is_known = result is not None and not isinstance(result, Exception)
    match command:
        case delivery.ReadTargets():
            if not is_known:
                return delivery.TargetsUnread()
            return delivery.TargetsRead(
                documents=tuple(document(key.partition(".")[2], result[key]) for key in result)
            )
        case delivery.SealTargets(writes=writes):
            if not is_known:
                return delivery.TargetsUnsealed(writes=writes)
            revisions = tuple(batch_revisions(result, len(writes)))
            return delivery.TargetsSealed(writes=writes, revisions=revisions)
        case delivery.ReadTarget(host=host, ticket=ticket) if is_known:
            return delivery.TargetRead(ticket=ticket, document=document(host, result))
        case delivery.WriteTarget(host=host, ticket=ticket) if is_known:
            return delivery.TargetWritten(host=host, ticket=ticket, revision=result)
        case _:
            return delivery.TargetUnknown(host=command.host, ticket=command.ticket)


def document(host: str, found: tuple[Any, int]) -> delivery.Document:
    target, revision = found
    items = tuple(target.items) if target is not None else ()
    return delivery.Document(host=HostId(host), items=items, revision=revision)
