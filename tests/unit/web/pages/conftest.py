"""A fleet as the tasks leave it in a real Redis, and somebody who asks its pages for JSON."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts import journal
from outrider.alerts.state import Alert, Transition
from outrider.clock import tick_at
from outrider.settings import Retention, Settings
from outrider.store import connection, keys, tiers
from outrider.store.redis import RedisStore
from outrider.web.app import assemble
from outrider.web.source import Source
from tests.unit.web.conftest import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERVAL_S = 10.0
EVIL = "<img src=x onerror=alert(1)>\x1b[31m\n"


class Stored:
    """Writes what the tasks write, by the functions that they use."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.now_s = time.time()
        self.client = connection.connect(url)
        self.store = RedisStore(url, interval_s=INTERVAL_S, client=self.client)
        self.settings = Settings.model_validate({"host": "alpha", "data_dir": folder})

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def row(self, values: dict[str, float], host: str = "alpha", *, ticks_ago: int = 0) -> None:
        self.client.zadd(keys.HOSTS, {host: self.now_s})
        self.store.append(host, tick_at(self.now_s, INTERVAL_S) - ticks_ago, values)

    def fires(self, *, host: str = "alpha", instance: str = "bot.canary.up", **given: Any) -> Alert:
        since_s = self.now_s - 60
        rule, summary = given.get("rule", "bot is down"), given.get("summary", "no process")
        severity, to = given.get("severity", "critical"), given.get("state", "firing")
        alert = Alert(rule, instance, host, severity, to, since_s, summary=summary)
        change = Transition(
            "t-1", rule, instance, host, severity, "pending", to, since_s, 1, 0.0, summary
        )
        assert journal.commit(self.client, host, 1, [alert], [change])
        return alert

    def bots(self, *words: dict[str, Any], host: str = "alpha") -> None:
        self.client.set(keys.bots(host), json.dumps(words))

    def did(self, **action: Any) -> None:
        self.client.lpush(keys.ACTIONS, json.dumps({"at_s": self.now_s, **action}))

    def source(self) -> Source:
        tiered = tiers.of_redis(self.store, Retention(), client=self.client)
        return Source(
            tiered, self.client, address="redis://db/0", clock=self, settings=self.settings
        )


@pytest.fixture
def stored(valkey_url: str, tmp_path: Path) -> Iterator[Stored]:
    made = Stored(valkey_url, tmp_path)
    yield made
    made.client.close()


@pytest.fixture
def visitor(stored: Stored, token: str) -> Iterator[Visitor]:
    """Someone with the token; each asks a dashboard of its own."""
    app = assemble(stored.source(), token=token)
    with asyncio.Runner() as runner:
        made = Visitor(app, runner)
        made.headers["Authorization"] = f"Bearer {token}"
        yield made
