"""What a host finds out about its machine."""

from __future__ import annotations

from hosts import inventory


def test_the_limits_of_the_control_group_count(tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16384000 kB\n")
    assert inventory.cpu_found_milli(tmp_path) == 500
    assert inventory.memory_found_bytes(tmp_path, meminfo) == 1 << 30


def test_without_limits_the_machine_counts(tmp_path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       1000 kB\n")
    assert inventory.cpu_found_milli(tmp_path) >= 1000
    assert inventory.memory_found_bytes(tmp_path, meminfo) == 1_024_000


def test_what_cannot_be_read_is_left_out(tmp_path):
    assert inventory.cpu_found_milli(tmp_path / "no") >= 1000
    assert inventory.memory_found_bytes(tmp_path / "no", tmp_path / "no") == 0


def test_own_labels_join_the_standard_ones_sorted():
    labels = inventory.merged_labels({"zone": "eu"}, "m1")
    assert labels["lattice.machine"] == "m1"
    assert labels["zone"] == "eu"
    assert list(labels) == sorted(labels)
