from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.pool import QueuePool

import outrider
from outrider.errors import BadArgument
from outrider.metrics import frame
from outrider.sdk import bot as bots
from outrider.sdk import database

if TYPE_CHECKING:
    from pathlib import Path

VARIABLES = ("OUTRIDER_PRESET", "OUTRIDER_POOL_SIZE", "OUTRIDER_BOT")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that nobody supervises, and that has made no bot yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(bots, "_CURRENT", [])
    monkeypatch.setattr(database, "_REPORTING", [])


def size_of(path: Path, **options: Any) -> int:
    engine = outrider.create_engine(f"sqlite:///{path}/bot.db", **options)
    assert isinstance(engine.pool, QueuePool)
    return engine.pool.size()


def test_development_is_the_preset_of_who_says_nothing(tmp_path: Path) -> None:
    assert size_of(tmp_path) == 3


def test_the_preset_comes_from_the_call_then_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_PRESET", "staging")

    assert size_of(tmp_path) == 5
    assert size_of(tmp_path, preset="production") == 8


def test_the_supervisors_plan_goes_before_the_preset_and_the_caller_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_POOL_SIZE", "4")

    assert size_of(tmp_path, preset="production") == 4
    assert size_of(tmp_path, pool_size=6) == 6


@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5"])
def test_a_pool_size_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_POOL_SIZE", text)

    with pytest.raises(BadArgument, match="OUTRIDER_POOL_SIZE"):
        outrider.create_engine("sqlite://")


def test_an_unknown_preset_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_PRESET", "fast")

    with pytest.raises(BadArgument, match="choose one of development, staging"):
        outrider.create_engine("sqlite://")


@pytest.mark.parametrize("first", ["bot", "engine"])
def test_the_bots_frames_tell_of_its_pool_whichever_is_made_first(
    tmp_path: Path, first: str
) -> None:
    sent: list[bytes] = []

    def transport(message: bytes) -> bool:
        sent.append(message)
        return True

    if first == "bot":
        bot = outrider.Bot("canary", transport=transport)
        engine = outrider.create_engine(f"sqlite:///{tmp_path}/bot.db")
    else:
        engine = outrider.create_engine(f"sqlite:///{tmp_path}/bot.db")
        bot = outrider.Bot("canary", transport=transport)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        bot.flush()
    bot._wake.set()
    engine.dispose()

    gauges = frame.decode(sent[-1]).gauges
    assert gauges["db.pool.used"] >= 1
    assert gauges["db.queries_total"] >= 1
    assert bot._sources.count(bot._sources[0]) == len(bot._sources) == 1


def test_importing_outrider_and_a_bot_does_not_import_sqlalchemy() -> None:
    script = (
        "import sys, outrider, outrider.sdk, outrider.sdk.database; outrider.Bot;"
        "outrider.create_engine; print([name for name in ('sqlalchemy', 'numpy') "
        "if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
