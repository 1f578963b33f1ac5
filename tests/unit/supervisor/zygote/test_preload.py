from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from outrider.supervisor.zygote import preload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENTRY = """
from __future__ import annotations
import json
import xml.dom
from collections import OrderedDict, deque
from . import beside
from .beside import word
from ..top import other
import topmost
import {missing}
if True:
    import conditional
try:
    import optional
except ImportError:
    optional = None
def later():
    import lazy
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("zoo", "topmost"))]:
        del sys.modules[name]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the threads and sockets of the test's own process not count."""
    monkeypatch.setattr(preload, "threads", str)
    monkeypatch.setattr(preload, "unshared", set)


def put(folder: Path, path: str, text: str = "") -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_imports_are_found_through_the_bots_own_sources_without_running_them(
    folder: Path,
) -> None:
    put(folder, "zoo/__init__.py", "import wave\nraise RuntimeError('was run')")
    put(folder, "zoo/bots/__init__.py")
    put(folder, "zoo/bots/canary.py", ENTRY.format(missing="absent.library"))
    put(folder, "zoo/bots/beside.py", "import sqlite3, zoo.bots.canary")
    put(folder, "zoo/top.py", "import colorsys")
    put(folder, "topmost.py", "from email import message, no_such")
    found = preload.wanted("zoo.bots.canary", folder)

    assert found.modules == {
        "json": set(), "xml.dom": set(), "collections": {"OrderedDict", "deque"}, "wave": set(),
        "sqlite3": set(), "colorsys": set(), "email": {"message", "no_such"},
        "absent.library": set(),
    }  # fmt: skip
    assert found.sources == {
        str(folder / path)
        for path in (
            "zoo/__init__.py", "zoo/bots/__init__.py", "zoo/bots/canary.py", "zoo/bots/beside.py",
            "zoo/top.py", "topmost.py",
        )
    }  # fmt: skip
    assert "zoo" not in sys.modules


def test_a_data_folder_that_is_called_like_a_library_does_not_hide_it(folder: Path) -> None:
    put(folder, "zoo.py", "import sqlite3")
    put(folder, "sqlite3/data.txt")

    assert list(preload.wanted("zoo", folder).modules) == ["sqlite3"]


@pytest.mark.parametrize("text", ["def broken(:", "\0", "# no import"])
def test_what_can_not_be_parsed_wants_nothing(text: str, folder: Path) -> None:
    put(folder, "zoo.py", text)

    assert preload.wanted("zoo", folder).modules == {}
    assert preload.wanted("zoo_absent", folder).sources == set()


def test_what_fails_is_told_with_its_traceback_and_the_rest_is_imported(
    folder: Path, alone: None
) -> None:
    put(folder, "zoo_bad.py", "import zoo_nowhere")
    put(folder, "zoo_good.py")
    asked: list[str] = []
    failed = preload.load({"zoo_bad": set(), "zoo_good": set()}, on_import=asked.append)

    assert list(failed) == ["zoo_bad"]
    assert "No module named 'zoo_nowhere'" in failed["zoo_bad"]
    assert "zoo_good" in sys.modules
    assert asked == ["zoo_bad", "zoo_good"]


def test_names_that_are_submodules_are_imported_as_the_statement_would(
    folder: Path, alone: None
) -> None:
    put(folder, "zoo/__init__.py")
    put(folder, "zoo/inner.py")
    assert preload.load({"zoo": {"inner", "absent"}}) == {}
    assert "zoo.inner" in sys.modules


def test_threads_are_named_by_what_python_or_the_kernel_calls_them() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="poller")
    thread.start()
    try:
        assert f"poller ({thread.native_id})" in preload.threads()
    finally:
        done.set()
        thread.join()


def test_a_pipe_is_not_shared_and_a_file_may_be(tmp_path: Path) -> None:
    before = preload.unshared()
    reads, writes = os.pipe()
    try:
        with (tmp_path / "file").open("w"):
            assert {each[:5] for each in preload.unshared() - before} == {"pipe:"}
    finally:
        os.close(reads)
        os.close(writes)


def test_a_stamp_differs_after_a_change_and_there_is_none_of_what_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("1")
    before = preload.stamped(str(file))
    assert before is not None
    replaced = tmp_path / "b.py"
    replaced.write_text("1")
    os.utime(replaced, ns=(before[0], before[0]))
    replaced.rename(file)  # same text, same time: another inode

    assert preload.stamped(str(file)) != before
    file.unlink()
    assert preload.stamped(str(file)) is None
