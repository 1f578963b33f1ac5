from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.metrics.process import ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
while True:
    pass
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", BUSY]) as process:
        yield process
        process.kill()


def worked(process: psutil.Process, cpu_s: float) -> None:
    deadline = time.monotonic() + 20
    while process.cpu_times().user < cpu_s:
        assert time.monotonic() < deadline, "it does not work"
        time.sleep(0.01)


def test_a_busy_process_is_described_as_psutil_sees_it(busy: subprocess.Popen[bytes]) -> None:
    collector, process = ProcessCollector(), psutil.Process(busy.pid)
    worked(process, 0.05)
    first_s = time.time()
    first = collector.collect({"b": busy.pid}, first_s)
    worked(process, first["bot.b.cpu_seconds"] + 0.3)
    second_s = time.time()
    second = collector.collect({"b": busy.pid}, second_s)

    assert first["bot.b.up"] == second["bot.b.up"] == 1
    assert "bot.b.cpu_ratio" not in first
    grown = second["bot.b.cpu_seconds"] - first["bot.b.cpu_seconds"]
    assert grown >= 0.28
    assert second["bot.b.cpu_ratio"] == pytest.approx(grown / (second_s - first_s))
    assert second["bot.b.rss_bytes"] == pytest.approx(process.memory_info().rss, rel=0.05)
    assert second["bot.b.threads"] == 2
    assert second["bot.b.fds"] == process.num_fds()
    assert 0 < second["bot.b.uptime_s"] < 30


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_a_process_that_is_not_there_is_down_and_nothing_else(pid: int | None) -> None:
    assert ProcessCollector().collect({"b": pid}, 1.0) == {"bot.b.up": 0.0}


def test_a_process_that_ended_is_down(busy: subprocess.Popen[bytes]) -> None:
    collector = ProcessCollector()
    collector.collect({"b": busy.pid}, 1.0)
    busy.kill()
    os.waitid(os.P_PID, busy.pid, os.WEXITED | os.WNOWAIT)

    # Ended but not yet waited for: a zombie.
    assert collector.collect({"b": busy.pid}, 2.0) == {"bot.b.up": 0.0}
    busy.wait()
    assert collector.collect({"b": busy.pid}, 3.0) == {"bot.b.up": 0.0}


def test_a_stopped_process_is_up(busy: subprocess.Popen[bytes]) -> None:
    busy.send_signal(signal.SIGSTOP)

    assert ProcessCollector().collect({"b": busy.pid}, 1.0)["bot.b.up"] == 1


def test_a_pid_that_was_given_to_another_program_is_down(
    busy: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = ProcessCollector()
    collector.collect({"b": busy.pid}, 1.0)
    remembered = collector._seen["b"].process
    monkeypatch.setattr(remembered, "is_running", lambda: False)  # the start time is another

    assert collector.collect({"b": busy.pid}, 2.0) == {"bot.b.up": 0.0}


def test_a_restarted_process_begins_anew(busy: subprocess.Popen[bytes]) -> None:
    collector = ProcessCollector()
    collector.collect({"b": os.getpid()}, time.time())
    values = collector.collect({"b": busy.pid}, time.time() + 1)

    assert values["bot.b.up"] == 1
    assert "bot.b.cpu_ratio" not in values


def test_a_bot_that_was_taken_away_is_forgotten() -> None:
    collector = ProcessCollector()
    collector.collect({"b": os.getpid()}, 1.0)

    assert collector.collect({}, 2.0) == {}
    assert "bot.b.cpu_ratio" not in collector.collect({"b": os.getpid()}, 3.0)


def test_descriptors_that_may_not_be_counted_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> int:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    values = ProcessCollector().collect({"b": os.getpid()}, 1.0)

    assert values["bot.b.up"] == 1
    assert "bot.b.fds" not in values


def test_a_clock_that_went_back_gives_no_share() -> None:
    collector = ProcessCollector()
    collector.collect({"b": os.getpid()}, 100.0)

    assert "bot.b.cpu_ratio" not in collector.collect({"b": os.getpid()}, 99.0)
