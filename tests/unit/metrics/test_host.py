from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.metrics.host import HostCollector

if TYPE_CHECKING:
    from pathlib import Path


def burn(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


def test_the_machine_is_described_as_psutil_sees_it() -> None:
    values = HostCollector().collect(0.0)

    assert values["host.cpu.cores"] == psutil.cpu_count()
    assert values["host.memory.used_ratio"] == pytest.approx(
        psutil.virtual_memory().percent / 100, abs=0.05
    )
    assert values["host.disk.used_ratio"] == pytest.approx(
        psutil.disk_usage("/").percent / 100, abs=0.02
    )
    assert 0 < values["host.memory.available_bytes"] < psutil.virtual_memory().total


def test_shares_lie_between_none_and_all() -> None:
    collector = HostCollector()
    collector.collect(0.0)
    values = collector.collect(1.0)

    assert all(0 <= value <= 1 for name, value in values.items() if name.endswith("_ratio"))
    assert all(value >= 0 for value in values.values())


def test_cpu_is_measured_since_the_last_call_in_whichever_thread() -> None:
    collector, seen = HostCollector(), list[float]()
    burn(0.3)

    def collect() -> None:
        seen.append(collector.collect(0.0)["host.cpu.used_ratio"])

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()

    # One thread worked all the time; a tick of the kernel's clock may be lost at either end.
    assert seen[0] > 0.8 / (psutil.cpu_count() or 1)


def test_counters_only_grow() -> None:
    collector = HostCollector()
    first, second = collector.collect(0.0), collector.collect(1.0)

    for name in (
        "disk.read_bytes_total",
        "disk.write_bytes_total",
        "net.sent_bytes_total",
        "net.received_bytes_total",
        "memory.major_faults_total",
        "switches_total",
    ):
        assert second.get(f"host.{name}", 0) >= first.get(f"host.{name}", 0)


STAT = """cpu  {busy} 0 0 {idle} 0 0 0 0 0 0
cpu0 {busy} 0 0 0 0 0 0 0 0 0
cpu1 0 0 0 {idle} 0 0 0 0 0 0
intr 5 0
ctxt 1215384
btime 1795563142
processes 10626
procs_running 1
procs_blocked 2
"""
DISKSTATS = """   8       0 sda {reads} 0 800 40 {reads} 0 1600 60 0 {busy_ms} 100
   8       1 sda1 {reads} 0 800 40 {reads} 0 1600 60 0 {busy_ms} 100
   7       0 loop0 9 0 9 9 9 0 9 9 0 9 9
 252       0 dm-0 9 0 9 9 9 0 9 9 0 9 9
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A kernel that says what a test writes."""
    (tmp_path / "stat").write_text(STAT.format(busy=0, idle=0))
    return tmp_path


def test_cores_are_told_apart(proc: Path) -> None:
    collector = HostCollector(proc=proc)
    (proc / "stat").write_text(STAT.format(busy=300, idle=100))
    values = collector.collect(0.0)

    assert values["host.cpu.used_ratio"] == 0.75
    assert values["host.cpu.core.0.used_ratio"] == 1.0
    assert values["host.cpu.core.1.used_ratio"] == 0.0
    assert (values["host.cpu.cores"], values["host.boot_at_s"]) == (2.0, 1795563142.0)
    assert (values["host.processes.running"], values["host.processes.blocked"]) == (1.0, 2.0)


def test_a_core_that_is_taken_away_costs_one_look_at_the_cores(proc: Path) -> None:
    collector = HostCollector(proc=proc)
    text = STAT.format(busy=300, idle=100)
    (proc / "stat").write_text(text.replace("cpu1 0 0 0 100 0 0 0 0 0 0\n", ""))
    values = collector.collect(0.0)

    assert (values["host.cpu.cores"], values["host.cpu.used_ratio"]) == (1.0, 0.75)
    assert not any(".core." in name for name in values)


def test_disks_are_busy_and_slow_since_the_last_call(proc: Path) -> None:
    collector = HostCollector(proc=proc)
    (proc / "diskstats").write_text(DISKSTATS.format(reads=10, busy_ms=100))
    first = collector.collect(100.0)
    text = DISKSTATS.format(reads=15, busy_ms=2600).replace(" 40 ", " 90 ")
    (proc / "diskstats").write_text(text)
    second = collector.collect(110.0)

    assert first["host.disk.read_bytes_total"] == 800 * 512
    assert first["host.disk.write_bytes_total"] == 1600 * 512
    assert "host.disk.busy_ratio" not in first
    assert second["host.disk.busy_ratio"] == 0.25
    assert second["host.disk.latency_s"] == 0.005  # 50 ms for ten of them
    assert second["host.disk.reads_total"] == 15


def test_what_a_kernel_has_not_is_left_out(proc: Path) -> None:
    values = HostCollector(proc=proc).collect(0.0)

    assert not any(part in name for name in values for part in (".load.", ".net.", ".pressure."))
    assert values["host.cpu.cores"] == 2


def test_pressure_is_read_where_the_kernel_measures_it(proc: Path) -> None:
    (proc / "pressure").mkdir()
    (proc / "pressure/cpu").write_text(
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=1500000\n"
        "full avg10=9.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    (proc / "pressure/io").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    values = HostCollector(proc=proc).collect(0.0)

    assert values["host.pressure.cpu.some_ratio"] == 0.125
    assert values["host.pressure.cpu.some_seconds_total"] == 1.5
    assert values["host.pressure.cpu.full_ratio"] == 0.09
    assert values["host.pressure.io.some_ratio"] == 0.0
    assert "host.pressure.io.full_ratio" not in values
    assert "host.pressure.memory.some_ratio" not in values


def test_without_a_kernel_of_ours_psutil_tells_what_it_can(tmp_path: Path) -> None:
    oracle, values = HostCollector(proc=tmp_path / "none"), HostCollector()
    theirs, ours = oracle.collect(0.0), values.collect(0.0)

    assert theirs.keys() - ours.keys() == set()
    for name in ("cpu.cores", "memory.total_bytes", "boot_at_s"):
        assert theirs[f"host.{name}"] == ours[f"host.{name}"]
    assert theirs["host.swap.used_ratio"] == pytest.approx(ours["host.swap.used_ratio"], abs=0.02)


def test_one_look_costs_less_than_a_millisecond_of_cpu() -> None:
    collector = HostCollector()
    spent_s = []
    for turn in range(30):
        before_s = time.thread_time()
        collector.collect(float(turn))
        spent_s.append(time.thread_time() - before_s)

    # The quickest of thirty: whoever else is at work on this machine makes the others slower.
    assert min(spent_s) < 0.001
