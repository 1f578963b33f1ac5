from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.metrics import host
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
    values = HostCollector().collect(0.0)

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
    ):
        assert second.get(f"host.{name}", 0) >= first.get(f"host.{name}", 0)


def test_pressure_is_read_where_the_kernel_measures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").write_text(
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n"
        "full avg10=9.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    (tmp_path / "io").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    monkeypatch.setattr(host, "_PRESSURE", tmp_path)
    values = HostCollector().collect(0.0)

    assert values["host.pressure.cpu.some_ratio"] == 0.125
    assert values["host.pressure.io.some_ratio"] == 0.0
    assert "host.pressure.memory.some_ratio" not in values
