from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.metrics import procfs, reading
from outrider.metrics.process import ProcessCollector, allow_descriptors
from outrider.metrics.reading import Deep, Gone, Reading

if TYPE_CHECKING:
    import subprocess

    from tests.unit.metrics.conftest import Start

AT_REST = Reading(reading.SLEEPING, 1.0, 4096.0, 2.0, 7.0, 100.0, 200.0, 30.0, 4.0)


class Machine:
    """Processes by pid, as a reader of them sees them."""

    def __init__(self) -> None:
        self.processes: dict[int, Reading] = {}
        self.deep_reads: list[int] = []
        self.children: dict[int, list[int]] = {}
        self.open: set[int] = set()
        self.started_s = 1000.0

    def opener(self, pid: int) -> FakeReader:
        if pid not in self.processes:
            raise Gone(f"{pid} is gone.")
        self.open.add(pid)
        return FakeReader(self, pid)


class FakeReader:
    def __init__(self, machine: Machine, pid: int) -> None:
        self._machine, self._pid = machine, pid
        self.started_s = machine.started_s

    def read(self) -> Reading:
        try:
            return self._machine.processes[self._pid]
        except KeyError:
            raise Gone(f"{self._pid} is gone.") from None

    def read_deep(self) -> Deep:
        self.read()
        self._machine.deep_reads.append(self._pid)
        return Deep(500.0 + self._pid, len(self._machine.children.get(self._pid, ())))

    def descendants(self) -> list[int]:
        self.read()
        return self._machine.children.get(self._pid, [])

    def close(self) -> None:
        self._machine.open.discard(self._pid)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_process_has_every_series(machine: Machine) -> None:
    machine.processes[7] = AT_REST
    collector = ProcessCollector(opener=machine.opener)
    collector.collect({"canary": 7}, 1060.0)
    machine.processes[7] = AT_REST._replace(cpu_seconds=3.5)

    expected = {
        "up": 1.0, "uptime_s": 70.0, "cpu_ratio": 0.25, "state": reading.SLEEPING,
        "cpu_seconds_total": 3.5, "rss_bytes": 4096.0, "threads": 2.0, "fds": 7.0,
        "io_read_bytes_total": 100.0, "io_write_bytes_total": 200.0,
        "switches_voluntary_total": 30.0, "switches_involuntary_total": 4.0,
        "pss_bytes": 507.0, "children": 0.0,
    }  # fmt: skip
    assert {f"bot.canary.{what}": value for what, value in expected.items()} == collector.collect(
        {"canary": 7}, 1070.0
    )


def test_the_first_look_has_no_share_of_cpu(machine: Machine) -> None:
    machine.processes[7] = AT_REST
    collector = ProcessCollector(opener=machine.opener)

    assert "bot.canary.cpu_ratio" not in collector.collect({"canary": 7}, 1060.0)


def test_what_is_not_ours_to_read_is_left_out(machine: Machine) -> None:
    machine.processes[7] = AT_REST._replace(fds=None, io_read_bytes=None, io_write_bytes=None)
    values = ProcessCollector(opener=machine.opener).collect({"canary": 7}, 1060.0)

    assert values["bot.canary.rss_bytes"] == 4096.0
    assert not {"bot.canary.fds", "bot.canary.io_read_bytes_total"} & values.keys()


@pytest.mark.parametrize("pid", [None, 8])
def test_a_process_that_is_gone_is_down_and_nothing_else(machine: Machine, pid: int | None) -> None:
    collector = ProcessCollector(opener=machine.opener)

    assert collector.collect({"canary": pid}, 1060.0) == {"bot.canary.up": 0.0}


def test_a_process_that_ends_gives_its_descriptors_back(machine: Machine) -> None:
    machine.processes[7] = AT_REST
    collector = ProcessCollector(opener=machine.opener)
    collector.collect({"canary": 7}, 1060.0)
    assert {7} == machine.open
    del machine.processes[7]

    assert collector.collect({"canary": 7}, 1070.0) == {"bot.canary.up": 0.0}
    assert not machine.open


def test_a_bot_that_leaves_the_fleet_gives_its_descriptors_back(machine: Machine) -> None:
    machine.processes[7] = AT_REST
    collector = ProcessCollector(opener=machine.opener)
    collector.collect({"canary": 7}, 1060.0)

    assert collector.collect({}, 1070.0) == {}
    assert not machine.open


def test_a_zombie_is_down_and_says_so(machine: Machine) -> None:
    machine.processes[7] = AT_REST._replace(state=reading.ZOMBIE, rss_bytes=0.0)
    collector = ProcessCollector(opener=machine.opener)

    expected = {"bot.canary.up": 0.0, "bot.canary.state": reading.ZOMBIE}
    assert expected == collector.collect({"canary": 7}, 1060.0)
    assert not machine.open


def test_a_bot_that_was_started_anew_is_a_new_process(machine: Machine) -> None:
    machine.processes = {7: AT_REST._replace(cpu_seconds=100.0), 8: AT_REST}
    collector = ProcessCollector(opener=machine.opener)
    collector.collect({"canary": 7}, 1060.0)
    machine.started_s = 1065.0
    values = collector.collect({"canary": 8}, 1070.0)

    assert "bot.canary.cpu_ratio" not in values  # two processes have no difference
    assert (values["bot.canary.cpu_seconds_total"], values["bot.canary.uptime_s"]) == (1.0, 5.0)
    assert {8} == machine.open


def test_what_is_dear_is_read_of_few_at_each_tick_and_of_all_in_turn(machine: Machine) -> None:
    machine.processes = dict.fromkeys(range(1, 51), AT_REST)
    pids: dict[str, int | None] = {f"bot{pid}": pid for pid in machine.processes}
    collector = ProcessCollector(opener=machine.opener, deep_every=10)
    each: list[int] = []
    for tick in range(20):
        before = len(machine.deep_reads)
        collector.collect(pids, 1060.0 + 10 * tick)
        each.append(len(machine.deep_reads) - before)

    assert {5} == set(each)
    assert all(machine.deep_reads.count(pid) == 2 for pid in machine.processes)


def test_what_is_dear_stands_in_every_row_once_it_was_read(machine: Machine) -> None:
    machine.processes = dict.fromkeys(range(1, 5), AT_REST)
    pids: dict[str, int | None] = {f"bot{pid}": pid for pid in machine.processes}
    collector = ProcessCollector(opener=machine.opener, deep_every=4)
    rows = [collector.collect(pids, 1060.0 + 10 * tick) for tick in range(6)]

    shares = [sum(name.endswith(".pss_bytes") for name in row) for row in rows]
    assert shares == [1, 2, 3, 4, 4, 4]
    assert rows[4].keys() == rows[5].keys()


def test_a_new_process_comes_first_in_turn(machine: Machine) -> None:
    machine.processes = dict.fromkeys(range(1, 5), AT_REST)
    pids: dict[str, int | None] = {f"bot{pid}": pid for pid in machine.processes}
    collector = ProcessCollector(opener=machine.opener, deep_every=5)
    collector.collect(pids, 1060.0)
    machine.processes[9] = AT_REST

    assert "bot.new.pss_bytes" in collector.collect({**pids, "new": 9}, 1070.0)


def test_a_restarted_bot_does_not_keep_what_was_dear_of_the_one_before(machine: Machine) -> None:
    machine.processes = {7: AT_REST, 8: AT_REST}
    collector = ProcessCollector(opener=machine.opener)
    collector.collect({"canary": 7}, 1060.0)

    assert collector.collect({"canary": 8}, 1070.0)["bot.canary.pss_bytes"] == 508.0


def test_real_processes_are_collected_and_let_go(start: Start) -> None:
    own = psutil.Process()
    collector = ProcessCollector()
    pids: dict[str, int | None] = {f"bot{n}": start("sleep", "60").pid for n in range(5)}
    before = own.num_fds()
    collector.collect(pids, 1e9)
    values = collector.collect(pids, 1e9 + 10)

    assert before + 5 * procfs.DESCRIPTORS_EACH == own.num_fds()
    assert all(values[f"{bot}.up"] == 1.0 for bot in (f"bot.bot{n}" for n in range(5)))
    assert values["bot.bot3.threads"] == 1
    collector.close()
    assert before == own.num_fds()


def test_the_limit_of_open_files_is_raised_to_what_is_needed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    try:
        assert allow_descriptors(500) == 600  # never lowered
        assert allow_descriptors(700) == 700
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (700, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_not_raised_beyond_the_hard_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))

    assert allow_descriptors(10_000) == 4096
    assert set_to == [(4096, 4096)]


def test_what_children_use_is_added_up_from_the_tick_after_they_were_found(
    machine: Machine,
) -> None:
    machine.processes = {7: AT_REST, 8: AT_REST, 9: AT_REST}
    machine.children = {7: [8, 9]}
    collector = ProcessCollector(opener=machine.opener)
    first = collector.collect({"canary": 7}, 1060.0)
    second = collector.collect({"canary": 7}, 1070.0)
    machine.processes[8] = AT_REST._replace(cpu_seconds=6.0, rss_bytes=5000.0)
    machine.processes[9] = AT_REST._replace(cpu_seconds=11.0)
    third = collector.collect({"canary": 7}, 1080.0)

    assert "bot.canary.children.rss_bytes" not in first
    assert second["bot.canary.children"] == 2
    assert second["bot.canary.children.rss_bytes"] == 8192.0
    assert second["bot.canary.children.cpu_ratio"] == 0.0
    assert third["bot.canary.children.rss_bytes"] == 9096.0
    assert third["bot.canary.children.cpu_ratio"] == 1.5


def test_a_bot_that_never_forked_has_no_series_of_children(machine: Machine) -> None:
    machine.processes[7] = AT_REST
    collector = ProcessCollector(opener=machine.opener)
    rows = [collector.collect({"canary": 7}, 1060.0 + 10 * tick) for tick in range(3)]

    assert not any(".children." in name for row in rows for name in row)


def test_a_child_that_ends_is_let_go_and_its_successor_is_found_at_once(machine: Machine) -> None:
    machine.processes = {**dict.fromkeys(range(1, 101), AT_REST), 700: AT_REST, 701: AT_REST}
    machine.children = {50: [700]}
    pids: dict[str, int | None] = {f"bot{pid}": pid for pid in range(1, 101)}
    collector = ProcessCollector(opener=machine.opener, deep_every=1)
    collector.collect(pids, 1060.0)
    collector._every = 100  # one of them a tick from now on
    assert 700 in machine.open
    del machine.processes[700]
    machine.children = {50: [701]}
    collector.collect(pids, 1070.0)

    assert 700 not in machine.open
    assert 701 in machine.open


def test_children_are_given_back_with_their_bot(machine: Machine) -> None:
    machine.processes = {7: AT_REST, 8: AT_REST}
    machine.children = {7: [8]}
    collector = ProcessCollector(opener=machine.opener)
    collector.collect({"canary": 7}, 1060.0)
    assert {7, 8} == machine.open
    collector.collect({}, 1070.0)

    assert not machine.open


def test_real_children_are_found_and_measured(busy: subprocess.Popen[str]) -> None:
    collector = ProcessCollector()
    collector.collect({"canary": busy.pid}, 1e9)
    values = collector.collect({"canary": busy.pid}, 1e9 + 10)
    rss = sum(child.memory_info().rss for child in psutil.Process(busy.pid).children())
    collector.close()

    assert values["bot.canary.children"] == 2
    assert rss == pytest.approx(values["bot.canary.children.rss_bytes"], rel=0.2)
    assert values["bot.canary.children.cpu_ratio"] >= 0
