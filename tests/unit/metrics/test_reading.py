from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.metrics import process, procfs, reading
from outrider.metrics.portable import PortableReader
from outrider.metrics.procfs import ProcReader
from outrider.metrics.reading import Gone
from tests.unit.metrics.conftest import as_nobody

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from outrider.metrics.reading import Reader
    from tests.unit.metrics.conftest import Start

Kind = type[ProcReader] | type[PortableReader]
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@pytest.fixture(params=[ProcReader, PortableReader])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def sleeper(start: Start) -> subprocess.Popen[str]:
    return start("sleep", "60")


def until(state: float, reader: Reader) -> None:
    """Wait until the kernel has done what it was told."""
    deadline = time.monotonic() + 10
    while reader.read().state != state:
        assert time.monotonic() < deadline, f"state {reader.read().state}, not {state}"


def test_a_busy_process_is_read_as_psutil_reads_it(busy: subprocess.Popen[str]) -> None:
    ours, oracle = ProcReader(busy.pid), PortableReader(busy.pid)
    before, fast, after = oracle.read(), ours.read(), oracle.read()

    # psutil counts in hundredths of a second, and the process computes meanwhile.
    assert before.cpu_seconds - 0.02 <= fast.cpu_seconds <= after.cpu_seconds + 0.03
    assert before.rss_bytes == pytest.approx(fast.rss_bytes, rel=0.1)
    assert (fast.threads, fast.state) == (5, reading.RUNNING)
    assert before.fds == fast.fds
    assert (before.io_read_bytes, before.io_write_bytes) == (
        fast.io_read_bytes, fast.io_write_bytes,
    )  # fmt: skip
    assert before.switches_voluntary <= fast.switches_voluntary <= after.switches_voluntary
    assert before.switches_involuntary <= fast.switches_involuntary <= after.switches_involuntary


def test_a_stopped_process_is_read_to_the_byte_as_psutil_reads_it(
    busy: subprocess.Popen[str],
) -> None:
    busy.send_signal(signal.SIGSTOP)
    ours, oracle = ProcReader(busy.pid), PortableReader(busy.pid)
    until(reading.STOPPED, ours)
    fast, true = ours.read(), oracle.read()

    assert true.cpu_seconds == pytest.approx(fast.cpu_seconds, abs=0.03)
    assert true._replace(cpu_seconds=0.0) == fast._replace(cpu_seconds=0.0)
    assert fast.cpu_seconds > 0.3
    assert fast.io_write_bytes is not None
    assert fast.io_write_bytes >= 3_000_000
    assert fast.rss_bytes > 20_000_000
    assert fast.switches_voluntary > 10
    assert oracle.started_s == pytest.approx(ours.started_s, abs=0.02)


def test_what_is_dear_is_read_as_psutil_reads_it(busy: subprocess.Popen[str]) -> None:
    busy.send_signal(signal.SIGSTOP)
    ours, oracle = ProcReader(busy.pid), PortableReader(busy.pid)
    until(reading.STOPPED, ours)
    fast, true = ours.read_deep(), oracle.read_deep()

    assert (true.children, fast.children) == (2, 2)
    assert true.pss_bytes is not None
    # A page that another process maps or drops meanwhile moves the share a little.
    assert true.pss_bytes == pytest.approx(fast.pss_bytes, rel=0.02)


def test_descendants_are_found_as_psutil_finds_them(start: Start) -> None:
    shell = start("sh", "-c", "sh -c 'sleep 60 & sleep 60 & wait' & sleep 60 & wait")
    deadline = time.monotonic() + 10
    while len(psutil.Process(shell.pid).children(recursive=True)) < 4:
        assert time.monotonic() < deadline
    ours, oracle = ProcReader(shell.pid), PortableReader(shell.pid)

    assert sorted(oracle.descendants()) == sorted(ours.descendants())
    assert len(ours.descendants()) == 4


def test_cpu_time_grows_while_a_process_computes(busy: subprocess.Popen[str], kind: Kind) -> None:
    reader = kind(busy.pid)
    first_s, deadline = reader.read().cpu_seconds, time.monotonic() + 20
    while reader.read().cpu_seconds < first_s + 0.1:
        assert time.monotonic() < deadline


def test_descriptors_that_are_opened_and_closed_are_counted(kind: Kind) -> None:
    reader = kind(os.getpid())
    before = reader.read().fds
    assert before is not None
    with Path(os.devnull).open() as _one, Path(os.devnull).open() as _other:
        assert before + 2 == reader.read().fds
    assert before == reader.read().fds


def test_descriptors_are_listed_where_the_kernel_does_not_count_them(
    busy: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "_size_counts_descriptors", lambda: False)

    assert PortableReader(busy.pid).read().fds == ProcReader(busy.pid).read().fds


def test_a_process_that_never_was_is_gone(kind: Kind) -> None:
    with pytest.raises(Gone):
        kind(2**22 + 7)


def test_a_process_that_ended_is_gone(kind: Kind, sleeper: subprocess.Popen[str]) -> None:
    reader = kind(sleeper.pid)
    sleeper.kill()
    sleeper.wait()

    for read in (reader.read, reader.read_deep):
        with pytest.raises(Gone):
            read()


def test_a_process_that_nobody_has_waited_for_is_a_zombie(
    kind: Kind, sleeper: subprocess.Popen[str]
) -> None:
    reader = kind(sleeper.pid)
    sleeper.kill()
    until(reading.ZOMBIE, reader)

    assert reader.read().rss_bytes == 0
    assert kind(sleeper.pid).read().state == reading.ZOMBIE


def test_a_pid_that_belongs_to_another_process_now_is_gone(
    kind: Kind, sleeper: subprocess.Popen[str], start: Start
) -> None:
    if not os.access(LAST_PID, os.W_OK):
        pytest.skip("only root may choose the next pid")
    reader = kind(sleeper.pid)
    started_s = reader.started_s
    sleeper.kill()
    sleeper.wait()
    time_ns = time.monotonic_ns()
    while time.monotonic_ns() < time_ns + 20_000_000:  # the kernel counts starts in hundredths
        pass
    for _ in range(100):
        LAST_PID.write_text(str(sleeper.pid - 1))
        if start("sleep", "60").pid == sleeper.pid:
            break
    else:
        pytest.fail("the pid could not be had again")

    for read in (reader.read, reader.read_deep):
        with pytest.raises(Gone):
            read()
    assert kind(sleeper.pid).started_s > started_s


def test_what_another_users_process_hides_is_left_out(kind: Kind) -> None:
    with as_nobody():
        reader = kind(1)
        found, deep = reader.read(), reader.read_deep()

    assert (found.fds, found.io_read_bytes, found.io_write_bytes) == (None, None, None)
    assert deep.pss_bytes is None
    assert found.rss_bytes > 0
    assert found.threads >= 1


def test_a_process_that_becomes_another_users_is_read_on(sleeper: subprocess.Popen[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    reader = ProcReader(sleeper.pid)
    assert reader.read().io_read_bytes is not None
    with as_nobody():  # to the kernel it is the same, whoever of the two has changed
        assert reader.read().io_read_bytes is None


def test_closing_gives_descriptors_back_and_may_be_repeated(sleeper: subprocess.Popen[str]) -> None:
    own = psutil.Process()
    before = own.num_fds()
    reader = ProcReader(sleeper.pid)
    assert before + procfs.DESCRIPTORS_EACH == own.num_fds()
    reader.close()
    reader.close()

    assert before == own.num_fds()


def test_a_process_that_is_gone_leaves_no_descriptors_open() -> None:
    own = psutil.Process()
    before = own.num_fds()
    with pytest.raises(Gone):
        ProcReader(2**22 + 7)

    assert before == own.num_fds()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Leave this process no descriptor more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 3, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_psutil_reads_what_there_are_no_descriptors_for() -> None:
    own = os.getpid()
    held: list[Reader] = []
    for _ in range(30):
        held.append(process.open_reader(own))
        if isinstance(held[-1], PortableReader):
            break

    for fast in held[:-1]:
        fast.close()
    assert isinstance(held[-1], PortableReader)
    assert held[-1].read().rss_bytes > 0


def test_an_error_that_is_no_end_is_not_taken_for_one(
    sleeper: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ProcReader(sleeper.pid)

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(procfs, "_pread", broken)
    with pytest.raises(OSError, match="broken"):
        reader.read()


def test_a_process_with_an_odd_name_is_read(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "a) R 1 (b"
    script.symlink_to("/bin/sleep" if Path("/bin/sleep").exists() else "/usr/bin/sleep")
    odd = start(str(script), "60")
    deadline = time.monotonic() + 10
    while psutil.Process(odd.pid).name() != "a) R 1 (b":
        assert time.monotonic() < deadline
    started_s = psutil.Process(odd.pid).create_time()

    assert started_s == pytest.approx(ProcReader(odd.pid).started_s, abs=0.02)
    assert ProcReader(odd.pid).read().threads == 1


def test_a_process_of_a_user_with_many_groups_is_read(start: Start) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may choose its groups")
    groups = ",".join(str(group) for group in range(1_000_000, 1_003_000))
    shell = start("setpriv", f"--groups={groups}", "sleep", "60")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{shell.pid}/comm").read_text() != "sleep\n":
        assert time.monotonic() < deadline
    reader, oracle = ProcReader(shell.pid), PortableReader(shell.pid)

    assert len(Path(f"/proc/{shell.pid}/status").read_bytes()) > 20_000
    until(reading.SLEEPING, reader)
    assert oracle.read()._replace(cpu_seconds=0.0) == reader.read()._replace(cpu_seconds=0.0)


def test_linux_is_read_through_descriptors() -> None:
    expected = ProcReader if sys.platform == "linux" else PortableReader

    assert expected is type(process.open_reader(os.getpid()))
