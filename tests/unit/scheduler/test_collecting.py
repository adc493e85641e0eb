"""What the leader removes, by example: only what was of no use for hours, never what is used."""

from __future__ import annotations

import pytest

from lattice.model.ids import DeploymentName, HostId
from scheduler import collecting
from scheduler.collecting import (
    DELETED_AFTER_S,
    HISTORY_MAX,
    HOST_GONE_S,
    REMOVALS_MAX,
    TARGET_IDLE_S,
    Collector,
    Found,
    Garbage,
)
from scheduler.placement.model import Key

A = HostId("a")
APP = DeploymentName("app")


def history(name: str, *generations: int) -> tuple[Key, ...]:
    return tuple((DeploymentName(name), generation) for generation in generations)


def test_inventory_of_a_host_that_is_lost_for_hours_is_removed() -> None:
    collector = Collector()
    lost = Found(lost=frozenset({A}), wanted={})
    assert collector.look(0.0, lost) == Garbage()
    assert collector.look(HOST_GONE_S - 1, lost) == Garbage()
    assert collector.look(HOST_GONE_S, lost).inventories == (A,)


def test_host_that_came_back_is_lost_anew() -> None:
    collector = Collector()
    lost = Found(lost=frozenset({A}), wanted={})
    collector.look(0.0, lost)
    collector.look(HOST_GONE_S - 1, Found(wanted={}))
    assert collector.look(HOST_GONE_S, lost) == Garbage()


def test_empty_target_of_a_host_that_is_gone_is_removed() -> None:
    collector = Collector()
    idle = Found(idle=frozenset({A}), wanted={})
    collector.look(0.0, idle)
    assert collector.look(TARGET_IDLE_S, idle).targets == (A,)


def test_old_generations_of_a_deployment_go_at_once_but_not_those_in_use() -> None:
    kept = Found(
        history=history("app", *range(1, HISTORY_MAX + 4)),
        wanted={APP: HISTORY_MAX + 3},
        assigned=frozenset({(APP, 2)}),
    )
    assert Collector().look(0.0, kept).generations == ((APP, 1), (APP, 3))


def test_deleted_deployment_keeps_its_last_generation_and_what_hosts_still_run() -> None:
    collector = Collector()
    deleted = Found(history=history("app", 1, 2, 3, 4), wanted={}, assigned=frozenset({(APP, 2)}))
    assert collector.look(0.0, deleted) == Garbage()
    assert collector.look(DELETED_AFTER_S, deleted).generations == ((APP, 1), (APP, 3))


def test_last_generations_of_too_many_deleted_deployments_go_longest_deleted_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collecting, "DELETED_MAX", 2)
    collector = Collector()
    old = history("old", 1)
    collector.look(0.0, Found(history=old, wanted={}))
    found = Found(history=(*old, *history("b", 1), *history("c", 1)), wanted={})
    collector.look(1.0, found)
    assert collector.look(DELETED_AFTER_S + 1, found).generations == old


def test_history_of_a_record_that_cannot_be_read_is_left_alone() -> None:
    broken = Found(history=history("app", *range(1, 50)), wanted={APP: None})
    assert Collector().look(0.0, broken) == Garbage()


def test_one_look_removes_a_bounded_number() -> None:
    many = Found(
        history=history("app", *range(1, 500)),
        wanted={APP: 499},
    )
    assert len(Collector().look(0.0, many).generations) == REMOVALS_MAX
