from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from outrider.alerts import journal
from outrider.alerts.state import Alert
from outrider.store import connection, keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Outrider


@pytest.fixture(autouse=True)
def seeded(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis with a host, a bot that is up, and an alert with a hostile name."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    now_s = time.time()
    with connection.connect(valkey_url) as client:
        client.zadd(keys.HOSTS, {"h": now_s})
        RedisStore("", client=client).append(
            "h", int(now_s // 10), {"bot.canary.up": 1.0, "bot.canary.ready": 1.0}
        )
        alert = Alert(
            "rule", "bot.canary.up", "h", "critical", "firing", now_s, 0.0, now_s,
            summary="it burns [bold]\x1b[2J",
        )  # fmt: skip
        journal.commit(client, "h", 1, [alert], [])


def test_the_first_screen_says_how_the_fleet_is(outrider: Outrider) -> None:
    said = outrider("status")

    assert said.exit_code == 0
    assert "canary" in said.stdout
    assert "s old" in said.stdout
    assert "! it burns [bold]" in said.stdout
    assert "\x1b[2J" not in said.stdout


def test_the_whole_can_be_read_as_json(outrider: Outrider) -> None:
    found = json.loads(outrider("status", "--json").stdout)

    assert [bot["name"] for bot in found["bots"]] == ["canary"]
    assert found["stack"] == {"processes": [], "events": []}
    assert found["alerts"][0]["rule"] == "rule"
