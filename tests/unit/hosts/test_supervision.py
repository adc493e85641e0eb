"""The supervisor's core, one rule at a time."""

from __future__ import annotations

import signal

import pytest

from hosts.accusing import ABORT_WINDOW_S, ABORTS_MAX
from hosts.supervision import (
    RESPAWN_FIRST_S,
    RESPAWN_LONGEST_S,
    STABLE_S,
    STALLED_END_S,
    STALLED_LOOKS,
    STOP_S,
    Supervision,
)
from hosts.supervision_events import (
    Abort,
    Began,
    Ended,
    Finish,
    Joined,
    Kill,
    Looked,
    Quarantine,
    Start,
    StopWanted,
    Terminate,
    Ticked,
)
from lattice.model.ids import Digest

A, B, C = (Digest(f"sha256:{letter * 64}") for letter in "abc")


def supervision(count=2):
    """Workers that have all been started at 0 s and have joined."""
    core = Supervision(count=count)
    core.handle(0.0, Began())
    for worker in range(count):
        core.handle(0.0, Joined(worker=worker))
    return core


def ended(worker=0, *at_work, by=signal.SIGABRT, **fields):
    return Ended(worker=worker, status=-by, at_work=frozenset(at_work), **fields)


def come_back(core, now_s):
    """Let everybody who waits start again, and return when that was."""
    due_s = core.next_due_s()
    if due_s is not None:
        now_s = max(now_s, due_s)
        core.handle(now_s, Ticked())
    return now_s


def aborted(core, *sets, now_s=0.0, worker=0, gap_s=0.0):
    """Abort one worker with each set of components at work, and return the accused each time."""
    accused = []
    for at_work in sets:
        commands = core.handle(now_s, ended(worker, *at_work))
        accused.append(next((set(c.added) for c in commands if isinstance(c, Quarantine)), set()))
        now_s = come_back(core, now_s) + gap_s
    return accused


# --- workers ----------------------------------------------------------------------------------


def test_all_workers_start_at_the_beginning():
    core = Supervision(count=3)
    assert core.handle(0.0, Began()) == tuple(Start(worker=n, after="") for n in range(3))


def test_a_worker_that_was_killed_starts_again_after_a_wait():
    core = supervision()
    assert core.handle(5.0, ended(by=signal.SIGKILL)) == ()
    assert core.next_due_s() == 5.0 + RESPAWN_FIRST_S
    assert core.handle(5.0, Ticked()) == ()
    [start] = core.handle(5.0 + RESPAWN_FIRST_S, Ticked())
    assert start == Start(worker=0, after="was ended by SIGKILL")


def test_waits_double_with_each_death_in_a_row_up_to_the_longest():
    core, now_s, waits = supervision(), 0.0, []
    for _ in range(9):
        core.handle(now_s, ended())
        waits.append(core.next_due_s() - now_s)
        now_s = come_back(core, now_s)
    assert waits[:3] == [RESPAWN_FIRST_S, 2 * RESPAWN_FIRST_S, 4 * RESPAWN_FIRST_S]
    assert waits[-2:] == [RESPAWN_LONGEST_S, RESPAWN_LONGEST_S]


def test_a_crash_loop_is_told_to_the_next_process():
    core = supervision()
    aborted(core, [], [])
    assert core.workers[0].after == "was ended by SIGABRT, 2 times in a row"


def test_a_worker_that_ran_for_long_starts_with_a_clean_record():
    core = supervision()
    now_s = 0.0
    for _ in range(4):
        core.handle(now_s, ended())
        now_s = come_back(core, now_s)
    core.handle(now_s + STABLE_S, ended())
    assert core.next_due_s() == now_s + STABLE_S + RESPAWN_FIRST_S


def test_a_worker_that_was_told_to_leave_stays_away_and_the_others_go_on():
    core = supervision()
    assert core.handle(1.0, Ended(worker=0, status=0)) == ()
    assert core.next_due_s() is None
    assert core.handle(2.0, Ended(worker=1, status=0)) == (Finish(status=0),)


def test_workers_that_all_fail_before_one_has_joined_are_given_up_with_their_status():
    core = Supervision(count=2)
    core.handle(0.0, Began())
    core.handle(1.0, Ended(worker=0, status=4))
    assert core.handle(1.1, Ended(worker=1, status=4)) == (Finish(status=4),)


def test_giving_up_ends_a_worker_that_is_being_tried_again():
    core = Supervision(count=2)
    core.handle(0.0, Began())
    core.handle(1.0, Ended(worker=0, status=4))
    core.handle(1.0 + RESPAWN_FIRST_S, Ticked())
    assert core.handle(2.0, Ended(worker=1, status=3)) == (Terminate(worker=0),)
    assert core.handle(2.1, Ended(worker=0, status=0)) == (Finish(status=3),)


def test_once_a_worker_has_joined_nothing_is_given_up():
    core = supervision()
    core.handle(1.0, Ended(worker=0, status=3))
    assert core.handle(1.0, Ended(worker=1, status=3)) == ()
    assert {start.worker for start in core.handle(9.0, Ticked())} == {0, 1}


# --- stalling ---------------------------------------------------------------------------------


def looked(core, *ticks, worker=0, now_s=1.0):
    """Look at a worker once for each number, and return all that was decided."""
    return [c for n in ticks for c in core.handle(now_s, Looked(worker=worker, ticks=n))]


def test_a_worker_that_stands_still_is_aborted_and_then_killed():
    core = supervision()
    assert looked(core, *[7] * STALLED_LOOKS) == []
    assert looked(core, 7) == [Abort(worker=0)]
    assert looked(core, 7, 7) == []
    assert core.handle(1.0 + STALLED_END_S - 0.1, Ticked()) == ()
    assert core.handle(1.0 + STALLED_END_S, Ticked()) == (Kill(worker=0),)
    assert core.handle(1.0 + STALLED_END_S, Ticked()) == ()


def test_why_it_was_aborted_is_told_and_counts_as_an_abort():
    core = supervision()
    looked(core, *[7] * (STALLED_LOOKS + 1))
    core.handle(2.0, ended(0, A))
    assert core.workers[0].after == "was ended by SIGABRT because its event loop stood still"
    assert aborted(core, [A], [A], worker=1, now_s=3.0)[-1] == {A}


def test_a_worker_that_turns_now_and_then_is_left_alone():
    core = supervision()
    for ticks in range(1, 5):
        assert looked(core, *[ticks] * STALLED_LOOKS) == []


def test_a_worker_that_is_on_its_way_does_not_stand_still():
    core = supervision()
    assert looked(core, *[0] * (5 * STALLED_LOOKS)) == []
    core.handle(1.0, ended())
    come_back(core, 1.0)
    assert looked(core, *[0] * (5 * STALLED_LOOKS), now_s=5.0) == []


def test_nobody_is_aborted_for_standing_still_while_all_end():
    core = supervision()
    core.handle(1.0, StopWanted())
    assert looked(core, *[7] * (5 * STALLED_LOOKS)) == []


# --- stopping ---------------------------------------------------------------------------------


def test_stopping_tells_all_that_run_and_forgets_who_waits():
    core = supervision(3)
    core.handle(1.0, ended(1))
    assert core.handle(1.1, StopWanted()) == (Terminate(worker=0), Terminate(worker=2))
    assert core.handle(1.1 + STOP_S, Ticked()) == (Kill(worker=0), Kill(worker=2))


def test_the_end_has_come_when_the_last_worker_has_ended_however_that_was():
    core = supervision()
    core.handle(1.0, StopWanted())
    assert core.handle(1.1, Ended(worker=1, status=0)) == ()
    assert core.handle(1.2, ended(0, A)) == (Finish(status=0),)


def test_workers_that_take_too_long_to_stop_are_killed_once():
    core = supervision()
    core.handle(1.0, StopWanted())
    core.handle(2.0, Ended(worker=0, status=0))
    assert core.handle(1.0 + STOP_S - 0.1, Ticked()) == ()
    assert core.handle(1.0 + STOP_S, Ticked()) == (Kill(worker=1),)
    assert core.handle(1.0 + STOP_S + 1, Ticked()) == ()
    assert core.next_due_s() is None


def test_stopping_before_the_beginning_starts_nobody():
    core = Supervision(count=2)
    assert core.handle(0.0, StopWanted()) == (Finish(status=0),)
    assert core.handle(0.0, Began()) == ()


def test_stopping_twice_is_stopping_once():
    core = supervision()
    core.handle(1.0, StopWanted())
    assert core.handle(2.0, StopWanted()) == ()


def test_stopping_while_nobody_runs_is_the_end():
    core = supervision(1)
    core.handle(1.0, ended())
    assert core.handle(1.1, StopWanted()) == (Finish(status=0),)


# --- quarantine -------------------------------------------------------------------------------


def test_a_component_is_quarantined_at_the_third_abort_with_it_at_work():
    assert ABORTS_MAX == 3
    assert aborted(supervision(), [A], [A], [A]) == [set(), set(), {A}]


def test_aborts_of_different_workers_count_together():
    core = supervision(3)
    core.handle(1.0, ended(0, A))
    core.handle(1.0, ended(1, A))
    [found] = core.handle(1.0, ended(2, A))
    assert isinstance(found, Quarantine)
    assert found.added == (A,)
    assert "3 of this machine's host processes" in found.components[A]
    assert "SIGABRT" in found.components[A]


def test_only_who_was_at_work_in_all_three_is_accused():
    assert aborted(supervision(), [A, B, C], [A, B], [A, C])[-1] == {A}


def test_who_cannot_be_told_apart_is_accused_together():
    assert aborted(supervision(), [A, B], [A, B], [A, B])[-1] == {A, B}


def test_an_abort_that_is_explained_counts_against_nobody_else():
    core = supervision()
    assert aborted(core, [A, B], [A, B], [A])[-1] == {A}
    # B was at work beside A twice; its own account begins now.
    assert aborted(core, [B], [B], now_s=100.0) == [set(), set()]
    assert aborted(core, [B], now_s=200.0) == [{B}]


def test_an_abort_with_a_quarantined_component_still_at_work_is_explained_too():
    core = supervision()
    aborted(core, [A], [A], [A])
    assert aborted(core, [A, B], [A, B], [A, B], now_s=100.0) == [set()] * 3


def test_aborts_that_lie_too_far_apart_do_not_count_together():
    sets = [[A]] * 6
    assert aborted(supervision(), *sets, gap_s=ABORT_WINDOW_S / 2) == [set()] * 6


def test_aborts_with_nobody_at_work_accuse_nobody():
    assert aborted(supervision(), [], [], [], []) == [set()] * 4


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_somebody_sent_is_no_abort(by):
    core = supervision(4)
    for worker in range(4):
        assert core.handle(1.0, ended(worker, A, by=by)) == ()


@pytest.mark.parametrize("by", [signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL])
def test_a_fault_of_native_code_is_an_abort(by):
    core = supervision(3)
    for worker in range(2):
        core.handle(1.0, ended(worker, A, by=by))
    [found] = core.handle(1.0, ended(2, A, by=by))
    assert found.added == (A,)


def test_being_killed_for_want_of_memory_is_an_abort():
    core = supervision(3)
    for worker in range(2):
        core.handle(1.0, ended(worker, A, by=signal.SIGKILL, was_out_of_memory=True))
    commands = core.handle(1.0, ended(2, A, by=signal.SIGKILL, was_out_of_memory=True))
    assert [c.added for c in commands] == [(A,)]
    assert core.workers[2].after == "was ended by SIGKILL for want of memory"


def test_a_status_of_its_own_is_no_abort():
    core = supervision(4)
    for worker in range(4):
        assert core.handle(1.0, Ended(worker=worker, status=70, at_work=frozenset([A]))) == ()
