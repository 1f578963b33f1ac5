from __future__ import annotations

import os
import subprocess
import sys

from tests.servers import leash


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", leash.__file__, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_program_takes_the_place_of_the_leash() -> None:
    ended = run(str(os.getpid()), "sh", "-c", 'echo "$0 $1"; exit 7', "a", "b c")

    assert (ended.returncode, ended.stdout) == (7, "a b c\n")


def test_a_program_whose_parent_died_meanwhile_is_not_started() -> None:
    ended = run("1", "echo", "started")

    assert (ended.returncode, ended.stdout) == (1, "")


def test_a_program_that_is_not_there_is_named() -> None:
    ended = run(str(os.getpid()), "no-such-program")

    assert ended.returncode == 127
    assert ended.stderr == "no-such-program can't be started: No such file or directory\n"


def test_a_file_that_is_no_program_is_named() -> None:
    ended = run(str(os.getpid()), "/etc/hostname")

    assert ended.returncode == 127
    assert "can't be started" in ended.stderr
