"""Real processes to be read: a busy one, and whatever else a test starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]

NOBODY = 65_534
BUSY = """
import os, subprocess, sys, threading, time

held = [open(os.devnull) for _ in range(10)]
ended = threading.Event()
threads = [threading.Thread(target=ended.wait, daemon=True) for _ in range(3)]
[thread.start() for thread in threads]
# One child of the main thread, one of another: the kernel lists them apart.
children = [subprocess.Popen(["sleep", "60"])]
other = threading.Thread(
    target=lambda: (children.append(subprocess.Popen(["sleep", "60"])), ended.wait()), daemon=True
)
other.start()
while len(children) < 2:
    time.sleep(0.001)
with open(sys.argv[1], "wb") as file:
    file.write(os.urandom(3_000_000))
    os.fsync(file.fileno())
memory = bytearray(os.urandom(20_000_000))
start = time.process_time()
while time.process_time() - start < 0.3:
    time.sleep(0.0001)
    sum(range(2000))
print("busy", flush=True)
while True:
    sum(range(10_000))
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program; it is gone after the test, its children too."""
    running: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        running.append(process)
        return process

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def busy(start: Start, tmp_path: os.PathLike[str]) -> subprocess.Popen[str]:
    """A process that computes, with threads, files, children and a past."""
    process = start(sys.executable, "-c", BUSY, f"{os.fspath(tmp_path)}/written")
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    return process


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root for a while, so that other users' processes are closed to us."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
