"""Entries run as bots do: in a process of their own, by the same command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

BOT = """
import asyncio, functools, sys, time

def plain():
    print("plain", flush=True)

async def later():
    await asyncio.sleep(0)
    print("later", flush=True)

def wrapped():
    return later()

class Callable:
    async def __call__(self):
        await later()

instance = Callable()
partly = functools.partial(later)

def fails():
    raise RuntimeError("it broke")

def stays():
    try:
        print("up", flush=True)
        time.sleep(600)
    finally:
        print("tidied", flush=True)

async def stays_async():
    try:
        print("up", flush=True)
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("tidied", flush=True)

def stays_in_a_loop_of_its_own():
    asyncio.run(stays_async())

def imports():
    import neighbour
    print(neighbour.WORD, sys.argv[1:], flush=True)

constant = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mybots").mkdir()
    (tmp_path / "mybots" / "canary.py").write_text(BOT)
    (tmp_path / "mybots" / "broken.py").write_text("import no_such_package")
    (tmp_path / "neighbour.py").write_text("WORD = 'hello'")
    return tmp_path


def popen(folder: Path, entry: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "outrider.supervisor.entry", entry],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(folder: Path, entry: str) -> tuple[int, str, str]:
    with popen(folder, entry) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("plain", "plain\n"),
        ("later", "later\n"),
        ("wrapped", "later\n"),
        ("instance", "later\n"),
        ("partly", "later\n"),
        ("imports", "hello ['mybots.canary:imports']\n"),
    ],
)
def test_an_entry_is_called_whether_async_or_not(function: str, said: str, folder: Path) -> None:
    assert ended(folder, f"mybots.canary:{function}") == (0, said, "")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("mybots.canary:absent", "module mybots.canary has no function absent"),
        ("mybots.canary:constant", "module mybots.canary has no function constant"),
        ("mybots.absent:main", "module mybots.absent can't be found"),
        ("absent.canary:main", "module absent can't be found"),
    ],
)
def test_what_is_missing_is_said_in_one_line(entry: str, words: str, folder: Path) -> None:
    code, _, err = ended(folder, entry)

    assert code == 1
    assert words in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("mybots.canary:fails", "RuntimeError: it broke"),
        ("mybots.broken:main", "No module named 'no_such_package'"),
    ],
)
def test_what_breaks_inside_a_bot_is_shown_with_its_place(
    entry: str, words: str, folder: Path
) -> None:
    code, _, err = ended(folder, entry)

    assert code == 1
    assert words in err
    assert "Traceback" in err


@pytest.mark.parametrize("function", ["stays", "stays_async", "stays_in_a_loop_of_its_own"])
def test_a_bot_tidies_up_when_it_is_told_to_stop(function: str, folder: Path) -> None:
    with popen(folder, f"mybots.canary:{function}") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "tidied\n", "")
