"""What a machine does not run any more, and how its hosts learn of it."""

from __future__ import annotations

import pytest

from hosts.blackbox import BlackBox
from hosts.engine.base import Part
from hosts.engine.fake import FakeEngine
from hosts.guarded import Guard, GuardedEngine
from hosts.quarantine import QUARANTINE_BYTES_MAX, Quarantine, write_quarantine
from lattice.errors import DeniedError
from lattice.model.ids import Digest

A, B = (Digest(f"sha256:{letter * 64}") for letter in "ab")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "quarantine.json"


def test_without_a_file_everything_may_run(path):
    Quarantine().require_none_of({"one": A})
    Quarantine(path).require_none_of({"one": A})


def test_a_quarantined_component_is_refused_with_name_reason_and_remedy(path):
    write_quarantine(path, {A: "it did this"})
    with pytest.raises(DeniedError) as refusal:
        Quarantine(path).require_none_of({"one": B, "two": A})
    for fact in ("two", A, "it did this", "another version", "restart `lattice host`"):
        assert fact in refusal.value.message


def test_a_list_that_changes_is_read_again_and_one_that_goes_is_forgotten(path):
    quarantine = Quarantine(path)
    write_quarantine(path, {A: "a"})
    quarantine.look()
    assert quarantine.fault_of({"one": A})
    write_quarantine(path, {A: "a", B: "b"})
    assert quarantine.fault_of({"one": B}) is None
    quarantine.look()
    assert quarantine.fault_of({"one": B})
    path.unlink()
    quarantine.look()
    assert quarantine.fault_of({"one": A}) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b" " * (QUARANTINE_BYTES_MAX + 9)])
def test_a_list_that_cannot_be_read_changes_nothing(path, content):
    quarantine = Quarantine(path)
    write_quarantine(path, {A: "a"})
    quarantine.look()
    path.write_bytes(content)
    quarantine.look()
    assert quarantine.fault_of({"one": A})
    assert quarantine.fault_of({"one": B}) is None


async def test_the_engine_loads_no_quarantined_component(path):
    write_quarantine(path, {A: "it did this"})
    engine = GuardedEngine(FakeEngine({}), Guard(Quarantine(path), BlackBox()))
    with pytest.raises(DeniedError, match="it did this"):
        await engine.load([Part("one", A, b"")], [])
