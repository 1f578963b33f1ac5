from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.supervisor import logs
from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.zygote.launcher import ZygoteLauncher
from tests.unit.supervisor.fleets import Fleet, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.supervisor.fleets import Run, Test


def title(pid: int) -> str:
    """Return what ``ps`` shows of a process; nothing of one that ends."""
    try:
        return " ".join(psutil.Process(pid).cmdline()).strip()
    except psutil.Error:
        return ""


class Forking(Fleet):
    """A fleet whose bots are forked."""

    def __init__(self, folder: Path) -> None:
        self.launcher = ZygoteLauncher(
            SpawnLauncher(), open_log=lambda: logs.open_file(folder / "logs", "zygote")
        )
        super().__init__(folder, self.launcher)

    def zygotes(self) -> list[int]:
        """Return the pids of those that have booted."""
        mine = f"outrider: zygote ({self.folder})"
        return [c.pid for c in psutil.Process().children() if title(c.pid).startswith(mine)]

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
