from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from outrider.supervisor import process
from tests.unit.supervisor.fleets import Fleet, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.supervisor.fleets import Run, Test


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a process for alive sooner than in real life."""
    monkeypatch.setattr(process, "ALIVE_AFTER_S", 0.05)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a test's coroutine with an open fleet, and see that nothing of it stays behind."""

    def run(test: Callable[[Fleet], Test]) -> None:
        async def both() -> None:
            async with opened(Fleet(tmp_path)) as fleet:
                await test(fleet)

        before = {child.pid for child in psutil.Process().children(recursive=True)}
        asyncio.run(both())
        after = {child.pid for child in psutil.Process().children(recursive=True)}
        assert after <= before, "processes were left behind"

    return run
