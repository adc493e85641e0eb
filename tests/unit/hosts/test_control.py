"""What a host answers about itself."""

from __future__ import annotations

import pytest

from hosts.control import LABELS_MAX, LabelChange, changed_labels
from lattice.errors import InvalidError


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
