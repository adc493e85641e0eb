"""The logs of the children of `lattice up`: bounded, whoever goes on writing into them."""

from __future__ import annotations

import pytest

from lattice.cli import children


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "LOG_BYTES_MAX", 10)
    return tmp_path / "host-1.log"


def test_log_over_its_size_is_begun_anew_under_the_one_who_writes(log):
    with log.open("ab", buffering=0) as output:
        output.write(b"0123456789x")
        children.rotate(log)
        output.write(b"new")
    assert log.read_bytes() == b"new"
    assert log.with_name("host-1.log.1").read_bytes() == b"0123456789x"


def test_log_within_its_size_is_left_alone(log):
    children.rotate(log)
    log.write_bytes(b"0123456789")
    children.rotate(log)
    assert log.read_bytes() == b"0123456789"
    assert not log.with_name("host-1.log.1").exists()
