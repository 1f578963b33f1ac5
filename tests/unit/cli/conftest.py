from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from outrider.cli import terminal
from outrider.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Outrider = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in; output is not wrapped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal.console, "width", 250)
    return tmp_path


@pytest.fixture
def outrider() -> Outrider:
    """Run a command as from a shell, within this process."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments), catch_exceptions=False)

    return run
