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


def test_processes_killed_for_want_of_memory_are_those_of_the_group_else_of_the_machine(tmp_path):
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 7\noom_kill 5\n")
    assert inventory.out_of_memory_kills(tmp_path, vmstat) == 5
    (tmp_path / "memory.events").write_text("oom 3\noom_kill 2\noom_group_kill 0\n")
    assert inventory.out_of_memory_kills(tmp_path, vmstat) == 2
    assert inventory.out_of_memory_kills(tmp_path / "no", tmp_path / "no") == 0


class FakeClock:
    now_s = 100.0

    def monotonic_s(self):
        return self.now_s

    def wall_s(self):
        return self.now_s


def test_processor_time_is_told_as_the_mean_since_the_last_look(monkeypatch):
    used = [5.0]
    monkeypatch.setattr(inventory.time, "process_time", lambda: used[0])
    clock = FakeClock()
    meter = inventory.CpuMeter(clock)
    clock.now_s, used[0] = 102.0, 8.0
    assert meter.used_milli() == 1500
    clock.now_s = 104.0
    assert meter.used_milli() == 0, "nothing since the last look"
    assert meter.used_milli() == 0, "no time passed"
