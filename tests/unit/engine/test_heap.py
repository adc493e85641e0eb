"""What processes that run guests tell their allocator."""

from __future__ import annotations

from hosts.engine.heap import TUNABLES, tuned


def test_environment_gets_the_setting_and_keeps_the_rest() -> None:
    assert tuned({"A": "1"}) == {"A": "1", TUNABLES: "glibc.malloc.tcache_count=127"}
    others = {TUNABLES: "glibc.malloc.perturb=1"}
    assert tuned(others)[TUNABLES] == "glibc.malloc.perturb=1:glibc.malloc.tcache_count=127"


def test_setting_of_whoever_starts_us_is_kept() -> None:
    own = {TUNABLES: "glibc.malloc.tcache_count=7"}
    assert tuned(own) == own
    assert tuned(tuned({})) == tuned({})
