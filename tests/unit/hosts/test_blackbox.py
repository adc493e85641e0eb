"""What a supervisor can read of a host that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from hosts.blackbox import DIGESTS_MAX, SLOTS_MAX, BlackBox, BlackBoxReader, Mark
from lattice.model.ids import Digest

A, B, C = (Digest(f"sha256:{letter * 64}") for letter in "abc")


@pytest.fixture
def reader():
    with closing(BlackBoxReader()) as reader:
        yield reader


@pytest.fixture
def box(reader):
    return BlackBox(os.dup(reader.descriptor))


def test_nothing_is_at_work_before_a_process_writes_and_while_it_idles(reader, box):
    assert reader.at_work() == frozenset()
    box.mark([A])
    assert reader.at_work() == frozenset()


def test_components_are_at_work_while_one_of_their_calls_runs(reader, box):
    first, second = box.mark([A, B]), box.mark([C])
    with first:
        with first, second:
            assert reader.at_work() == {A, B, C}
        assert reader.at_work() == {A, B}
    assert reader.at_work() == frozenset()


def test_a_closed_mark_says_nothing_more_even_if_a_call_ends_late(reader, box):
    mark = box.mark([A])
    mark.__enter__()
    mark.close()
    other = box.mark([B])
    mark.__exit__(None, None, None)
    with mark:
        assert reader.at_work() == frozenset()
    with other:
        assert reader.at_work() == {B}


def test_closing_twice_frees_one_slot_once(reader, box):
    mark = box.mark([A])
    mark.close()
    mark.close()
    first, second = box.mark([A]), box.mark([B])
    with first, second:
        assert reader.at_work() == {A, B}


def test_slots_are_used_again_and_those_beyond_the_limit_are_not_noted(reader, box):
    marks = [box.mark([A]) for _ in range(SLOTS_MAX)]
    with box.mark([B]):
        assert reader.at_work() == frozenset()
    marks.pop().close()
    with box.mark([B]):
        assert reader.at_work() == {B}


def test_so_many_components_of_one_replica_are_noted_and_no_more(reader, box):
    many = [Digest(f"sha256:{number:064x}") for number in range(DIGESTS_MAX + 5)]
    with box.mark(many):
        assert reader.at_work() == set(many[:DIGESTS_MAX])


def test_turns_of_the_event_loop_are_counted(reader, box):
    assert reader.ticks() == 0
    box.tick()
    box.tick()
    assert reader.ticks() == 2
    BlackBox().tick()


def test_memory_of_another_release_accuses_nobody(reader, box):
    with box.mark([A]):
        os.pwrite(reader.descriptor, b"\xff" * 8, 0)
        assert reader.at_work() == frozenset()
        assert reader.ticks() == 0


def test_without_a_supervisor_notes_go_nowhere():
    with BlackBox().mark([A]), Mark():
        pass


def test_what_was_at_work_is_known_after_the_process_was_aborted(reader):
    script = (
        "import os, sys\n"
        "from hosts.blackbox import BlackBox\n"
        "mark = BlackBox(int(sys.argv[1])).mark([sys.argv[2]])\n"
        "mark.__enter__()\n"
        "os.abort()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(reader.descriptor), A],
        pass_fds=(reader.descriptor,), check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGABRT
    assert reader.at_work() == {A}


def test_closing_the_reader_twice_is_no_error():
    reader = BlackBoxReader()
    reader.close()
    reader.close()
