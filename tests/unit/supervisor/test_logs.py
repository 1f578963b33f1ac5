from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from outrider.supervisor import logs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    os.close(logs.open_for(tmp_path, "canary"))
    return logs.path_of(tmp_path, "canary")


def test_a_log_is_private_to_its_owner(log: Path) -> None:
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_is_continued(tmp_path: Path, log: Path) -> None:
    log.write_text("before\n")
    descriptor = logs.open_for(tmp_path, "canary")
    os.write(descriptor, b"after\n")
    os.close(descriptor)

    assert log.read_text() == "before\nafter\n"


def test_a_small_log_stays(log: Path) -> None:
    log.write_bytes(b"x" * 10)

    assert logs.rotate(log, most_bytes=10) is False
    assert log.stat().st_size == 10


def test_a_large_log_is_moved_and_older_ones_one_further(log: Path) -> None:
    for content in ("first", "second", "third", "fourth"):
        log.write_text(content)
        assert logs.rotate(log, most_bytes=1, kept=2) is True

    assert log.read_text() == ""
    assert log.with_name("canary.log.1").read_text() == "fourth"
    assert log.with_name("canary.log.2").read_text() == "third"
    assert len(list(log.parent.iterdir())) == 3


def test_what_was_rotated_is_as_private(log: Path) -> None:
    log.write_text("secret")
    logs.rotate(log, most_bytes=1)

    assert stat.S_IMODE(log.with_name("canary.log.1").stat().st_mode) == 0o600


def test_who_holds_the_log_open_goes_on_writing_to_it(tmp_path: Path, log: Path) -> None:
    descriptor = logs.open_for(tmp_path, "canary")
    os.write(descriptor, b"before\n")
    logs.rotate(log, most_bytes=1)
    os.write(descriptor, b"after\n")
    os.close(descriptor)

    assert log.read_bytes() == b"after\n"


def test_no_log_is_no_error(tmp_path: Path) -> None:
    assert logs.rotate(tmp_path / "none.log") is False
    assert logs.tail(tmp_path / "none.log", 5) == []


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
    content: bytes, lines: int, expected: list[str], log: Path
) -> None:
    log.write_bytes(content)

    assert expected == logs.tail(log, lines)


def test_only_the_end_of_a_huge_log_is_read(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(1 << 33)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")

    assert logs.tail(log, 1) == ["last"]
