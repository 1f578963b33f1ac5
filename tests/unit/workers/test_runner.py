"""The parent of `outrider up`, with a supervisor that is a few lines of Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.unit.supervisor.fleets import gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PARENT = """
import os, signal, subprocess, sys, time
from pathlib import Path
from outrider.workers import runner
folder = Path(sys.argv[1])
runner.stay_behind(lambda text: print(text, flush=True))
ended = []
for number in runner.SIGNALS:
    signal.signal(number, lambda number, _: ended.append(number))
starts = len(list(folder.glob("start.*")))
if not starts:
    bot = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (folder / "bot").write_text(str(bot.pid))
(folder / f"start.{starts}").write_text(str(os.getpid()))
exec(sys.argv[2])
while not ended: time.sleep(0.01)
raise SystemExit(int(ended[0]))
"""


class Parent:
    def __init__(self, folder: Path, then: str = "") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(folder), then], stdout=subprocess.PIPE, text=True
        )

    def child(self, start: int) -> int:
        path = self.folder / f"start.{start}"
        until(lambda: path.exists() and path.read_text())
        return int(path.read_text())

    @property
    def bot(self) -> int:
        return int((self.folder / "bot").read_text())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[..., Parent]]:
    made: list[Parent] = []

    def start(then: str = "") -> Parent:
        made.append(Parent(tmp_path, then))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
        each.process.wait(20)
        assert each.process.stdout is not None
        each.process.stdout.close()


def test_a_killed_child_is_started_again_and_its_bot_is_ours(
    parent: Callable[..., Parent],
) -> None:
    up = parent()
    first = up.child(0)
    os.kill(first, signal.SIGKILL)
    second = up.child(1)

    assert second != first
    assert psutil.Process(up.bot).ppid() == up.process.pid
    assert up.process.stdout is not None
    assert up.process.stdout.readline() == (
        "the supervisor was killed by SIGKILL; the next one adopts what runs\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_child_whose_code_is_ours_and_nothing_is_left(
    number: signal.Signals, parent: Callable[..., Parent]
) -> None:
    up = parent()
    up.child(0)
    bot = up.bot
    time.sleep(0.05)
    up.process.send_signal(number)

    assert up.process.wait(20) == number
    assert gone(bot)


def test_a_killed_parent_is_told_to_the_child(parent: Callable[..., Parent]) -> None:
    up = parent()
    child, bot = up.child(0), up.bot
    up.process.kill()
    until(lambda: gone(child))
    os.kill(bot, signal.SIGKILL)


def test_a_child_that_ends_by_itself_is_not_started_again(parent: Callable[..., Parent]) -> None:
    up = parent("raise SystemExit(7)")

    assert up.process.wait(20) == 7
    assert len(list(up.folder.glob("start.*"))) == 1


def test_a_child_that_is_killed_again_and_again_is_given_up(
    parent: Callable[..., Parent],
) -> None:
    up = parent("os.kill(os.getpid(), 11)")

    assert up.process.wait(60) == 1
    assert len(list(up.folder.glob("start.*"))) == 10
    assert gone(up.bot)
