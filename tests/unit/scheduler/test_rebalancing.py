"""Moves to hosts that joined: only what gains enough, one ready before the other ends."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, cast

import pytest

from lattice.model.host import ReplicaReport, Revision
from lattice.model.ids import HostId
from lattice.model.labels import Selector
from lattice.model.scheduling import Daemon, Job, Preference, Spread, Update
from scheduler.explaining import explain
from scheduler.generations import Wanted
from scheduler.pacing import MASS_HOSTS_MIN
from scheduler.placement.model import Candidate, Changes, Demand, Key
from scheduler.placement.plan import plan
from scheduler.placement.rebalance import PRICE, Move, improved
from scheduler.placement.scores import ONE
from scheduler.placement.state import State
from scheduler.profile import DEFAULT
from scheduler.rebalancing import JOIN_HEARTBEATS, MOVES_MAX, PATIENCE_S, reason
from scheduler.reconciler import InventoryRead
from scheduler.rehearsing import rehearse
from tests.unit.scheduler.builders import candidate, demand, inventory, replica, wanted
from tests.unit.scheduler.term import APP, Term

JOIN_S = JOIN_HEARTBEATS * DEFAULT.heartbeat_s

# --- which moves gain enough ---------------------------------------------------------------------


def joined_state(demands: list[Demand], hosts: list[Candidate], new: list[Candidate]) -> State:
    """Return the state after `demands` were placed on `hosts` and then `new` joined."""
    state, _ = plan(
        State.empty(),
        Changes(hosts={h.id: h for h in hosts}, demands={d.key: d for d in demands}),
    )
    return plan(state, Changes(hosts={h.id: h for h in new}))[0]


def moves_of(state: State, *joined: str, moves_max: int = MOVES_MAX, at_a_time: int = 1
             ) -> tuple[Move, ...]:  # fmt: skip
    return improved(
        state, [HostId(each) for each in joined], lambda _: at_a_time, moves_max=moves_max
    ).moves


def after(state: State, move: Move) -> State:
    """Return the state after a move: one replica more is wanted until the old one leaves."""
    before = state.book.demand(state.book.numbers[move.key])
    listed = state.assignments[move.source][move.key]
    more = replace(before, count=before.count + 1, keep_max={move.source: listed})
    state, made = plan(state, Changes(demands={move.key: more}))
    assert not made.unplaced
    less = replace(before, keep_max={move.source: listed - 1})
    state, _ = plan(state, Changes(demands={move.key: less}))
    return plan(state, Changes(demands={move.key: before}))[0]


def test_replica_moves_to_a_host_that_joined_when_the_gain_beats_the_price() -> None:
    hosts = [candidate("a")]
    full = joined_state([demand(count=2, cpu_milli=1000)], hosts, [candidate("b")])
    (move,) = moves_of(full, "b")
    assert (move.source, move.target) == ("a", "b")
    assert move.gain.own == ONE
    assert move.gain.total > PRICE
    small = joined_state([demand(count=1, cpu_milli=100)], hosts, [candidate("b")])
    assert moves_of(small, "b") == ()


def test_price_is_what_a_gain_must_exceed() -> None:
    for cpu_milli, is_moved in ((300, False), (2200, True)):
        given = [demand("one", cpu_milli=300), demand("other", cpu_milli=cpu_milli)]
        state = joined_state(given, [candidate("a")], [candidate("b")])
        assert bool(moves_of(state, "b")) is is_moved


def test_nothing_moves_between_hosts_that_were_there_before() -> None:
    state = joined_state([demand(count=4, cpu_milli=1000)], [candidate("a")], [candidate("b")])
    assert moves_of(state) == ()
    assert moves_of(state, "a") == ()


def test_preference_that_a_new_host_fulfils_is_a_reason_to_move() -> None:
    wish = Preference(weight=60, labels=(Selector("disk", "in", ("fast",)),))
    state = joined_state(
        [demand(cpu_milli=100, prefer=(wish,))],
        [candidate("a")],
        [candidate("b", labels={"disk": "fast"})],
    )
    (move,) = moves_of(state, "b")
    assert move.gain.preferences == 60 * ONE // 100
    assert "what it prefers +60" in reason(move.gain)


def test_spread_gets_evener_and_never_less_even() -> None:
    spread = Spread(key="zone", max_skew=3, is_hard=True)
    zones = {"a": "x", "b": "x", "c": "y"}
    hosts = [candidate(name, labels={"zone": zone}) for name, zone in zones.items()]
    state = joined_state([demand(count=4, spread=(spread,))], hosts[:2], [hosts[2]])
    found = moves_of(state, "c", at_a_time=4)
    assert [move.source in "ab" for move in found] == [True, True]
    assert all(move.gain.spread == ONE for move in found[:1])


@pytest.mark.parametrize(
    "fields",
    [
        {"per_host": 1},
        {"is_kept_only": True},
        {"keep_max": {HostId("z"): 0}},
        {"together": ("db",)},
    ],
)
def test_what_stays_where_it_is_has_no_moves(fields: dict[str, Any]) -> None:
    db = demand("db", count=2, cpu_milli=100)
    given = [demand(count=2, cpu_milli=900, **fields), db]
    state = joined_state(given, [candidate("a")], [candidate("b")])
    names = {move.key[0] for move in moves_of(state, "b")}
    assert names == (set() if "together" in fields else {"db"})


def world(seed: int) -> tuple[list[Demand], list[Candidate], list[Candidate]]:
    chance = random.Random(seed)
    zones, disks = ("x", "y", "z"), ("fast", "slow")

    def host(name: str) -> Candidate:
        return candidate(
            name, cpu_milli=chance.choice((4000, 8000)), memory_mib=chance.choice((1024, 4096)),
            labels={"zone": chance.choice(zones), "disk": chance.choice(disks)},
        )  # fmt: skip

    def asked(number: int) -> Demand:
        wishes = (
            Preference(weight=chance.choice((30, 90)),
                       labels=(Selector("disk", "in", (chance.choice(disks),)),)),
        )  # fmt: skip
        spread = Spread(key="zone", max_skew=chance.choice((1, 2)), is_hard=chance.random() < 0.5)
        return demand(
            f"d{number}", count=chance.randint(1, 6), cpu_milli=chance.choice((50, 200, 400)),
            memory_bytes=chance.choice((0, 64 << 20)),
            prefer=wishes if chance.random() < 0.4 else (),
            spread=(spread,) if chance.random() < 0.4 else (),
            per_host_max=chance.choice((0, 0, 2)),
        )  # fmt: skip

    hosts = [host(f"h{n}") for n in range(chance.randint(2, 5))]
    new = [host(f"n{n}") for n in range(chance.randint(1, 3))]
    return [asked(number) for number in range(chance.randint(2, 9))], hosts, new


def skews(state: State) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for each in state.book.demands:
        if each is None or not each.placement.spread:
            continue
        sizes: dict[str, int] = {}
        for host in state.fleet.candidates:
            count = state.assignments[host.id].get(each.key, 0)
            sizes[host.labels["zone"]] = sizes.get(host.labels["zone"], 0) + count
        found[each.key] = max(sizes.values()) - min(sizes.values())
    return found


@pytest.mark.parametrize("seed", range(40))
def test_moves_come_to_an_end_and_keep_what_was_placed(seed: int) -> None:
    demands, hosts, new = world(seed)
    state = joined_state(demands, hosts, new)
    joined = [host.id for host in new]
    total, in_vain = int(state.totals.sum()), set[Key]()

    def may_move(key: Key) -> int:
        return key not in in_vain

    for _ in range(total + len(demands) + 1):
        found = improved(state, joined, may_move, moves_max=1)
        in_vain |= found.in_vain
        if not found.moves and not found.in_vain:
            break
        for move in found.moves:
            assert move.gain.total > PRICE
            assert move.source not in joined
            assert move.target in joined
            before, there = skews(state), state.assignments[move.target].get(move.key, 0)
            state = after(state, move)
            assert state.assignments[move.target].get(move.key, 0) == there + 1, "as foreseen"
            assert all(skew <= before[key] for key, skew in skews(state).items())
    else:
        pytest.fail("moves come to no end")
    assert int(state.totals.sum()) == total
    assert (state.used <= state.fleet.capacity).all()


@pytest.mark.parametrize("seed", range(10))
def test_moves_do_not_depend_on_the_order_in_which_anything_is_given(seed: int) -> None:
    demands, hosts, new = world(seed)
    expected = moves_of(joined_state(demands, hosts, new), *(h.id for h in new), at_a_time=2)
    placed = joined_state(demands, hosts, new).assignments
    shuffled = random.Random(seed)
    every = [*hosts, *new]
    shuffled.shuffle(every)
    shuffled.shuffle(demands)
    state, made = plan(
        State.empty(),
        Changes(hosts={h.id: h for h in every}, demands={d.key: d for d in demands},
                assigned={h.id: placed[h.id] for h in every}),
    )  # fmt: skip
    assert made.assignments == placed
    assert moves_of(state, *sorted((h.id for h in new), reverse=True), at_a_time=2) == expected


def test_moves_at_a_time_are_bounded() -> None:
    many = [demand(f"d{n:02}", count=4, cpu_milli=10) for n in range(20)]
    state = joined_state(many, [candidate("a", cpu_milli=1000)], [candidate("b", cpu_milli=1000)])
    assert len(moves_of(state, "b", moves_max=7, at_a_time=3)) == 7
    assert len(moves_of(state, "b")) == 20


# --- when they are made, and how ----------------------------------------------------------------


def joining(given: Wanted, *, hosts: str = "a") -> Term:
    """Return a term in which a deployment is ready on some hosts and then host `z` joined."""
    term = Term(hosts=hosts)
    term.want(given)
    term.settle()
    term.feed(InventoryRead(host=HostId("z"), inventory=inventory("z")))
    term.beat("z")
    term.settle()
    return term


def waited(term: Term, *states: tuple[str, int, str]) -> None:
    """Let hosts report, heartbeat by heartbeat, until replicas may be moved."""
    for _ in range(JOIN_HEARTBEATS + 1):
        term.advance(DEFAULT.heartbeat_s)
        term.run_all(*states)


def test_replicas_move_to_a_host_that_joined_once_it_stayed_for_a_while() -> None:
    term = joining(wanted(replicas=2, cpu_milli=100))
    assert term.placed() == {"a": 2}
    term.advance(JOIN_S - DEFAULT.heartbeat_s)
    term.settle()
    assert term.placed() == {"a": 2}, "not yet"
    waited(term)
    term.settle()
    assert term.placed() == {"a": 1, "z": 1}
    (told,) = [emit for emit in term.emitted if emit.kind == "replica-moving"]
    assert (told.data["host"], told.data["to_host"], told.entity) == ("a", "z", APP)
    assert "fewer of its own beside it" in str(told.data["reason"])


def test_explanation_and_dry_run_show_a_move_that_is_under_way() -> None:
    term = joining(wanted(replicas=2, cpu_milli=100))
    for _ in range(JOIN_HEARTBEATS + 2):
        unready(term)
    found: Any = explain(term.core, term.now_s, "app")
    (move,) = found["moving"]
    assert (move["host_name"], move["to_host_name"], move["deployment"]) == (
        "name-a",
        "name-z",
        APP,
    )
    assert move["points"] > 25
    assert move["reason"].startswith("a host joined: +")
    assert rehearse(term.core, term.now_s, [])["moving"] == found["moving"]
    term.settle()
    assert cast("Any", explain(term.core, term.now_s, "app"))["moving"] == []


def test_moves_are_given_up_under_the_brake() -> None:
    term = joining(wanted(replicas=2, cpu_milli=100))
    for _ in range(JOIN_HEARTBEATS + 2):
        unready(term)
    rebalancing, brake = term.core.decider.rebalancing, term.core.decider.brake
    assert rebalancing.under_way
    for n in range(MASS_HOSTS_MIN):
        brake.lost(term.now_s, HostId(f"gone{n}"), "", {"": MASS_HOSTS_MIN}, 1)
    term.core.decider.look_at(APP)
    unready(term)
    assert not rebalancing.under_way
    assert term.placed() == {"a": 2}


def test_replica_leaves_only_when_its_successor_is_ready() -> None:
    term = joining(wanted(replicas=2, cpu_milli=100, update=Update(unavailable_max=1)))
    for _ in range(JOIN_HEARTBEATS + 4):
        unready(term)
    assert term.placed() == {"a": 2, "z": 1}
    term.settle()
    assert term.placed() == {"a": 1, "z": 1}


def test_move_that_takes_too_long_is_given_up_and_not_tried_again() -> None:
    term = joining(wanted(replicas=2, cpu_milli=100))
    for _ in range(int(PATIENCE_S / DEFAULT.heartbeat_s) + JOIN_HEARTBEATS + 10):
        unready(term)
    assert term.placed() == {"a": 2}, "the one that was not ready has gone"
    assert [kind for kind in term.kinds() if kind == "replica-moving"] == ["replica-moving"]


@pytest.mark.parametrize(
    "fields",
    [
        {"is_singleton": True},
        {"is_paused": True},
        {"daemon": Daemon()},
        {"job": Job(completions=2, parallelism=2)},
        {"update": Update(surge_max=0, unavailable_max=1)},
        {"update": Update(strategy="recreate")},
    ],
)
def test_what_must_stay_or_may_have_none_too_many_is_not_moved(fields: dict[str, Any]) -> None:
    term = joining(wanted(replicas=2, cpu_milli=100, **fields))
    waited(term)
    term.settle()
    assert "replica-moving" not in term.kinds()


@pytest.mark.parametrize("seed", range(12))
def test_as_many_as_are_wanted_stay_ready_in_whatever_order_replicas_start(seed: int) -> None:
    chance = random.Random(seed)
    update = Update(unavailable_max=chance.randint(0, 2), surge_max=chance.randint(1, 3))
    count = chance.randint(5, 9)
    term = joining(wanted(replicas=count, cpu_milli=300, update=update), hosts="ab")
    running: dict[str, set[tuple[int, int]]] = {}
    moved = 0
    for _ in range(60):
        term.advance(DEFAULT.heartbeat_s)
        for host, found in sorted(term.core.delivery.documents.items()):
            listed = [(i.assignment, n) for i in found.items for n in range(i.count)]
            ready = running.setdefault(host, set(listed) if host in "ab" else set())
            ready &= set(listed)
            ready |= {each for each in listed if chance.random() < 0.3}
            reports = [
                replica(host, assignment=assignment, ordinal=n,
                        state="running" if (assignment, n) in ready else "starting")
                for assignment, n in listed
            ]  # fmt: skip
            term.beat(host, *reports, adopted=Revision("inc", found.revision))
            term.tick()
        listed_ready = sum(
            (i.assignment, n) in running[host]
            for host, found in term.core.delivery.documents.items()
            for i in found.items
            for n in range(i.count)
        )
        total = sum(term.placed().values())
        assert count <= listed_ready <= total <= count + update.surge_max
        moved = max(moved, term.placed().get("z", 0))
    assert moved
    assert sum(term.placed().values()) == count


def test_nothing_moves_because_a_scheduler_began_its_term() -> None:
    before = joining(wanted(replicas=4, cpu_milli=100))
    documents = tuple(before.core.delivery.documents.values())
    term = Term(*documents, hosts="az")
    term.want(wanted(replicas=4, cpu_milli=100))
    waited(term)
    waited(term)
    assert term.placed() == before.placed() == {"a": 4}


def test_host_that_is_uncordoned_counts_as_joined() -> None:
    term = Term(hosts="a")
    cordoned = inventory("z", is_cordoned=True)
    term.feed(InventoryRead(host=HostId("z"), inventory=cordoned))
    term.beat("z")
    term.want(wanted(replicas=2, cpu_milli=100))
    term.settle()
    waited(term)
    assert term.placed() == {"a": 2}
    term.feed(InventoryRead(host=HostId("z"), inventory=inventory("z")))
    waited(term)
    term.settle()
    assert term.placed() == {"a": 1, "z": 1}


def test_move_whose_room_is_taken_by_then_is_given_up_at_once() -> None:
    term = joining(wanted(replicas=2, cpu_milli=1900))
    rebalancing = term.core.decider.rebalancing
    while not rebalancing.under_way:
        term.advance(DEFAULT.heartbeat_s)
        beats(term, "a")
        beats(term, "z")
        term.tick()
    term.want(wanted("big", replicas=1, cpu_milli=4000, priority=5), revision=95)
    assert term.placed("big") == {"z": 1}
    assert not rebalancing.under_way
    term.settle()
    assert not term.core.unplaced
    assert term.placed() == {"a": 2}


def test_update_in_the_middle_of_a_move_goes_on_without_it() -> None:
    term = joining(wanted(replicas=2, cpu_milli=100))
    for _ in range(JOIN_HEARTBEATS + 2):
        unready(term)
    assert sum(term.placed().values()) == 3
    term.want(wanted(generation=2, replicas=2, cpu_milli=100), revision=95)
    term.settle(times=12)
    assert {g for counts in term.counts().values() for g in counts} == {2}
    assert sum(term.placed().values()) == 2


def test_leader_that_takes_over_within_a_move_lets_go_of_what_is_not_ready() -> None:
    before = joining(wanted(replicas=2, cpu_milli=100))
    for _ in range(JOIN_HEARTBEATS + 2):
        unready(before)
    assert before.placed() == {"a": 2, "z": 1}
    term = Term(*before.core.delivery.documents.values(), hosts="az")
    beats(term, "a")
    beats(term, "z", state="starting")
    term.want(wanted(replicas=2, cpu_milli=100))
    assert term.placed() == {"a": 2}


def unready(term: Term) -> None:
    """Let a heartbeat pass in which all but the host that joined have their replicas ready."""
    term.advance(DEFAULT.heartbeat_s)
    term.run_all(but="z")
    beats(term, "z", state="starting")
    term.tick()


def beats(term: Term, host: str, *, state: str = "running") -> None:
    """Let a host report all of its target in one state."""
    found = term.core.delivery.documents[HostId(host)]
    running: list[ReplicaReport] = [
        replica(host, i.deployment, i.generation, assignment=i.assignment, ordinal=n, state=state)
        for i in found.items
        for n in range(i.count)
    ]
    term.beat(host, *running, adopted=Revision("inc", found.revision))
