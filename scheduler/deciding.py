"""From what changed to a plan, and from the plan to targets; a core, one for each term.

Only hosts and deployments about which something changed are looked at. What a plan adds is let
through at a pace, and a strict singleton only when nobody else may run it. It neither judges
reports nor writes: `scheduler.reconciler` feeds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lattice.model.host import Inventory, Report
from lattice.model.ids import DeploymentName, HostId
from scheduler import delivery, records
from scheduler.announcements import Emit
from scheduler.around import Around
from scheduler.delivery import Delivery
from scheduler.emptying import hosts_to_leave, is_emptied, patience_s, silent_for
from scheduler.flapping import tolerant
from scheduler.generations import Wanted
from scheduler.itemizing import Items, granted, item_of, key_of
from scheduler.ledger import Ledger
from scheduler.membership import Membership
from scheduler.pacing import Brake
from scheduler.placement.filters import CAPACITY_KINDS
from scheduler.placement.model import Candidate, Changes, Demand, Key, Plan, Unplaced
from scheduler.placement.plan import State, plan
from scheduler.profile import Profile
from scheduler.proposing import Proposer
from scheduler.rebalancing import Rebalancing
from scheduler.singletons import Singletons
from scheduler.wishes import Standing, Wish, Wishes, Woken

Command = delivery.Command | records.Command | Emit


class Decider:
    """Plans of one term. Time goes in with each call."""

    def __init__(self, *, epoch: int, incarnation: str, profile: Profile, now_s: float) -> None:
        self.wishes = Wishes(epoch)
        self.ledger = Ledger()
        self.brake = Brake()
        self.singletons = Singletons(profile, incarnation, now_s=now_s)
        self.rebalancing = Rebalancing(profile)
        self.unplaced: Mapping[Key, Unplaced] = {}
        self._profile = profile
        self._state = State.empty()
        self._made: Plan | None = None
        self._hosts: set[HostId] = set()  # whose candidate may have changed
        self._names: set[DeploymentName] = set()  # whose demands may have changed
        self._stale: set[HostId] = set()  # whose target is not what the last plan said
        self._possible: dict[HostId, list[delivery.Items]] = {}  # what a document may hold
        self._demands: dict[DeploymentName, tuple[Demand, ...]] = {}
        self._by_key: dict[Key, Demand] = {}  # the same
        self._items = Items(self.wishes, epoch)
        self._proposer = Proposer(
            self.wishes, self.ledger, self._items, self.brake, self.singletons
        )
        self._wakes: dict[DeploymentName, float] = {}
        self._silent: dict[DeploymentName, frozenset[HostId]] = {}
        self._emptied: set[HostId] = set()
        self._strict: set[DeploymentName] = set()  # that are or were singletons
        self._gone: set[HostId] = set()  # that left before the last plan
        self._is_due = True
        self._again_s: float | None = None  # when what was held back is looked at again

    # --- what changed ---------------------------------------------------------------------

    def desired(self, name: DeploymentName, wanted: Wanted | None, revision: int) -> None:
        """Take a deployment's record in; None for one that cannot be read."""
        self._note(name)
        self.wishes.desired(name, wanted, revision)
        if wanted is None:
            return
        if wanted.is_singleton:
            self._strict.add(name)
        loads = wanted.scale is not None or wanted.update.strategy == "canary"
        self.ledger.watch(name, loads=loads, ready_min_s=wanted.update.ready_min_s)

    def deleted(self, name: DeploymentName) -> None:
        """Note that a deployment is desired no more."""
        self._note(name)
        self.rebalancing.forget(name)
        self.wishes.deleted(name)

    def host_changed(self, host: HostId, inventory: Inventory | None) -> None:
        """Note that a host's facts or its state may be others."""
        self._hosts.add(host)
        self._is_due = True
        if inventory is not None and is_emptied(inventory):
            self._emptied.add(host)
        else:
            self._emptied.discard(host)
        self._names |= {name for name, _ in self.ledger.listed(host)}

    def reported(
        self, now_s: float, host: HostId, report: Report | None, *, is_same: bool = False
    ) -> None:
        """Take a host's report in, None for a host that is given up; `is_same` when its replicas
        are as in the report before."""
        if report is not None:
            self.singletons.reported(report)
        names = self.ledger.report(now_s, host, report, is_same=is_same)
        self._names |= names
        self._is_due |= bool(names)

    def look_at(self, name: DeploymentName) -> None:
        """Note that a deployment's replicas failed somewhere, or that its records are kept."""
        self._note(name)

    def written(self, host: HostId, sent: Delivery, changed: delivery.Changed | None) -> None:
        """Take in what became of a request about a host's target."""
        self._is_due = True
        self._synced(host, sent)
        if changed is not None and self._strict:
            before = {i.deployment for i in changed.before}
            after = {i.deployment for i in changed.after}
            for name in sorted(self._strict & before - after):
                self.singletons.withdrawn(name, host, changed.revision)
            for name in self._strict & after:
                self.singletons.listed(name, host)

    def _synced(self, host: HostId, sent: Delivery) -> None:
        expected = sent.expected_items(host)
        if sent.is_busy(host):
            # A write whose outcome is unknown may take place until a later one is confirmed.
            known = self._possible.setdefault(host, [])
            document = sent.documents.get(host)
            for items in (expected, document.items if document is not None else expected):
                if items not in known:
                    known.append(items)
        else:
            self._possible.pop(host, None)
        self._names |= self.ledger.target(host, self._possible.get(host, [expected]))
        self._hosts.add(host)
        counts = self._made.assignments.get(host, {}) if self._made is not None else {}
        grants = self._made.grants.get(host, {}) if self._made is not None else {}
        actual = self._items.actual(host, sent)
        held = granted(item for item in sent.expected_items(host) if key_of(item) in actual)
        if actual != dict(counts) or held != grants:
            self._stale.add(host)

    def ticked(
        self, now_s: float, membership: Membership
    ) -> tuple[tuple[DeploymentName, int, int], ...]:
        """Note what is due by time alone; return the deployments whose load gave them another
        number of replicas, with that number before and now."""
        due = {name for name, at_s in self._wakes.items() if now_s >= at_s}
        for name in due:
            del self._wakes[name]
        is_again = self._again_s is not None and now_s >= self._again_s
        self._names |= due
        scaled: list[tuple[DeploymentName, int, int]] = []
        for name in self.wishes.scaled():
            before, now = self.wishes.look(now_s, name, self.ledger)
            if before != now:
                scaled.append((name, before, now))
                self._names.add(name)
        for name, wanted in self.wishes.wanted.items():
            if wanted is not None and wanted.lost_after_s is not None:
                silent = silent_for(
                    now_s, wanted, self._profile, self.ledger.places(wanted.key), membership
                )
                if silent != self._silent.get(name, frozenset()):
                    self._silent[name] = silent
                    self._note(name)
        self._is_due |= bool(due or scaled) or is_again or self.rebalancing.is_due(now_s)
        return tuple(scaled)

    def wakes(self, name: DeploymentName) -> tuple[bool, bool]:
        """Tell whether there will be a replica of a deployment, and whether one is ready."""
        keys = [(name, generation) for generation in self.ledger.generations(name)]
        wanted = self.wishes.wanted.get(name)
        is_asked = any(demand.count for demand in self._demands.get(name, ()))
        will_be = wanted is not None and not wanted.is_paused and self.wishes.is_awake(wanted)
        return will_be or is_asked or bool(keys), any(self.ledger.ready(key) for key in keys)

    def told(self, now_s: float, outcome: Woken | records.Outcome) -> None:
        """Take in what became of a status or a route, or that a call waits for a replica."""
        if isinstance(outcome, Woken):
            if self.wishes.wake(now_s, outcome.name, self.ledger):
                self._note(outcome.name)
            return
        name = self.wishes.memory.handle(now_s, outcome)
        if isinstance(outcome, records.RecordsRead):
            self._names |= self.wishes.wanted.keys()
            self._is_due = True
        elif name is not None and (wanted := self.wishes.wanted.get(name)) and wanted.job:
            self._note(name)

    def records_due(self, now_s: float) -> tuple[records.Command, ...]:
        """Return which statuses and routes to read or write now."""
        return self.wishes.memory.due(now_s)

    @property
    def state(self) -> State:
        """Return what the last plan left behind."""
        return self._state

    @property
    def is_due(self) -> bool:
        """Tell whether a plan would find something new."""
        return self._is_due

    def _note(self, name: DeploymentName) -> None:
        self._names.add(name)
        self._is_due = True

    # --- plans ----------------------------------------------------------------------------

    def plan(self, now_s: float, at: Around) -> tuple[Command, ...]:
        """Return what to write and to tell now."""
        stopped = self.rebalancing.under_way.keys() if self.brake.is_on else ()
        names, self._names = sorted({*self._names, *stopped}), set()
        self._is_due = False
        fresh: dict[Key, Demand | None] = {}
        commands: list[Command] = []
        for name in names:
            wish = self._wish(now_s, name, at)
            fresh |= self._replaced(name, wish.demands)
            commands += wish.commands
            if (wanted := self.wishes.wanted.get(name)) is not None:
                revision = self.wishes.revision(name)
                commands += at.announcements.rollout(wanted, revision, wish)
        self._state, made = plan(self._state, self._changes(now_s, fresh, at))
        touched = set(made.changed)
        made = self._giving_way(now_s, at, made)
        self._made = made
        touched |= made.changed
        self.unplaced = {(u.deployment, u.generation): u for u in made.unplaced}
        if made.evictions:
            commands += at.announcements.preempted(made.evictions, at.membership.members())
        commands += self._propose(now_s, at, made, touched)
        commands += self._rebalance(now_s, at)
        return (
            *self.wishes.memory.due(now_s), *commands, *at.announcements.unplaced(made.unplaced)
        )  # fmt: skip

    def _wish(
        self, now_s: float, name: DeploymentName, at: Around, *, gives_way: bool = False
    ) -> Wish:
        wanted = self.wishes.wanted.get(name)
        leaving: frozenset[HostId] = frozenset()
        avoided: Mapping[HostId, str] = {}
        moving: Mapping[HostId, int] = {}
        retreats, bad_hosts = False, 0
        if wanted is not None:
            self._hold(now_s, wanted, at.membership)
            places = self.ledger.places(wanted.key)
            leaving = hosts_to_leave(wanted, self._emptied, places, at.membership)
            avoided = at.failures.avoided(now_s, wanted.key)
            bad_hosts = len(at.failures.failures(wanted.key))
            is_stopped = self.brake.is_on or bool(leaving & places)
            moving = self.rebalancing.leaving(now_s, wanted, self.ledger, is_stopped=is_stopped)
            if moving:
                self._wake(name, self.rebalancing.under_way[name].until_s)
            count = self.wishes.count(now_s, wanted, self.ledger)
            retreats = self.rebalancing.retreats(wanted, count, self.ledger)
        else:
            self._items.held.pop(name, None)
        wish = self.wishes.wish(
            now_s, name, self.ledger,
            Standing(
                item=lambda host, key: item_of(at.delivery, host, key), reports=at.reports,
                possible=lambda host: self._possible.get(host, ()),
                leaving=leaving, forced=self._silent.get(name, frozenset()),
                moving=moving, retreats=retreats,
                held=sum(self._items.held.get(name, {}).values()),
                avoided=avoided, bad_hosts=bad_hosts, gives_way=gives_way,
            ),
        )  # fmt: skip
        if wish.wake_s is not None:
            self._wake(name, wish.wake_s)
        if wish.progress is not None and wish.progress.phase == "canary":
            self._wake(name, now_s + self._profile.tick_s)  # its calls are no change of counts
        return wish

    def _wake(self, name: DeploymentName, at_s: float) -> None:
        self._wakes[name] = min(at_s, self._wakes.get(name, at_s))

    def _replaced(
        self, name: DeploymentName, demands: tuple[Demand, ...]
    ) -> dict[Key, Demand | None]:
        """Note a deployment's demands, and return those that are others than before."""
        before = {demand.key: demand for demand in self._demands.get(name, ())}
        after = {demand.key: demand for demand in demands}
        if demands:
            self._demands[name] = demands
        else:
            self._demands.pop(name, None)
        for key in before:
            del self._by_key[key]
        self._by_key |= after
        fresh: dict[Key, Demand | None] = dict.fromkeys(before.keys() - after.keys())
        fresh |= {key: demand for key, demand in after.items() if before.get(key) != demand}
        return fresh

    def _changes(self, now_s: float, fresh: Mapping[Key, Demand | None], at: Around) -> Changes:
        hosts, self._hosts = self._hosts, set()
        stale, self._stale = self._stale, set()
        candidates: dict[HostId, Candidate | None] = {}
        for host in sorted(hosts):
            member = at.membership.member(host)
            candidates[host] = at.candidate(host, member) if member is not None else None
        self._gone = {host for host, candidate in candidates.items() if candidate is None}
        self.rebalancing.noticed(now_s, self._state, candidates)
        return Changes(
            hosts=candidates,
            demands=fresh,
            assigned={host: self._items.actual(host, at.delivery) for host in sorted(stale)},
            grants={host: granted(at.delivery.expected_items(host)) for host in sorted(stale)},
        )

    def _giving_way(self, now_s: float, at: Around, made: Plan) -> Plan:
        """Plan once more with one old replica less where only that lets a new one in, and on hosts
        that are held off where there is room nowhere else."""
        stuck = {u.deployment for u in made.unplaced if self._is_stuck(u)}
        shut_out = {u.deployment for u in made.unplaced if at.is_flapping and "taint" in u.kinds}
        fresh: dict[Key, Demand | None] = {}
        before = {name: self._demands.get(name, ()) for name in sorted(stuck | shut_out)}
        for name, given in before.items():
            asked = given
            if name in stuck:
                asked = self._wish(now_s, name, at, gives_way=True).demands
            if name in shut_out:
                asked = tuple(replace(d, placement=tolerant(d.placement)) for d in asked)
            fresh |= self._replaced(name, asked)
        if not fresh:
            return made
        state, again = plan(self._state, Changes(demands=fresh))
        if _missing(again) < _missing(made):
            self._state = state
            return again
        for name, demands in before.items():
            self._replaced(name, demands)
        return made

    def _is_stuck(self, unplaced: Unplaced) -> bool:
        """Tell whether new replicas lack room that old ones of the deployment have, and none is on
        its way."""
        name = unplaced.deployment
        key = (name, unplaced.generation)
        wanted = self.wishes.wanted.get(name)
        if wanted is None or wanted.key != key or wanted.is_paused:
            return False
        if not CAPACITY_KINDS & set(unplaced.kinds):
            return False
        asked = sum(d.count for d in self._demands.get(name, ()) if d.key == key)
        is_on_its_way = asked - unplaced.count > self.ledger.ready(key)
        has_old = any(map(wanted.is_older, self.ledger.generations(name)))
        return has_old and not is_on_its_way

    def _propose(self, now_s: float, at: Around, made: Plan, touched: set[HostId]) -> list[Command]:
        gone = {host for host in self._gone if at.delivery.expected_items(host)}
        found = self._proposer.propose(now_s, at.delivery, made, touched | gone, self._by_key)
        commands: list[Command] = []
        for host, items, needs in found.proposals:
            commands += at.delivery.propose(host, items, needs)
            self._synced(host, at.delivery)
        is_again = found.is_held_back or self.brake.is_on
        self._again_s = now_s + self._profile.tick_s if is_again else None
        return [*([at.announcements.brake_released()] if found.is_released else []), *commands]

    def _rebalance(self, now_s: float, at: Around) -> list[Command]:
        """Begin moves to hosts that joined, if it is time; the next plan carries them out. Those
        whose room was taken meanwhile are given up."""
        for name in {name for name, _ in self.unplaced} & self.rebalancing.under_way.keys():
            self.rebalancing.give_up(name)
            self._note(name)
        moves = self.rebalancing.begin(
            now_s, self._state, self.wishes, self.ledger, is_stopped=self.brake.is_on
        )
        for move in moves:
            self._note(move.key[0])
        return [*at.announcements.moved(moves, at.membership.members())]

    # --- hosts of a deployment ------------------------------------------------------------

    def _hold(self, now_s: float, wanted: Wanted, membership: Membership) -> None:
        """Note what a deployment has on lost hosts that it does not give up yet."""
        before, held = self._items.held.get(wanted.name, {}), dict[HostId, int]()
        limit_s = patience_s(wanted, self._profile)
        if limit_s > self._profile.lost_after_s:
            for host in self.ledger.places(wanted.key):
                member = membership.member(host)
                silence_s = membership.silence_s(now_s, host)
                if member is not None and member.state == "lost" and silence_s <= limit_s:
                    held[host] = self.ledger.at(host, wanted.key)[0]
                    self._wake(wanted.name, now_s + limit_s - silence_s + self._profile.tick_s)
        if held:
            self._items.held[wanted.name] = held
        else:
            self._items.held.pop(wanted.name, None)
        self._stale |= {host for host in before | held if before.get(host) != held.get(host)}


def _missing(made: Plan) -> int:
    return sum(unplaced.count for unplaced in made.unplaced)
