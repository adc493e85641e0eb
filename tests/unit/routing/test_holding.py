"""Which held call asks, which tries, which waits, and which is let go."""

from __future__ import annotations

from lattice.routing.holding import (
    ASK_AGAIN_S,
    AT_WORK_MAX,
    GONE_S,
    READY_S,
    TRY_PAUSE_MAX_S,
    Holding,
    Verdict,
)


class Router:
    """Held calls of one deployment, and a clock."""

    def __init__(self, *calls: int, limit: int = 1000) -> None:
        self.core = Holding(limit)
        self.now_s = 100.0
        for call in calls:
            assert self.core.arrive("shop", call)

    def step(self, call: int) -> str:
        return self.core.turn("shop", call, self.now_s)[0]

    def told(self, verdict: Verdict) -> tuple[int, ...]:
        return self.core.told("shop", verdict, self.now_s)

    def woken(self, *calls: int) -> Router:
        """Have the first call ask and be told that a replica starts."""
        assert self.step(calls[0]) == "ask"
        self.told("starting")
        return self


def test_one_call_asks_and_tries_and_the_others_wait_for_it() -> None:
    router = Router(1, 2, 3)
    assert [router.step(call) for call in (1, 2, 3)] == ["ask", "wait", "wait"]
    assert router.told("starting") == ()
    assert [router.step(call) for call in (1, 2, 3)] == ["try", "wait", "wait"]


def test_the_pauses_between_tries_grow_to_their_limit() -> None:
    router = Router(1).woken(1)
    pauses = []
    for _ in range(10):
        pauses.append(router.core.turn("shop", 1, router.now_s)[1])
        router.core.missed("shop", 1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == TRY_PAUSE_MAX_S


def test_a_call_over_the_limit_is_refused_and_one_that_leaves_makes_room() -> None:
    router = Router(1, 2, limit=2)
    assert not router.core.arrive("other", 3)
    router.core.leave("shop", 1)
    assert router.core.arrive("other", 3)
    assert len(router.core) == 2


def test_when_the_scout_leaves_the_next_call_takes_its_place() -> None:
    router = Router(1, 2, 3).woken(1)
    assert router.step(1) == "try"
    assert router.core.leave("shop", 1) == (2,)
    assert [router.step(2), router.step(3)] == ["try", "wait"]


def test_once_somebody_was_reached_so_many_go_as_one_replica_runs_at_once() -> None:
    calls = range(AT_WORK_MAX + 5)
    router = Router(*calls).woken(*calls)
    assert router.step(0) == "try"
    freed = router.core.reached("shop")
    assert freed == tuple(range(1, AT_WORK_MAX))
    assert all(router.step(call) == "try" for call in freed)
    assert router.step(AT_WORK_MAX) == "wait"
    assert router.core.leave("shop", 7) == (AT_WORK_MAX,)
    assert router.step(AT_WORK_MAX) == "try"
    assert router.step(AT_WORK_MAX + 1) == "wait"


def test_what_does_not_wake_lets_all_go_and_is_not_asked_about_again_for_a_while() -> None:
    router = Router(1, 2)
    assert router.step(1) == "ask"
    assert router.told("gone") == (1, 2)
    assert [router.step(1), router.step(2)] == ["gone", "gone"]
    router.core.leave("shop", 1)
    router.core.leave("shop", 2)
    router.core.arrive("shop", 3)
    assert router.step(3) == "gone"
    router.core.leave("shop", 3)
    router.now_s += GONE_S
    router.core.arrive("shop", 4)
    assert router.step(4) == "ask"


def test_without_a_leader_to_ask_nobody_is_held_unless_it_is_known_to_wake() -> None:
    router = Router(1)
    assert router.step(1) == "ask"
    assert router.told("unknown") == (1,)
    assert router.step(1) == "gone"
    router = Router(1).woken(1)
    router.now_s += ASK_AGAIN_S
    assert router.step(1) == "ask"
    assert router.told("unknown") == ()
    assert router.step(1) == "try"


def test_the_leader_is_asked_again_while_calls_wait() -> None:
    router = Router(1, 2).woken(1)
    assert router.step(1) == "try"
    router.core.missed("shop", 1)
    router.now_s += ASK_AGAIN_S
    assert [router.step(2), router.step(1)] == ["wait", "ask"]


def test_a_deployment_that_is_ready_and_takes_no_such_calls_is_given_up_soon() -> None:
    router = Router(1, 2)
    assert router.step(1) == "ask"
    router.told("ready")
    assert router.step(1) == "try"
    router.core.missed("shop", 1)
    router.now_s += READY_S
    assert [router.step(1), router.step(2)] == ["gone", "gone"]


def test_when_those_who_were_reached_are_gone_again_all_begin_anew() -> None:
    router = Router(1, 2, 3).woken(1)
    assert router.step(1) == "try"
    router.core.reached("shop")
    assert [router.step(2), router.step(3)] == ["try", "try"]
    router.core.missed("shop", 2)
    router.core.missed("shop", 3)
    assert [router.step(3), router.step(2)] == ["wait", "ask"]


def test_an_announced_replica_is_tried_at_once() -> None:
    router = Router(1, 2).woken(1)
    for _ in range(10):
        assert router.step(1) == "try"
        router.core.missed("shop", 1)
    assert router.core.shown("shop") == (1,)
    assert router.core.turn("shop", 1, router.now_s)[1] < TRY_PAUSE_MAX_S
    assert router.core.shown("elsewhere") == ()
