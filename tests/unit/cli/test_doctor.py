from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from outrider.settings import Settings
from outrider.store import connection, keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from tests.unit.cli.conftest import Outrider


def states(said: Result) -> dict[str, str]:
    """Return what was looked at, and how it is."""
    lines = [line.split() for line in said.stdout.splitlines()[1:]]
    return {
        "dead letters" if line[0] == "dead" else line[0]: line[2 if line[0] == "dead" else 1]
        for line in lines
    }


@pytest.fixture
def running(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    with connection.connect(valkey_url) as client:
        RedisStore("", client=client).append(
            Settings().host, int(time.time() // 10), {"host.load.1m": 1.0}
        )
    return valkey_url


def test_what_is_well_is_ok_and_what_does_not_run_has_failed(
    running: str, outrider: Outrider
) -> None:
    said = outrider("doctor")

    assert said.exit_code == 1
    assert states(said) == {
        "python": "ok", "kernel": "ok", "settings": "ok", "redis": "ok", "ticks": "ok",
        "dead letters": "ok", "supervisor": "failed", "limits": "ok",
    }  # fmt: skip


def test_old_ticks_and_dead_letters_are_found(
    valkey_url: str, running: str, outrider: Outrider
) -> None:
    with connection.connect(valkey_url) as client:
        store = RedisStore("", client=client)
        store.expire(Settings().host, 1e12)
        store.append(Settings().host, int(time.time() // 10) - 60, {"host.load.1m": 1.0})
        client.lpush(keys.DEAD, json.dumps({"id": "1"}))
    said = outrider("doctor")

    assert (states(said)["ticks"], states(said)["dead letters"]) == ("failed", "failed")
    assert "see the logs of worker and beat" in said.stdout


def test_without_a_redis_the_rest_is_still_looked_at(outrider: Outrider) -> None:
    said = outrider("doctor")

    assert said.exit_code == 1
    assert states(said) == {
        "python": "ok", "kernel": "ok", "settings": "ok", "redis": "failed", "supervisor": "failed",
        "limits": "ok",
    }  # fmt: skip


def test_wrong_settings_are_shown_and_nothing_else_is_tried(
    folder: Path, outrider: Outrider
) -> None:
    (folder / "outrider.toml").write_text("interval = 5")
    said = outrider("doctor")

    assert said.exit_code == 1
    assert states(said)["settings"] == "failed"
    assert "redis" not in states(said)
    assert "interval_s?" in said.stdout


def test_a_password_is_not_shown(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text('redis_url = "redis://:hunter2@127.0.0.1:1/0"')

    assert "hunter2" not in outrider("doctor").output
