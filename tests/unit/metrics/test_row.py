from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from outrider.metrics import frame as frames
from outrider.metrics import row
from outrider.metrics.frame import Frame
from outrider.metrics.row import FleetRow, HostRow
from outrider.metrics.statsd import Tally
from outrider.settings import Settings
from outrider.store import connection
from tests.servers import web

if TYPE_CHECKING:
    from collections.abc import Callable


def snapshot(**said: Any) -> dict[str, Any]:
    process = {
        "name": "a", "bot": "a", "kind": "bot", "state": "ready", "pid": os.getpid(),
        "restarts": 0, "crashes": 0,
    }  # fmt: skip
    frame = Frame("a", os.getpid(), 99.0, counters={"cache.users.hits": 3.0})
    return {"processes": [process], "frames": {"a": msgspec.to_builtins(frame)}} | said


def host_row(
    says: Callable[[], dict[str, Any] | None], *loose: Frame, **settings: Any
) -> dict[str, float]:
    maker = HostRow(Settings.model_validate({"host": "alpha", **settings}))
    return maker.collect(
        100.0, snapshot=says, loose=lambda: [frames.encode(frame) for frame in loose]
    )


def failing(values: dict[str, float]) -> list[str]:
    return [
        name
        for name, value in values.items()
        if name.startswith("collector.") and name.endswith(".up") and not value
    ]


def test_a_hosts_row_joins_machine_bots_and_caches() -> None:
    values = host_row(snapshot, Frame("loose", 1, 99.0))

    assert values["supervisor.up"] == 1.0
    assert values["bot.a.up"] == values["bot.loose.up"] == 1.0
    assert values["cache.users.hits_total"] == 3.0
    assert values["host.cpu.cores"] >= 1
    assert values["collector.errors_total"] == 0
    assert values["collector.duration_s"] >= 0
    assert "statsd.up" not in values


def test_without_a_supervisor_the_rest_is_there() -> None:
    values = host_row(lambda: None, statsd={"enabled": True})

    assert (values["supervisor.up"], values["statsd.up"]) == (0.0, 0.0)
    assert values["host.cpu.cores"] >= 1
    assert failing(values) == []


def test_a_supervisor_that_talks_nonsense_costs_its_own_part() -> None:
    values = host_row(lambda: {"processes": [{}]})

    assert failing(values) == ["collector.bots.up"]
    assert values["collector.errors_total"] == 1
    assert values["host.cpu.cores"] >= 1


def test_scrapes_and_statsd_are_part_of_it_and_what_is_measured_counts() -> None:
    tally = Tally()
    tally.take(b"seen:2|c", 0.0)
    with web.running() as site:
        url = site.page("rss_bytes 1\nup 0\nqueue 7\n")
        values = host_row(
            lambda: snapshot(statsd=tally.snapshot(0.0)),
            statsd={"enabled": True},
            scrape=[{"name": "it", "url": url, "bot": "a"}],
        )

    assert values["statsd.seen_total"] == 2.0
    assert (values["bot.a.queue"], values["bot.a.up"], values["scrape.it.up"]) == (7.0, 1.0, 1.0)
    assert values["bot.a.rss_bytes"] > 1.0


def fleet_row(valkey_url: str, **settings: Any) -> dict[str, float]:
    with connection.connect(valkey_url) as client:
        maker = FleetRow(Settings.model_validate(settings), client)
        return maker.collect(100.0, others={"hosts": lambda: {"fleet.hosts.live": 1.0}})


def test_the_fleets_row_joins_redis_database_and_what_it_is_given(valkey_url: str) -> None:
    values = fleet_row(
        valkey_url,
        database={"url": "postgresql://bot@127.0.0.1:1/fleet"},
        redis=[{"name": "sessions", "url": valkey_url}],
    )

    assert values["redis.up"] == values["redis.server.sessions.up"] == 1.0
    assert (values["db.server.up"], values["fleet.hosts.live"]) == (0.0, 1.0)
    assert failing(values) == []


def test_a_database_that_can_not_be_asked_costs_its_own_part(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    values = fleet_row(valkey_url, database={"url": "postgrsql://bot:hunter2@db/fleet"})

    assert failing(values) == ["collector.database.up"]
    assert values["redis.up"] == 1.0
    assert "hunter2" not in caplog.text


def test_without_redis_there_is_no_row() -> None:
    with pytest.raises(redis.ConnectionError):
        fleet_row("redis://127.0.0.1:1/0")


def test_hosts_that_are_silent_are_told_by_name() -> None:
    assert row.hosts({"a": 14.9, "b": 15.0}, silent_after_s=15.0) == {
        "fleet.hosts.live": 1.0, "fleet.hosts.silent": 1.0,
        "fleet.host.a.silent": 0.0, "fleet.host.b.silent": 1.0,
    }  # fmt: skip
