"""The database page's data, with a session that blocks another on a real server."""

from __future__ import annotations

import threading
import time

import redis
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from outrider.database import budget, fleet, page
from outrider.metrics import database as reach
from outrider.samples import Row
from outrider.settings import Settings

SOON_S = 30.0


def settings_of(url: str) -> Settings:
    bots = {"owl": {"entry": "m:f"}}
    return Settings.model_validate({"bots": bots, "database": {"url": url, "max_connections": 40}})


def test_the_page_shows_pools_against_the_wall_waiting_and_who_blocks_whom(
    postgres_url: str, valkey_url: str
) -> None:
    client, settings = redis.Redis.from_url(valkey_url), settings_of(postgres_url)
    client.flushdb()
    planned = fleet.plan(settings)
    server = fleet.server_name(settings)
    assert planned is not None
    assert server is not None
    fleet.put_in_force(settings, planned, budget.Budget(client, server))
    waits = Row("here", 1.0, {"bot.owl.db.pool.waiting": 3.0, "bot.owl.rss_bytes": 5.0})
    engine = sa.create_engine(
        reach.parse(postgres_url), poolclass=NullPool, connect_args={"application_name": "owl"}
    )
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS page_locks (x int)"))

    def second() -> None:
        with engine.begin() as waiting:
            waiting.execute(sa.text("LOCK TABLE page_locks"))

    waiter = threading.Thread(target=second)
    with engine.begin() as holding:
        holding.execute(sa.text("LOCK TABLE page_locks"))
        waiter.start()
        deadline = time.monotonic() + SOON_S
        while not (told := page.build(settings, client, [waits]))["blocked"]:
            assert time.monotonic() < deadline
    waiter.join(SOON_S)

    assert (told["wall"], told["error"]) == (planned.wall, None)
    assert told["waiting"] == {"owl": {"waiting": 3.0}}
    blocked = told["blocked"][0]
    assert (blocked["who"], blocked["by_who"]) == ("owl", "owl")
    assert blocked["statement"] == "LOCK TABLE page_locks"
    assert page.build(settings, client, [])["blocked"] == []


def test_a_server_that_is_away_is_a_state_of_the_page(valkey_url: str) -> None:
    client = redis.Redis.from_url(valkey_url)
    told = page.build(settings_of("postgresql://x@127.0.0.1:1/y"), client, [])

    assert "refused" in told["error"]
    assert told["blocked"] == []
