"""Which labels a host may be given, at its start and later."""

from __future__ import annotations

import pytest

from hosts.inventory import standard_labels
from hosts.labels import LABELS_MAX, changed_labels, first_labels
from lattice.errors import InvalidError
from lattice.wire.requests import LabelChange


def test_labels_are_set_and_removed_and_come_back_sorted():
    change = LabelChange(set={"zone": "eu", "disk": "ssd"}, remove=["old"])
    assert list(changed_labels({"old": "1", "a": "b"}, change).items()) == [
        ("a", "b"), ("disk", "ssd"), ("zone", "eu"),
    ]  # fmt: skip


def test_every_fault_is_listed_and_nothing_is_changed():
    labels = {"a": "b"}
    change = LabelChange(
        set={"bad key": "x", "lattice.os": "beos", "long": "x" * 300}, remove=["lattice.arch"]
    )
    with pytest.raises(InvalidError) as caught:
        changed_labels(labels, change)
    assert len(caught.value.faults) == 4
    assert labels == {"a": "b"}


def test_a_host_has_a_bounded_number_of_labels():
    change = LabelChange(set={f"k{i}": "" for i in range(LABELS_MAX + 1)})
    with pytest.raises(InvalidError, match="at most 64"):
        changed_labels({}, change)


def test_own_labels_join_the_standard_ones_sorted():
    labels = first_labels(standard_labels("m1"), {"zone": "eu"})
    assert labels["lattice.machine"] == "m1"
    assert labels["zone"] == "eu"
    assert list(labels) == sorted(labels)


def test_labels_at_the_start_obey_the_same_rules_and_override_nothing():
    own = {"lattice.os": "beos", "lattice.mine": "x", "bad key": "x", "long": "x" * 300}
    own |= {f"k{number}": "" for number in range(LABELS_MAX)}
    with pytest.raises(InvalidError, match="not started") as caught:
        first_labels(standard_labels("m1"), own)
    assert len(caught.value.faults) == 5
    assert sum("are set by the host itself" in fault for fault in caught.value.faults) == 2
