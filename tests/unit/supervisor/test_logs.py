"""Captured output through real pipes and a real log keeper."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import time
from functools import partial
from typing import IO, TYPE_CHECKING

import pytest

from outrider.supervisor import keeper, logs
from outrider.supervisor.logs import Pipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Opened = Callable[..., "Logged"]

PATIENCE_S = 20.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Logged:
    """Pipes with a keeper, and what a test does with them."""

    def __init__(self, folder: Path, **options: int) -> None:
        self.pipes = Pipes(folder / "run", folder / "logs", **options)
        self.pid, self.pidfd = self.pipes.open()
        self.log = logs.path_of(folder / "logs", "canary")

    def write(self, text: bytes) -> None:
        descriptor = self.pipes.begin("canary")
        with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as pipe:
            pipe.write(text)

    def kept(self, number: int = 0) -> bytes:
        path = self.log.with_name(f"canary.log.{number}") if number else self.log
        with contextlib.suppress(FileNotFoundError):  # also for the moment in which it begins anew
            return path.read_bytes()
        return b""

    def close(self) -> None:
        self.pipes.quit()
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)


@pytest.fixture
def opened(tmp_path: Path, supervisor_lock: IO[bytes]) -> Iterator[Opened]:
    made: list[Logged] = []

    def open_(**options: int) -> Logged:
        made.append(Logged(tmp_path, **options))
        return made[-1]

    yield open_
    for logged in made:
        logged.close()


@pytest.fixture(autouse=True)
def supervisor_lock(tmp_path: Path) -> Iterator[IO[bytes]]:
    """Hold the lock that says that a supervisor lives."""
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "supervisor.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def test_what_is_written_reaches_a_file_that_is_private_to_its_owner(opened: Opened) -> None:
    logged = opened()
    logged.write(b"before\n")
    logged.write(b"after\n")
    until(lambda: logged.kept() == b"before\nafter\n")

    assert stat.S_IMODE(logged.log.stat().st_mode) == 0o600


def test_what_was_written_before_the_end_is_kept(opened: Opened) -> None:
    logged = opened()
    logged.write(b"x" * 60_000)
    logged.close()
    logged.close = lambda: None  # type: ignore[method-assign]

    assert logged.kept() == b"x" * 60_000


def test_a_large_log_is_turned_at_the_end_of_a_line_and_older_ones_move_on(opened: Opened) -> None:
    logged = opened(most_bytes=1000, kept=2)
    for letter in (b"a", b"b", b"c", b"d", b"e", b"f"):
        logged.write((letter * 99 + b"\n") * 8)
        until(partial(_ends, logged, letter * 99 + b"\n"))

    names = sorted(path.name for path in logged.log.parent.glob("canary.lo*[0-9g]"))
    assert names == ["canary.log", "canary.log.1", "canary.log.2"]
    for number in range(3):
        assert 0 < len(logged.kept(number)) <= 1000
        assert logged.kept(number).endswith(b"\n")
    assert stat.S_IMODE(logged.log.with_name("canary.log.1").stat().st_mode) == 0o600


def _ends(logged: Logged, line: bytes) -> bool:
    return logged.kept().endswith(line)


def test_without_older_files_a_full_log_begins_anew(opened: Opened) -> None:
    logged = opened(most_bytes=1000, kept=0)
    logged.write(b"a" * 900 + b"\n")
    until(lambda: len(logged.kept()) == 901)
    logged.write(b"b" * 900 + b"\n")
    until(lambda: b"b" in logged.kept())

    assert sorted(path.name for path in logged.log.parent.glob("canary.lo*[0-9g]")) == [
        "canary.log"
    ]


def test_a_flood_is_held_back_and_the_disk_it_takes_is_bounded(opened: Opened) -> None:
    logged = opened(most_bytes=100_000, kept=1, rate=1_000_000)
    descriptor = logged.pipes.begin("canary")
    os.set_blocking(descriptor, False)
    start, written = time.monotonic(), 0
    until(lambda: logged.pipes.told().get("canary", [0, 0, 0])[2] > 0.2 or flood(descriptor))
    with contextlib.suppress(BlockingIOError):
        while True:
            written += os.write(descriptor, b"y" * 65_536)
    taken, dropped, held_s = logged.pipes.told()["canary"]
    passed_s = time.monotonic() - start
    os.close(descriptor)

    assert taken <= 1_000_000 * (passed_s + 2)
    assert (dropped, held_s > 0.2) == (0, True)
    on_disk = sum(len(logged.kept(number)) for number in range(3))
    assert on_disk <= 2 * 100_000 + 2 * keeper.CHUNK_BYTES + 10_000


def flood(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        for _ in range(64):
            os.write(descriptor, b"x" * 65_536)
    return False


def test_while_one_floods_another_is_written(opened: Opened) -> None:
    logged = opened(rate=1_000_000)
    descriptor = logged.pipes.begin("flooder")
    os.set_blocking(descriptor, False)
    flood(descriptor)
    logged.write(b"calm\n")
    until(lambda: logged.kept() == b"calm\n" or flood(descriptor))
    os.close(descriptor)


def test_a_keeper_that_was_killed_loses_nothing_that_waits_in_the_pipe(
    opened: Opened, tmp_path: Path
) -> None:
    logged = opened()
    descriptor = logged.pipes.begin("canary")
    os.write(descriptor, b"one\n")
    until(lambda: logged.kept() == b"one\n")
    os.kill(logged.pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, logged.pidfd, os.WEXITED)
    os.write(descriptor, b"two\n")  # nobody reads: no signal, no error
    again = opened()
    assert again.pid != logged.pid
    until(lambda: again.kept() == b"one\ntwo\n")
    os.close(descriptor)


def test_a_keeper_that_runs_is_found_and_not_doubled(opened: Opened) -> None:
    first = opened()
    until(lambda: first.pipes._running() == first.pid)

    assert opened().pid == first.pid


def test_a_keeper_without_supervisor_and_writers_ends(
    opened: Opened, supervisor_lock: IO[bytes]
) -> None:
    logged = opened()
    descriptor = logged.pipes.begin("canary")
    os.write(descriptor, b"first\n")
    until(lambda: logged.kept() == b"first\n")
    supervisor_lock.close()  # the supervisor was killed; its bot is there
    os.write(descriptor, b"last\n")
    until(lambda: logged.kept() == b"first\nlast\n")
    os.close(descriptor)
    os.waitid(os.P_PIDFD, logged.pidfd, os.WEXITED)


@pytest.mark.parametrize("name", ["../escape", ".orders", "/etc/passwd", ""])
def test_a_name_that_is_no_pipe_is_not_served(name: str, opened: Opened, tmp_path: Path) -> None:
    logged = opened()
    os.write(logged.pipes._orders, f"{name}\n".encode())
    logged.write(b"fine\n")
    until(lambda: logged.kept() == b"fine\n")

    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "canary.log", "canary.log.times",
    }  # fmt: skip


def test_no_log_is_no_error(tmp_path: Path) -> None:
    assert logs.size_of(tmp_path / "none.log") == 0
    assert logs.tail(tmp_path / "none.log", 5) == []
    assert list(logs.since(tmp_path / "none.log", 0.0)) == []


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 5, []),
        (b"a\nb\nc\n", 2, ["b", "c"]),
        (b"a\nb\nc", 2, ["b", "c"]),
        (b"a\nb\n", 0, []),
        (b"a\nb\n", 99, ["a", "b"]),
        (b"caf\xe9\n", 1, ["caf\N{REPLACEMENT CHARACTER}"]),
    ],
)
def test_the_last_lines_are_read(
    content: bytes, lines: int, expected: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(content)

    assert expected == logs.tail(log, lines)


def test_the_last_lines_before_a_place_are_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"a\nb\nc\n")

    assert logs.tail(log, 5, end=4) == ["a", "b"]


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("wb") as file:
        file.truncate(1 << 33)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")

    assert logs.tail(log, 1) == ["last"]


def timed(path: Path, *entries: tuple[float, int]) -> None:
    path.with_name(f"{path.name}.times").write_bytes(
        b"".join(keeper.TIMES.pack(*entry) for entry in entries)
    )


def test_lines_since_a_time_are_found_across_files(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.with_name("a.log.2").write_bytes(b"oldest\n")
    timed(log.with_name("a.log.2"), (100.0, 0))
    log.with_name("a.log.1").write_bytes(b"old\nolder half\n")
    timed(log.with_name("a.log.1"), (200.0, 0), (210.0, 4))
    log.write_bytes(b"new\n")
    timed(log, (220.0, 0))

    assert list(logs.since(log, 0.0)) == ["oldest", "old", "older half", "new"]
    assert list(logs.since(log, 205.0)) == ["older half", "new"]
    assert list(logs.since(log, 215.0)) == ["new"]
    assert list(logs.since(log, 300.0)) == []


def test_the_keeper_writes_down_when_lines_came(opened: Opened) -> None:
    logged = opened()
    before_s = time.time()
    logged.write(b"now\n")
    until(lambda: logged.kept() == b"now\n")

    assert list(logs.since(logged.log, before_s - 5)) == ["now"]
    assert list(logs.since(logged.log, time.time() + 60)) == []


def test_a_log_is_followed_across_its_turn_to_a_new_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"before\n")
    follower = logs.Follower(log)
    assert follower.lines() == []
    with log.open("ab") as file:
        file.write(b"one\nha")
        file.flush()
        assert follower.lines() == ["one"]
        file.write(b"lf\nlast of it\n")
    log.rename(log.with_name("a.log.1"))
    log.write_bytes(b"first of next\n")

    assert follower.lines() == ["half", "last of it", "first of next"]
    follower.close()


def test_a_log_that_is_not_there_yet_is_followed_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    follower = logs.Follower(log)
    assert follower.lines() == []
    log.write_bytes(b"first\n")

    assert follower.lines() == ["first"]
    follower.close()
