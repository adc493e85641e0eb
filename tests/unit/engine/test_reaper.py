"""Deletions run elsewhere, in their order, and all of them before the end."""

from __future__ import annotations

import threading

from hosts.engine.reaper import WAITING_MAX, Reaper

WAIT_S = 10.0


def test_deletions_run_on_another_thread_in_their_order() -> None:
    reaper, ran = Reaper(), list[tuple[int, int]]()
    last = None
    for number in range(3):
        last = reaper.delete(lambda number=number: ran.append((number, threading.get_ident())))
    assert last is not None
    last.result(WAIT_S)
    assert [number for number, _ in ran] == [0, 1, 2]
    assert {thread for _, thread in ran} != {threading.get_ident()}
    reaper.close()


def test_closing_waits_for_what_was_handed_over() -> None:
    reaper, go, ran = Reaper(), threading.Event(), list[int]()
    reaper.delete(lambda: go.wait(WAIT_S) and ran.append(1))
    reaper.delete(lambda: ran.append(2))
    go.set()
    reaper.close()
    reaper.close()
    assert ran == [1, 2]


def test_too_many_deletions_are_done_by_whoever_brings_them() -> None:
    reaper, go, ran = Reaper(), threading.Event(), list[int]()
    reaper.delete(lambda: go.wait(WAIT_S) and None)
    for _ in range(WAITING_MAX + 1):
        reaper.delete(lambda: None)
    reaper.delete(lambda: ran.append(threading.get_ident())).result(WAIT_S)
    assert ran == [threading.get_ident()]
    go.set()
    reaper.close()


def test_nobody_need_wait_for_a_deletion() -> None:
    reaper, go, ran = Reaper(), threading.Event(), list[int]()
    reaper.delete(lambda: go.wait(WAIT_S) and None)
    assert reaper.delete(lambda: ran.append(1)).cancel()
    go.set()
    reaper.close()
    assert ran == [1]
