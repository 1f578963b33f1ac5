from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from outrider.supervisor.zygote.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def changes(folder: Path, do: Callable[[], Any]) -> int:
    """Return how often a watch of ``folder/a.py`` tells of what ``do`` does."""
    told: list[None] = []

    async def watch() -> None:
        watched = Watch([str(folder / "a.py")], lambda: told.append(None))
        assert not watched.blind
        do()
        watched.look()
        watched.close()

    asyncio.run(watch())
    return len(told)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "a.py").write_text("1")
    return folder


@pytest.mark.parametrize(
    "do",
    [
        lambda file: file.write_text("2"),
        lambda file: file.unlink(),
        lambda file: (
            file.with_name("a.tmp").write_text("2") and file.with_name("a.tmp").rename(file)
        ),
        lambda file: file.rename(file.with_name("b.py")),
        os.utime,
        lambda file: file.parent.rename(file.parent.with_name("old")),
    ],
    ids=["written", "deleted", "replaced", "renamed", "touched", "folder moved"],
)
def test_a_change_is_told(do: Callable[[Path], Any], folder: Path) -> None:
    assert changes(folder, lambda: do(folder / "a.py")) == 1


@pytest.mark.parametrize(
    "do",
    [
        lambda file: file.read_text(),
        lambda file: file.with_name("bot.log").write_text("line"),
        lambda file: (file.parent / "__pycache__").mkdir(),
    ],
    ids=["read", "another file", "a cache"],
)
def test_what_is_no_change_is_not(do: Callable[[Path], Any], folder: Path) -> None:
    assert changes(folder, lambda: do(folder / "a.py")) == 0


def test_a_watch_tells_by_itself(folder: Path) -> None:
    async def wait() -> None:
        changed = asyncio.Event()
        watched = Watch([str(folder / "a.py")], changed.set)
        (folder / "a.py").write_text("2")
        await asyncio.wait_for(changed.wait(), 20)
        watched.close()

    asyncio.run(wait())


def test_a_folder_that_can_not_be_watched_makes_it_blind(tmp_path: Path) -> None:
    async def look() -> None:
        watched = Watch([str(tmp_path / "absent" / "a.py")], lambda: None)
        assert watched.blind
        watched.look()
        watched.close()

    asyncio.run(look())
