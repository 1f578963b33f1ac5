from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.zygote.launcher import ZygoteLauncher
from tests.unit.supervisor.fleets import Fleet, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.supervisor.fleets import Run, Test


class Forking(Fleet):
    """A fleet whose bots are forked."""

    def __init__(self, folder: Path) -> None:
        self.launcher = ZygoteLauncher(SpawnLauncher(), logs_dir=folder / "logs")
        super().__init__(folder, self.launcher)

    def zygotes(self) -> list[int]:
        """Return the pids of those that have booted."""
        titles = {child.pid: " ".join(child.cmdline()) for child in psutil.Process().children()}
        mine = f"outrider: zygote ({self.folder})"
        return [pid for pid, title in titles.items() if title.startswith(mine)]

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a test's coroutine with a forking fleet, and see that nothing of it stays behind."""

    def run(test: Callable[[Forking], Test]) -> None:
        async def both() -> None:
            async with opened(Forking(tmp_path)) as fleet:
                await test(fleet)  # type: ignore[arg-type]

        before = {child.pid for child in psutil.Process().children(recursive=True)}
        asyncio.run(both())
        after = {child.pid for child in psutil.Process().children(recursive=True)}
        assert after <= before, "processes were left behind"

    return run
